//! Selectors select something, budgets are complete, and everything stands in one namespace that is restricted.

use serde_json::Value;

use crate::deploy::objects::{Objects, Workload, elements, name, title};

pub(super) fn problems(objects: &Objects) -> Vec<String> {
    [namespaces(objects), selections(objects), budgets(objects)].concat()
}

fn namespaces(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(namespace) = objects.of_kind("Namespace").next() else {
        return vec!["no Namespace".to_owned()];
    };
    if namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] != "restricted" {
        problems.push(format!(
            "{}: must enforce the restricted profile",
            title(namespace)
        ));
    }
    for object in objects
        .all()
        .iter()
        .filter(|object| object["kind"] != "Namespace")
    {
        if object["metadata"]["namespace"] != name(namespace) {
            problems.push(format!(
                "{}: is not in the namespace {}",
                title(object),
                name(namespace)
            ));
        }
    }
    problems
}

/// What selects pods by labels must find some, and the ports that it names.
fn selections(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for object in objects.all() {
        let Some((selector, ports)) = selection(object) else {
            continue;
        };
        let Some(selector) = selector else {
            problems.push(format!(
                "{}: this check knows matchLabels and the operator In only",
                title(object)
            ));
            continue;
        };
        let selected: Vec<_> = objects
            .workloads()
            .filter(|workload| selects(&selector, *workload))
            .collect();
        if selected.is_empty() {
            problems.push(format!("{}: selects no pod", title(object)));
        }
        for port in ports {
            if !selected.iter().any(|workload| has_port(*workload, port)) {
                problems.push(format!(
                    "{}: no pod that it selects has a port {port}",
                    title(object)
                ));
            }
        }
    }
    problems
}

/// The selector of an object that has one, if it is understood, and the ports of the pods that the object names.
fn selection(object: &Value) -> Option<(Option<Selector<'_>>, Vec<&Value>)> {
    let spec = &object["spec"];
    let (selector, ports) = match object["kind"].as_str()? {
        "Deployment" | "PodDisruptionBudget" => (labels(&spec["selector"]), Vec::new()),
        "Service" => {
            let ports = elements(&spec["ports"]).map(|port| &port["targetPort"]);
            (Some(pairs(&spec["selector"])), ports.collect())
        }
        "NetworkPolicy" => {
            let ports = elements(&spec["ingress"]).flat_map(|rule| elements(&rule["ports"]));
            (
                labels(&spec["podSelector"]),
                ports.map(|port| &port["port"]).collect(),
            )
        }
        _ => return None,
    };
    Some((selector, ports))
}

/// A Deployment of ours without a budget would lose all its pods at once when nodes are drained.
fn budgets(objects: &Objects) -> Vec<String> {
    let has_budget = |workload: Workload| {
        objects.of_kind("PodDisruptionBudget").any(|budget| {
            labels(&budget["spec"]["selector"]).is_some_and(|selector| selects(&selector, workload))
        })
    };
    objects
        .workloads()
        .filter(|workload| {
            workload
                .containers()
                .any(|container| container.program().is_some())
        })
        .filter(|workload| !workload.is_job() && !has_budget(*workload))
        .map(|workload| format!("{}: has no PodDisruptionBudget", workload.title()))
        .collect()
}

/// A label, and the values that it may have.
type Selector<'a> = Vec<(&'a str, Vec<&'a Value>)>;

/// What a selector asks for; nothing when it asks in a way that is not known here.
fn labels(selector: &Value) -> Option<Selector<'_>> {
    let mut asked = pairs(&selector["matchLabels"]);
    for expression in elements(&selector["matchExpressions"]) {
        if expression["operator"] != "In" {
            return None;
        }
        asked.push((
            expression["key"].as_str()?,
            elements(&expression["values"]).collect(),
        ));
    }
    Some(asked)
}

fn pairs(labels: &Value) -> Selector<'_> {
    let pairs = labels.as_object().into_iter().flatten();
    pairs
        .map(|(label, value)| (label.as_str(), vec![value]))
        .collect()
}

fn selects(selector: &Selector, workload: Workload) -> bool {
    let labels = &workload.template()["metadata"]["labels"];
    selector
        .iter()
        .all(|(label, values)| values.contains(&&labels[*label]))
}

fn has_port(workload: Workload, wanted: &Value) -> bool {
    workload
        .containers()
        .flat_map(|container| elements(container.get("ports")))
        .any(|port| port["name"] == *wanted || port["containerPort"] == *wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deploy::rules::example::{self, with};

    fn reported(objects: &Objects, words: &str) {
        example::reported(&problems(objects), words);
    }

    fn and(object: Value) -> Objects {
        let mut objects = example::objects();
        objects.push(object);
        Objects::new(objects)
    }

    #[test]
    fn namespace_that_lets_everything_run_is_reported() {
        reported(
            &with("Namespace", "/metadata/labels", Value::Null),
            "restricted",
        );
        reported(
            &with("Deployment", "/metadata/namespace", json!("other")),
            "not in the namespace shop",
        );
    }

    #[test]
    fn selector_that_finds_nothing_is_reported() {
        let budget = "PodDisruptionBudget";
        reported(
            &with(
                budget,
                "/spec/selector/matchLabels",
                json!({"component": "writers"}),
            ),
            "selects no pod",
        );
        reported(
            &with(
                budget,
                "/spec/selector/matchLabels",
                json!({"component": "writers"}),
            ),
            "has no PodDisruptionBudget",
        );
        let expression = json!([{"key": "component", "operator": "NotIn", "values": ["api"]}]);
        reported(
            &with(budget, "/spec/selector/matchExpressions", expression),
            "the operator In only",
        );
        let expression =
            json!([{"key": "component", "operator": "In", "values": ["api", "writer"]}]);
        assert!(problems(&with(budget, "/spec/selector/matchExpressions", expression)).is_empty());
    }

    #[test]
    fn port_that_no_pod_has_is_reported() {
        let service = |port: Value| {
            and(
                json!({"kind": "Service", "metadata": {"name": "writer", "namespace": "shop"},
                "spec": {"selector": {"component": "writer"}, "ports": [{"port": 80, "targetPort": port}]}}),
            )
        };
        assert!(problems(&service(json!("observe"))).is_empty());
        assert!(problems(&service(json!(9090))).is_empty());
        reported(&service(json!("http")), "has a port \"http\"");
    }
}
