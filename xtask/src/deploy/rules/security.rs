//! Pods run under the restricted profile of Kubernetes' pod security standards, and with a little less than that.

use serde_json::{Value, json};

use crate::deploy::objects::{Container, Objects, Workload, elements};

pub(super) fn problems(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for workload in objects.workloads() {
        let pod = of_pod(workload.pod());
        problems.extend(pod.map(|problem| format!("{}: {problem}", workload.title())));
        for container in workload.containers() {
            let found = of_container(workload, container);
            let name = container.get("name").as_str().unwrap_or_default();
            problems
                .extend(found.map(|problem| format!("{} ({name}): {problem}", workload.title())));
        }
    }
    problems
}

/// What a volume may be.
const VOLUMES: [&str; 7] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn of_pod(pod: &Value) -> impl Iterator<Item = String> {
    let mut problems = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[field] == true {
            problems.push(format!("{field} is not allowed"));
        }
    }
    if pod["automountServiceAccountToken"] != false {
        // Nothing here talks to the Kubernetes API.
        problems.push("automountServiceAccountToken must be false".to_owned());
    }
    for volume in elements(&pod["volumes"]) {
        let kinds = volume
            .as_object()
            .into_iter()
            .flat_map(|volume| volume.keys());
        for kind in kinds.filter(|kind| *kind != "name") {
            if !VOLUMES.contains(&kind.as_str()) {
                problems.push(format!("a volume of the kind {kind} is not allowed"));
            }
        }
    }
    problems.into_iter()
}

fn of_container(workload: Workload, container: Container) -> impl Iterator<Item = String> {
    let (context, of_pod) = (
        container.get("securityContext"),
        &workload.pod()["securityContext"],
    );
    // What a container does not say itself, its pod says for it.
    let either = |place: &str| context.pointer(place).or_else(|| of_pod.pointer(place));
    let profile = either("/seccompProfile/type");
    let checks = [
        (
            either("/runAsNonRoot") == Some(&json!(true)),
            "runAsNonRoot must be true",
        ),
        (
            either("/runAsUser") != Some(&json!(0)),
            "runAsUser must not be 0",
        ),
        (
            profile.is_some_and(|profile| profile == "RuntimeDefault" || profile == "Localhost"),
            "seccompProfile must be RuntimeDefault",
        ),
        (
            context["allowPrivilegeEscalation"] == false,
            "allowPrivilegeEscalation must be false",
        ),
        (context["privileged"] != true, "privileged is not allowed"),
        (
            context["capabilities"]["drop"] == json!(["ALL"]),
            "capabilities must drop ALL",
        ),
        (
            elements(&context["capabilities"]["add"]).next().is_none(),
            "no capability may be added",
        ),
        (
            context["readOnlyRootFilesystem"] == true,
            "readOnlyRootFilesystem must be true",
        ),
        (
            elements(container.get("ports")).all(|port| port["hostPort"].is_null()),
            "hostPort is not allowed",
        ),
    ];
    checks
        .into_iter()
        .filter(|(kept, _)| !kept)
        .map(|(_, problem)| problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::rules::example::{with, with_container};

    #[test]
    fn container_that_could_do_more_is_reported() {
        for (place, value, words) in [
            (
                "/securityContext/allowPrivilegeEscalation",
                Value::Null,
                "allowPrivilegeEscalation",
            ),
            (
                "/securityContext/readOnlyRootFilesystem",
                json!(false),
                "readOnlyRootFilesystem",
            ),
            ("/securityContext/privileged", json!(true), "privileged"),
            (
                "/securityContext/capabilities/drop",
                json!(["KILL"]),
                "drop ALL",
            ),
            (
                "/securityContext/capabilities/add",
                json!(["SYS_ADMIN"]),
                "added",
            ),
            (
                "/securityContext/runAsNonRoot",
                json!(false),
                "runAsNonRoot",
            ),
            ("/securityContext/runAsUser", json!(0), "runAsUser"),
            (
                "/securityContext/seccompProfile",
                json!({"type": "Unconfined"}),
                "seccompProfile",
            ),
            ("/securityContext", Value::Null, "readOnlyRootFilesystem"),
            ("/ports/0/hostPort", json!(9090), "hostPort"),
        ] {
            let problems = problems(&with_container(place, value));
            assert!(
                problems.iter().any(|problem| problem.contains(words)),
                "{place}: {problems:?}"
            );
        }
    }

    #[test]
    fn pod_that_could_do_more_is_reported() {
        for (field, value, words) in [
            ("securityContext", Value::Null, "runAsNonRoot"),
            ("hostNetwork", json!(true), "hostNetwork"),
            (
                "automountServiceAccountToken",
                Value::Null,
                "automountServiceAccountToken",
            ),
            (
                "volumes",
                json!([{"name": "root", "hostPath": {"path": "/"}}]),
                "hostPath",
            ),
        ] {
            let place = format!("/spec/template/spec/{field}");
            let problems = problems(&with("Deployment", &place, value));
            assert!(
                problems.iter().any(|problem| problem.contains(words)),
                "{field}: {problems:?}"
            );
        }
    }
}
