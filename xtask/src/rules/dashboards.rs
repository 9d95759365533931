//! Grafana's dashboards, as far as a mistake in them would show only in a browser.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::Value;

/// One dashboard.
pub(super) struct Dashboard {
    pub(super) file: String,
    /// What its panels and variables ask Prometheus for.
    pub(super) expressions: Vec<String>,
    uid: String,
    panels: Vec<Panel>,
}

struct Panel {
    id: Option<i64>,
    title: String,
    is_row: bool,
    has_description: bool,
    /// Of the panel and of each of its queries; empty where there is none.
    datasources: Vec<String>,
    expressions: Vec<String>,
}

impl Dashboard {
    pub(super) fn parse(file: &str, text: &str) -> anyhow::Result<Self> {
        let json: Value =
            serde_json::from_str(text).with_context(|| format!("{file} is no JSON"))?;
        let panels: Vec<Panel> = all_panels(&json).map(panel).collect();
        let variables = list(&json["templating"], "list").map(|one| string(&one["query"], "query"));
        let expressions = panels
            .iter()
            .flat_map(|panel| panel.expressions.clone())
            .chain(variables)
            .collect();
        Ok(Self {
            file: file.to_owned(),
            expressions,
            uid: string(&json, "uid"),
            panels,
        })
    }

    /// `datasources` is the file that provisions them.
    pub(super) fn complaints(&self, datasources: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut complain = |what: String| complaints.push(format!("{}: {what}", self.file));
        if self.uid.is_empty() {
            complain("has no uid".to_owned());
        }
        let mut ids = BTreeSet::new();
        for panel in &self.panels {
            let title = &panel.title;
            match panel.id {
                None => complain(format!("panel \"{title}\" has no id")),
                Some(id) if !ids.insert(id) => complain(format!("two panels have the id {id}")),
                Some(_) => {}
            }
            if panel.is_row {
                continue;
            }
            if !panel.has_description {
                complain(format!("panel \"{title}\" has no description"));
            }
            if panel.expressions.iter().all(String::is_empty) {
                complain(format!("panel \"{title}\" asks for nothing"));
            }
            for uid in panel.datasources.iter().collect::<BTreeSet<_>>() {
                let provisioned = format!("uid: {uid}");
                if uid.is_empty() {
                    complain(format!("panel \"{title}\" has no data source"));
                } else if !datasources.lines().any(|line| line.trim() == provisioned) {
                    complain(format!("panel \"{title}\": there is no data source {uid}"));
                }
            }
        }
        complaints
    }
}

/// Links and bookmarks go by uid: two dashboards with one would replace each other.
pub(super) fn doubled(dashboards: &[Dashboard]) -> Vec<String> {
    let mut uids = BTreeSet::new();
    dashboards
        .iter()
        .filter(|dashboard| !uids.insert(&dashboard.uid))
        .map(|dashboard| format!("{}: its uid is another dashboard's", dashboard.file))
        .collect()
}

/// A row that is folded holds its panels itself.
fn all_panels(json: &Value) -> impl Iterator<Item = &Value> {
    list(json, "panels").flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels")))
}

fn panel(json: &Value) -> Panel {
    let datasources = std::iter::once(json)
        .chain(list(json, "targets"))
        .map(|owner| string(&owner["datasource"], "uid"));
    Panel {
        id: json["id"].as_i64(),
        title: string(json, "title"),
        is_row: json["type"] == "row",
        has_description: !string(json, "description").is_empty(),
        datasources: datasources.collect(),
        expressions: list(json, "targets")
            .map(|target| string(target, "expr"))
            .collect(),
    }
}

fn list<'a>(json: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    json[key].as_array().into_iter().flatten()
}

fn string(json: &Value, key: &str) -> String {
    json[key].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DATASOURCES: &str = "datasources:\n  - name: Prometheus\n    uid: prometheus\n";

    fn good() -> Value {
        let prometheus = json!({"uid": "prometheus"});
        json!({"uid": "one", "templating": {"list": [{"query": {"query": "label_values(b, c)"}}]}, "panels": [
            {"id": 1, "type": "row", "panels": [
                {"id": 2, "type": "stat", "title": "Two", "description": "It.", "datasource": prometheus,
                 "targets": [{"expr": "a", "datasource": prometheus}]}]}]})
    }

    fn complaints(json: &Value) -> Vec<String> {
        let dashboard = Dashboard::parse("file", &json.to_string()).unwrap();
        dashboard.complaints(DATASOURCES)
    }

    #[test]
    fn good_dashboard_is_no_complaint_and_all_it_asks_for_is_found() {
        assert_eq!(complaints(&good()), Vec::<String>::new());
        let dashboard = Dashboard::parse("file", &good().to_string()).unwrap();
        assert_eq!(dashboard.expressions, ["a", "label_values(b, c)"]);
    }

    #[test]
    fn mistakes_are_named() {
        let mut json = good();
        json["uid"] = Value::Null;
        let panel = &mut json["panels"][0]["panels"][0];
        panel["id"] = 1.into();
        panel["description"] = Value::Null;
        panel["datasource"] = Value::Null;
        panel["targets"][0] = json!({"datasource": {"uid": "graphite"}});
        assert_eq!(
            complaints(&json),
            [
                "file: has no uid",
                "file: two panels have the id 1",
                "file: panel \"Two\" has no description",
                "file: panel \"Two\" asks for nothing",
                "file: panel \"Two\" has no data source",
                "file: panel \"Two\": there is no data source graphite",
            ]
        );
    }

    #[test]
    fn uid_of_another_dashboard_is_a_complaint() {
        let dashboards =
            ["a", "b"].map(|file| Dashboard::parse(file, &good().to_string()).unwrap());
        assert_eq!(doubled(&dashboards), ["b: its uid is another dashboard's"]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert!(Dashboard::parse("file", "{").is_err());
    }
}
