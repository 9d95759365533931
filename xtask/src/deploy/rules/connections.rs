//! All replicas together take no more connections than a database has.

use crate::deploy::{
    objects::{Objects, Workload},
    rules::scaling::target,
};

/// What `PostgreSQL` leaves to users of the 100 connections that it allows by default.
const CONNECTIONS: u64 = 97;

pub(super) fn problems(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    let mut sum = 0;
    for workload in objects.workloads() {
        for container in workload
            .containers()
            .filter(|container| container.program().is_some())
        {
            // The migration uses one connection, whatever is set.
            let each = match container.program() {
                Some("jetline-migrate") => Some(1),
                _ => container
                    .setting("DATABASE_CONNECTIONS", objects)
                    .and_then(|text| text.parse().ok()),
            };
            let Some(each) = each else {
                problems.push(format!(
                    "{}: DATABASE_CONNECTIONS is not set",
                    workload.title()
                ));
                continue;
            };
            sum += each * most_pods(workload, objects);
        }
    }
    if sum > CONNECTIONS {
        problems.push(format!(
            "all pods together may open {sum} connections, more than {CONNECTIONS}"
        ));
    }
    problems
}

/// How many pods there may be at a time, while a version takes over from another.
fn most_pods(workload: Workload, objects: &Objects) -> u64 {
    if workload.is_job() {
        return 1;
    }
    let spec = &workload.object()["spec"];
    let scaled = objects
        .of_kind("ScaledObject")
        .find(|scaler| {
            target(scaler, objects)
                .is_some_and(|found| std::ptr::eq(found.object(), workload.object()))
        })
        .and_then(|scaler| scaler["spec"]["maxReplicaCount"].as_u64());
    let replicas = scaled.or(spec["replicas"].as_u64()).unwrap_or(1);
    // A percentage, and what Kubernetes does without any, is not what we write.
    replicas
        + spec["strategy"]["rollingUpdate"]["maxSurge"]
            .as_u64()
            .unwrap_or(replicas)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::deploy::rules::example::with;

    #[test]
    fn pods_that_would_ask_for_more_than_there_is_are_reported() {
        // Seven writers, one of them for the time of an update.
        assert!(
            problems(&with(
                "ConfigMap",
                "/data/DATABASE_CONNECTIONS",
                json!("13")
            ))
            .is_empty()
        );
        assert_eq!(
            problems(&with(
                "ConfigMap",
                "/data/DATABASE_CONNECTIONS",
                json!("14")
            )),
            ["all pods together may open 98 connections, more than 97"]
        );
        let twelve = with("ScaledObject", "/spec/maxReplicaCount", json!(12));
        assert!(problems(&twelve)[0].contains("104 connections"));
    }

    #[test]
    fn number_of_connections_must_be_said() {
        let objects = with("ConfigMap", "/data/DATABASE_CONNECTIONS", Value::Null);
        assert_eq!(
            problems(&objects),
            ["Deployment writer: DATABASE_CONNECTIONS is not set"]
        );
    }
}
