//! The scaler looks at the consumer that the writers share, in words that KEDA knows: its schema takes any.

use serde_json::Value;

use crate::deploy::{
    facts::Facts,
    objects::{Objects, Workload, elements, name, title},
};

pub(super) fn problems(objects: &Objects, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    for scaler in objects.of_kind("ScaledObject") {
        let found = of_scaler(scaler, objects, facts);
        problems.extend(
            found
                .iter()
                .map(|problem| format!("{}: {problem}", title(scaler))),
        );
    }
    problems
}

/// What the scaler sets the replicas of.
pub(super) fn target<'a>(scaler: &Value, objects: &'a Objects) -> Option<Workload<'a>> {
    let wanted = &scaler["spec"]["scaleTargetRef"]["name"];
    objects.workloads().find(|workload| {
        workload.object()["kind"] == "Deployment" && name(workload.object()) == *wanted
    })
}

fn of_scaler(scaler: &Value, objects: &Objects, facts: &Facts) -> Vec<String> {
    let spec = &scaler["spec"];
    let Some(target) = target(scaler, objects) else {
        return vec!["scales no Deployment that is here".to_owned()];
    };
    let mut problems = Vec::new();
    if !target.object()["spec"]["replicas"].is_null() {
        problems.push(format!(
            "{} must not set replicas: an apply would undo the scaling",
            target.title()
        ));
    }
    let count = |field: &str| spec[field].as_u64();
    match (count("minReplicaCount"), count("maxReplicaCount")) {
        (Some(least), Some(most)) if 0 < least && least <= most => {}
        _ => problems
            .push("needs a minReplicaCount above 0 and a maxReplicaCount not below it".to_owned()),
    }
    for trigger in elements(&spec["triggers"]) {
        if trigger["type"] == "nats-jetstream" {
            problems.extend(of_trigger(&trigger["metadata"], target, objects, facts));
        }
    }
    problems
}

/// What the trigger `nats-jetstream` takes, and whether it must be there.
const METADATA: [(&str, bool); 7] = [
    ("natsServerMonitoringEndpoint", true),
    ("account", true),
    ("stream", true),
    ("consumer", true),
    ("lagThreshold", true),
    ("activationLagThreshold", false),
    ("useHttps", false),
];

fn of_trigger(metadata: &Value, target: Workload, objects: &Objects, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    let fields = metadata
        .as_object()
        .into_iter()
        .flat_map(|metadata| metadata.keys());
    for field in fields.filter(|field| METADATA.iter().all(|(known, _)| known != field)) {
        problems.push(format!("nats-jetstream knows no {field}"));
    }
    for (field, _) in METADATA
        .iter()
        .filter(|(field, needed)| *needed && metadata[*field].is_null())
    {
        problems.push(format!("nats-jetstream needs {field}"));
    }
    let above_zero = |text: &str| text.parse::<u64>().is_ok_and(|number| number > 0);
    if !metadata["lagThreshold"].as_str().is_some_and(above_zero) {
        problems.push("lagThreshold must be a number above 0".to_owned());
    }
    let streams = target
        .containers()
        .filter_map(|container| container.setting("NATS_STREAM", objects));
    let stream = streams.last().or(facts.default("NATS_STREAM"));
    if metadata["stream"].as_str() != stream {
        problems.push(format!(
            "stream must be {}, as for the writers",
            stream.unwrap_or_default()
        ));
    }
    if metadata["consumer"] != facts.consumer.as_str() {
        problems.push(format!("consumer must be {}", facts.consumer));
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deploy::{
        facts::tests::facts,
        rules::example::{self, with},
    };

    fn reported(objects: &Objects, words: &str) {
        example::reported(&problems(objects, &facts()), words);
    }

    fn with_trigger(field: &str, value: Value) -> Objects {
        with(
            "ScaledObject",
            &format!("/spec/triggers/0/metadata/{field}"),
            value,
        )
    }

    #[test]
    fn names_must_be_those_of_the_writers() {
        reported(
            &with_trigger("stream", json!("JETLINE")),
            "stream must be SHOP",
        );
        reported(
            &with_trigger("consumer", json!("writer")),
            "consumer must be writers",
        );
        reported(
            &with("ConfigMap", "/data/NATS_STREAM", json!("OTHER")),
            "stream must be OTHER",
        );
        reported(
            &with("ConfigMap", "/data/NATS_STREAM", Value::Null),
            "stream must be JETLINE",
        );
    }

    #[test]
    fn metadata_that_keda_would_not_take_is_reported() {
        reported(
            &with_trigger("lagTreshold", json!("128")),
            "knows no lagTreshold",
        );
        reported(&with_trigger("account", Value::Null), "needs account");
        reported(&with_trigger("lagThreshold", json!("0")), "number above 0");
    }

    #[test]
    fn target_must_be_here_and_leave_its_replicas_to_the_scaler() {
        reported(
            &with(
                "ScaledObject",
                "/spec/scaleTargetRef/name",
                json!("writers"),
            ),
            "no Deployment",
        );
        reported(
            &with("Deployment", "/spec/replicas", json!(2)),
            "must not set replicas",
        );
        reported(
            &with("ScaledObject", "/spec/minReplicaCount", json!(0)),
            "minReplicaCount above 0",
        );
        reported(
            &with("ScaledObject", "/spec/maxReplicaCount", Value::Null),
            "maxReplicaCount",
        );
    }
}
