//! `cargo xtask rules`: alerts, dashboards and metrics agree.
//!
//! promtool checks what Prometheus reads and runs the tests of the alerts. What it cannot know is checked here: that every
//! metric asked for exists, that every metric is shown, and that dashboards hold together.

mod alerts;
mod dashboards;
mod metrics;
mod promtool;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::rules::{alerts::Alerts, dashboards::Dashboard, metrics::Metrics};

/// Check the alert rules and the dashboards.
///
/// Uses promtool from `PATH`, or gets it from Debian's package without installing that.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

pub(crate) fn run(_: &Arguments) -> anyhow::Result<()> {
    let root = &fs::canonicalize(ROOT).with_context(|| format!("cannot find {ROOT}"))?;
    promtool::check(&root.join("deploy/prometheus"))?;
    let complaints = Files::read(root)?.complaints();
    if complaints.is_empty() {
        println!("alerts, dashboards and metrics agree");
        return Ok(());
    }
    bail!("{}", complaints.join("\n       "));
}

/// What is compared.
struct Files {
    metrics: Metrics,
    alerts: Alerts,
    dashboards: Vec<Dashboard>,
    datasources: String,
    readme: String,
}

impl Files {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let read = |path: &str| text(&root.join(path));
        let dashboards = json_files(&root.join("deploy/grafana/dashboards"))?
            .iter()
            .map(|path| Dashboard::parse(&name(path), &text(path)?))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            metrics: Metrics::parse(
                &read("shared/runtime/src/metrics.rs")?,
                &read("deploy/prometheus/recording.yml")?,
            ),
            alerts: Alerts {
                rules: read("deploy/prometheus/alerts.yml")?,
                tests: read("deploy/prometheus/alerts_test.yml")?,
            },
            dashboards,
            datasources: read("deploy/grafana/provisioning/datasources/datasources.yml")?,
            readme: read("README.md")?,
        })
    }

    fn complaints(&self) -> Vec<String> {
        let mut complaints = self.metrics.complaints();
        for (file, text) in [
            ("alerts.yml", &self.alerts.rules),
            ("alerts_test.yml", &self.alerts.tests),
        ] {
            complaints.extend(self.metrics.unknown(file, text));
        }
        complaints.extend(self.alerts.complaints(&self.readme));
        for dashboard in &self.dashboards {
            let expressions = dashboard.expressions.join("\n");
            complaints.extend(self.metrics.unknown(&dashboard.file, &expressions));
            complaints.extend(dashboard.complaints(&self.datasources));
        }
        complaints.extend(dashboards::doubled(&self.dashboards));
        let shown = self.dashboards.iter().flat_map(|one| &one.expressions);
        complaints.extend(self.metrics.not_shown(shown));
        complaints
    }
}

fn json_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_repository_agree() {
        let complaints = Files::read(Path::new(ROOT)).unwrap().complaints();
        assert_eq!(complaints, Vec::<String>::new());
    }

    #[test]
    fn misspelt_metric_is_found_in_rules_and_dashboards() {
        let mut files = Files::read(Path::new(ROOT)).unwrap();
        files.alerts.rules = files
            .alerts
            .rules
            .replace("jetline_objects_total", "jetline_object_total");
        for dashboard in &mut files.dashboards {
            for expression in &mut dashboard.expressions {
                *expression = expression.replace("jetline_lines_total", "jetline_line_total");
            }
        }
        assert_eq!(
            files.complaints(),
            [
                "alerts.yml: there is no metric jetline_object_total",
                "ingestion.json: there is no metric jetline_line_total",
                "no dashboard shows jetline_lines_total",
            ]
        );
    }
}
