//! A real browser, which shows the status page.

use std::{fs, path::Path, process::Command};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use hyper_util::client::legacy::connect::HttpConnector;
use jetline_testkit::{
    process::{Process, free_port, program},
    programs::target_directory,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::standalone::workspace;

/// Where `cargo xtask test` puts the checker of accessibility, below the target directory.
const AXE: &str = "npm/node_modules/axe-core/axe.min.js";

/// Chromium, headless and without connections of its own.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A window of a browser.
pub(crate) struct Browser {
    pub(crate) client: Client,
    driver: Process,
    _folder: TempDir,
}

impl Browser {
    /// A wide and light one.
    pub(crate) async fn wide() -> Self {
        Self::start(&["--window-size=1280,900"], json!({})).await
    }

    /// That of a phone, in the dark.
    pub(crate) async fn phone() -> Self {
        let metrics = json!({ "width": 390, "height": 844, "pixelRatio": 1.0 });
        Self::start(&["--force-dark-mode"], json!({ "deviceMetrics": metrics })).await
    }

    async fn start(arguments: &[&str], emulation: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let mut command = Command::new(program("chromedriver").unwrap());
        command.arg(format!("--port={port}")).env("HOME", folder.path());
        let mut driver = Process::start(command, &folder.path().join("log")).unwrap();
        driver.wait_for_port(port).unwrap();
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let arguments: Vec<&str> =
            ARGUMENTS.iter().chain(arguments).copied().chain([&*profile]).collect();
        let mut options = json!({ "args": arguments, "binary": program("chromium").unwrap() });
        if emulation != json!({}) {
            options["mobileEmulation"] = emulation;
        }
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { client, driver, _folder: folder }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// The element, which must be there.
    pub(crate) async fn find(&self, css: &str) -> Element {
        let found = self.client.wait().for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    /// Follows a link or presses a button.
    pub(crate) async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Asserts that nothing of the page keeps people from using it, and that it is not wider than its window.
    pub(crate) async fn assert_accessible(&self) {
        let axe = target_directory().unwrap().join(AXE);
        let axe = fs::read_to_string(&axe).unwrap_or_else(|error| {
            panic!("{}: {error}: run the tests by `cargo xtask test`", axe.display())
        });
        self.run(&axe).await;
        let script = "const done = arguments[0];
             axe.run().then(({ violations, passes }) => done([passes.length, violations.map(
                 (one) => [one.id, one.nodes.map((node) => node.html + ' ' + node.failureSummary)])]));";
        let checked = self.client.execute_async(script, Vec::new()).await.unwrap();
        let url = self.client.current_url().await.unwrap();
        assert!(checked[0].as_u64() > Some(5), "{url}: {checked}");
        assert_eq!(checked[1], json!([]), "{url}");
        let widths = self.run("return [document.documentElement.scrollWidth, innerWidth]").await;
        assert_eq!(widths[0], widths[1], "{url}");
    }

    /// Keeps a picture for the documentation where `UPDATE_SCREENSHOTS` is set.
    pub(crate) async fn picture(&self, name: &str) {
        let png = self.client.screenshot().await.unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        if std::env::var_os("UPDATE_SCREENSHOTS").is_some() {
            let images = workspace().join("docs/images");
            fs::create_dir_all(&images).unwrap();
            fs::write(images.join(Path::new(name)), png).unwrap();
        }
    }

    pub(crate) async fn close(mut self) {
        self.client.close().await.unwrap();
        self.driver.kill();
    }
}
