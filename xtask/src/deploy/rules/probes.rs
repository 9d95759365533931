//! Containers say what they need and how to see that they are well, and have the time to end.

use serde_json::Value;

use crate::deploy::objects::{Container, Objects, Workload, elements};

pub(super) fn problems(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for workload in objects.workloads() {
        for container in workload.containers() {
            let mut found = resources(container);
            if !workload.is_job() {
                found.extend(probes(container, objects));
                found.extend(grace(workload, container, objects));
            }
            let name = container.get("name").as_str().unwrap_or_default();
            problems.extend(
                found
                    .iter()
                    .map(|problem| format!("{} ({name}): {problem}", workload.title())),
            );
        }
    }
    problems
}

/// Without a limit for the CPU: what is left over may be used, and a throttled writer holds its locks for longer.
fn resources(container: Container) -> Vec<String> {
    ["/requests/cpu", "/requests/memory", "/limits/memory"]
        .iter()
        .filter(|place| container.get("resources").pointer(place).is_none())
        .map(|place| format!("resources{} is missing", place.replace('/', ".")))
        .collect()
}

/// Each probe, and the path that it asks our programs for. Liveness must not ask for readiness: when the database is
/// away, everything would restart, again and again.
const PROBES: [(&str, &str); 3] = [
    ("startupProbe", "/healthz"),
    ("livenessProbe", "/healthz"),
    ("readinessProbe", "/readyz"),
];

fn probes(container: Container, objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for (field, path) in PROBES {
        let probe = container.get(field);
        if probe.is_null() {
            problems.push(format!("{field} is missing"));
            continue;
        }
        if container.program().is_none() {
            continue;
        }
        let asked = &probe["httpGet"];
        if asked["path"] != path {
            problems.push(format!("{field} must ask for {path}"));
        }
        if port(container, &asked["port"]) != listening(container, objects) {
            problems.push(format!(
                "{field} asks at another port than the program listens on"
            ));
        }
    }
    problems
}

/// The number of a port that is given by number or name.
fn port(container: Container, port: &Value) -> Option<u64> {
    let named = || {
        elements(container.get("ports")).find(|each| each["name"] == *port)?["containerPort"]
            .as_u64()
    };
    port.as_u64().or_else(named)
}

/// The port that the program serves its health on.
fn listening(container: Container, objects: &Objects) -> Option<u64> {
    let variable = match container.program() {
        Some("jetline-api") => "LISTEN",
        _ => "OBSERVE_LISTEN",
    };
    // Only an address of all interfaces is reached from outside the pod.
    let port = container
        .setting(variable, objects)?
        .strip_prefix("0.0.0.0:")?;
    port.parse().ok()
}

/// Whether there is time for what `SHUTDOWN_DEADLINE` promises, after what is done before the signal.
fn grace(workload: Workload, container: Container, objects: &Objects) -> Option<String> {
    container.program()?;
    let deadline = container
        .setting("SHUTDOWN_DEADLINE", objects)
        .and_then(|text| text.strip_suffix('s')?.parse::<u64>().ok());
    let Some(deadline) = deadline else {
        return Some("SHUTDOWN_DEADLINE must be given in seconds, as in 25s".to_owned());
    };
    let before = container.get("lifecycle")["preStop"]["sleep"]["seconds"]
        .as_u64()
        .unwrap_or(0);
    let grace = workload.pod()["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap_or(30);
    (grace < before + deadline + MARGIN).then(|| {
        format!(
            "terminationGracePeriodSeconds must be {} or more",
            before + deadline + MARGIN
        )
    })
}

/// Seconds between the deadline and the end of a process.
const MARGIN: u64 = 5;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deploy::rules::example::{self, with, with_container};

    fn reported(objects: &Objects, words: &str) {
        example::reported(&problems(objects), words);
    }

    #[test]
    fn probe_that_is_missing_or_asks_for_something_else_is_reported() {
        reported(
            &with_container("/startupProbe", Value::Null),
            "startupProbe is missing",
        );
        reported(
            &with_container("/readinessProbe/httpGet/path", json!("/healthz")),
            "must ask for /readyz",
        );
        reported(
            &with_container("/livenessProbe/httpGet/path", json!("/readyz")),
            "must ask for /healthz",
        );
        reported(
            &with_container("/livenessProbe/httpGet/port", json!("http")),
            "another port",
        );
        reported(
            &with_container("/livenessProbe/httpGet/port", json!(8080)),
            "another port",
        );
        reported(
            &with_container("/env/0/value", json!("127.0.0.1:9090")),
            "another port",
        );
    }

    #[test]
    fn container_without_its_resources_is_reported() {
        reported(
            &with_container("/resources/limits", Value::Null),
            "resources.limits.memory is missing",
        );
        reported(
            &with_container("/resources", Value::Null),
            "resources.requests.cpu is missing",
        );
    }

    #[test]
    fn pod_that_is_killed_before_the_deadline_is_reported() {
        let place = "/spec/template/spec/terminationGracePeriodSeconds";
        reported(&with("Deployment", place, json!(25)), "must be 30 or more");
        reported(&with_container("/env/1/value", json!("1m")), "in seconds");
        let sleep = json!({"preStop": {"sleep": {"seconds": 5}}});
        reported(&with_container("/lifecycle", sleep), "must be 35 or more");
    }
}
