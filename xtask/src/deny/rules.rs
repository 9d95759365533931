//! The rules of `deny.toml` that cargo's metadata is enough for.

use std::{collections::HashSet, fs, path::Path};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::licence;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What may be used.
#[derive(Deserialize)]
pub(super) struct Rules {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: HashSet<String>,
    exceptions: Vec<Exception>,
}

/// Further licences of a single crate.
#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: HashSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

impl Licences {
    fn allow(&self, name: &str, licence: &str) -> bool {
        let mut exceptions = self.exceptions.iter();
        self.allow.contains(licence)
            || exceptions
                .any(|exception| exception.name == name && exception.allow.contains(licence))
    }
}

impl Rules {
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read {}", file.display());
        let text = fs::read_to_string(file).with_context(cannot)?;
        toml::from_str(&text).with_context(cannot)
    }

    /// What a package of cargo's metadata does that it may not.
    pub(super) fn broken_by(&self, package: &Value) -> Vec<String> {
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        let (name, expression) = (text("name"), text("license"));
        let is_ours = package["source"].is_null();
        let mut broken = Vec::new();
        if !licence::is_met(expression, |licence| self.licenses.allow(name, licence)) {
            broken.push(format!("its licence `{expression}` is not allowed"));
        }
        if self.bans.deny.iter().any(|ban| ban.name == name) {
            broken.push("it is banned".to_owned());
        }
        if !is_ours && text("source") != CRATES_IO {
            broken.push(format!(
                "it comes from {}, not from crates.io",
                text("source")
            ));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if is_ours && dependency["req"] == "*" && dependency["path"].is_null() {
                broken.push(format!("it takes any version of {}", dependency["name"]));
            }
        }
        let place = format!("{name} {}", text("version"));
        broken
            .iter()
            .map(|what| format!("{place}: {what}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_rule_is_told_by_whom_it_is_broken() {
        let rules = toml::from_str::<Rules>(
            r#"
            [licenses]
            allow = ["MIT"]
            exceptions = [{ crate = "a", allow = ["MPL-2.0"] }]
            [bans]
            deny = [{ crate = "openssl" }]
            "#,
        )
        .unwrap();
        let broken = |name: &str, license: &str, source: Option<&str>, req: &str| {
            rules.broken_by(&json!({
                "name": name,
                "version": "1.0.0",
                "license": license,
                "source": source,
                "dependencies": [{ "name": "x", "req": req }],
            }))
        };
        let registry = Some(CRATES_IO);
        assert!(broken("a", "MPL-2.0", registry, "*").is_empty());
        for (broken, words) in [
            (
                broken("b", "MPL-2.0", registry, "1"),
                "b 1.0.0: its licence",
            ),
            (broken("b", "", registry, "1"), "its licence `` is"),
            (broken("openssl", "MIT", registry, "1"), "banned"),
            (
                broken("b", "MIT", Some("git+https://example.org"), "1"),
                "git+https",
            ),
            (broken("b", "MIT", None, "*"), "any version"),
        ] {
            assert!(broken.len() == 1 && broken[0].contains(words), "{broken:?}");
        }
    }
}
