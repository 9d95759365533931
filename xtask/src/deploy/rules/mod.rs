//! Rules that no schema knows. Each returns what breaks it, and nothing when all is well.

mod connections;
mod environment;
mod probes;
mod scaling;
mod security;
mod selectors;

use crate::deploy::{facts::Facts, objects::Objects};

pub(super) use environment::missing_source;

/// Everything that breaks a rule.
pub(super) fn problems(objects: &Objects, facts: &Facts) -> Vec<String> {
    [
        security::problems(objects),
        probes::problems(objects),
        environment::problems(objects, facts),
        selectors::problems(objects),
        scaling::problems(objects, facts),
        connections::problems(objects),
    ]
    .concat()
}

/// A manifest that keeps all rules, for tests that break one.
#[cfg(test)]
mod example {
    use serde_json::{Value, json};

    use crate::deploy::objects::Objects;

    pub(super) fn objects() -> Vec<Value> {
        let env = |name: &str, value: &str| json!({"name": name, "value": value});
        let secret = |key: &str| json!({"name": key, "valueFrom": {"secretKeyRef": {"name": "jetline", "key": key}}});
        let probe = |path: &str| json!({"httpGet": {"path": path, "port": "observe"}});
        let container = json!({
            "name": "writer",
            "image": "jetline",
            "command": ["jetline-writer"],
            "env": [env("OBSERVE_LISTEN", "0.0.0.0:9090"), env("SHUTDOWN_DEADLINE", "25s"),
                secret("DATABASE_URL"), secret("NATS_URL"), secret("REDIS_URL")],
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "ports": [{"name": "observe", "containerPort": 9090}],
            "startupProbe": probe("/healthz"),
            "livenessProbe": probe("/healthz"),
            "readinessProbe": probe("/readyz"),
            "resources": {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"memory": "1Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]}},
        });
        let labels = json!({"component": "writer"});
        vec![
            json!({"kind": "Namespace", "metadata": {"name": "shop",
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}),
            json!({"kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"},
                "data": {"NATS_STREAM": "SHOP", "DATABASE_CONNECTIONS": "8"}}),
            json!({"kind": "Deployment", "metadata": {"name": "writer", "namespace": "shop"}, "spec": {
                "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {"metadata": {"labels": labels}, "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [container],
                }},
            }}),
            json!({"kind": "PodDisruptionBudget", "metadata": {"name": "writer", "namespace": "shop"},
                "spec": {"selector": {"matchLabels": labels}}}),
            json!({"kind": "ScaledObject", "metadata": {"name": "writer", "namespace": "shop"}, "spec": {
                "scaleTargetRef": {"name": "writer"},
                "minReplicaCount": 1,
                "maxReplicaCount": 6,
                "triggers": [{"type": "nats-jetstream", "metadata": {
                    "natsServerMonitoringEndpoint": "nats:8222", "account": "$G",
                    "stream": "SHOP", "consumer": "writers", "lagThreshold": "128"}}],
            }}),
        ]
    }

    /// The example with another value at a place in the object of a kind; null takes away what stands there.
    pub(super) fn with(kind: &str, place: &str, value: Value) -> Objects {
        let mut objects = objects();
        let object = objects.iter_mut().find(|object| object["kind"] == kind);
        let (parent, field) = place.rsplit_once('/').unwrap();
        let parent = object.unwrap().pointer_mut(parent).unwrap();
        match parent {
            Value::Array(list) => list[field.parse::<usize>().unwrap()] = value,
            other => other[field] = value,
        }
        Objects::new(objects)
    }

    /// The same within the container.
    pub(super) fn with_container(place: &str, value: Value) -> Objects {
        let place = format!("/spec/template/spec/containers/0{place}");
        with("Deployment", &place, value)
    }

    /// Asserts that a problem has these words.
    pub(super) fn reported(problems: &[String], words: &str) {
        assert!(
            problems.iter().any(|problem| problem.contains(words)),
            "{words}: {problems:?}"
        );
    }

    #[test]
    fn example_keeps_all_rules() {
        let facts = crate::deploy::facts::tests::facts();
        let problems = super::problems(&Objects::new(objects()), &facts);
        assert!(problems.is_empty(), "{problems:?}");
    }
}
