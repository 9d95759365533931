//! What every alert must have: words for the person it wakes, and tests.
//!
//! Read line by line: promtool has made sure that both files are what Prometheus takes them for.

/// The alert rules and their tests.
pub(super) struct Alerts {
    pub(super) rules: String,
    pub(super) tests: String,
}

impl Alerts {
    pub(super) fn complaints(&self, readme: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        for rule in self.rules.split("- alert: ").skip(1) {
            let name = rule.lines().next().unwrap_or_default().trim();
            let mut complain = |what: &str| complaints.push(format!("alert {name}: {what}"));
            for field in ["severity: ", "summary: ", "description: "] {
                if !rule.contains(field) {
                    complain(&format!("has no {}", field.trim_end_matches(": ")));
                }
            }
            let sections = sections(rule);
            if sections.is_empty() {
                complain("names no section of the README");
            }
            for section in sections.iter().filter(|section| !has(readme, section)) {
                complain(&format!("the README has no section \"{section}\""));
            }
            let (fires, is_quiet) = self.tested(name);
            if !fires {
                complain("no test sees it fire");
            }
            if !is_quiet {
                complain("no test sees it keep quiet");
            }
        }
        complaints
    }

    /// Whether some test expects the alert to fire, and some not.
    fn tested(&self, alert: &str) -> (bool, bool) {
        let (mut fires, mut is_quiet) = (false, false);
        for test in self.tests.split("alertname: ").skip(1) {
            let mut lines = test.lines().map(str::trim);
            if lines.next() == Some(alert) {
                match lines.next() {
                    Some("exp_alerts: []") => is_quiet = true,
                    Some("exp_alerts:") => fires = true,
                    _ => {}
                }
            }
        }
        (fires, is_quiet)
    }
}

/// The sections that a description names: `README, "One", and "Two"`.
fn sections(rule: &str) -> Vec<String> {
    // A line may break within a section's name.
    let rule = rule.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut sections = Vec::new();
    for mut rest in rule.split("README, ").skip(1) {
        while let Some((section, behind)) =
            rest.strip_prefix('"').and_then(|rest| rest.split_once('"'))
        {
            sections.push(section.to_owned());
            rest = behind.strip_prefix(", and ").unwrap_or_default();
        }
    }
    sections
}

fn has(readme: &str, section: &str) -> bool {
    readme
        .lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| line.trim_start_matches('#').trim() == section)
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# Jetline\n## Operations\n### When something is lost\n";

    fn alerts(rule: &str, tests: &str) -> Vec<String> {
        let alerts = Alerts {
            rules: format!("rules:\n  - alert: Down\n{rule}"),
            tests: tests.to_owned(),
        };
        alerts.complaints(README)
    }

    #[test]
    fn complete_alert_is_no_complaint() {
        let rule = "severity: critical\nsummary: \"s\"\ndescription: >-\n
            Look. README, \"When something\n    is lost\", and \"Operations\".";
        let tests =
            "alertname: Down\nexp_alerts: []\n- alertname: Down\n  exp_alerts:\n   - exp_labels:";
        assert_eq!(alerts(rule, tests), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_is_named() {
        let rule = "severity: critical\nsummary: \"s\"";
        let tests = "alertname: Up\nexp_alerts: []\n- alertname: Down\n  exp_alerts: []";
        assert_eq!(
            alerts(rule, tests),
            [
                "alert Down: has no description",
                "alert Down: names no section of the README",
                "alert Down: no test sees it fire",
            ]
        );
    }

    #[test]
    fn section_that_was_renamed_is_a_complaint() {
        let rule = "severity: a\nsummary: b\ndescription: README, \"Operation\".";
        let tests = "alertname: Down\nexp_alerts:\n- alertname: Down\n  exp_alerts: []";
        assert_eq!(
            alerts(rule, tests),
            ["alert Down: the README has no section \"Operation\""]
        );
    }
}
