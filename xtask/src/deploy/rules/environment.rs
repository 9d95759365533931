//! Containers get settings that their programs know, from what is there.

use serde_json::Value;

use crate::deploy::{
    facts::{self, Facts},
    objects::{Container, Objects, elements},
};

pub(super) fn problems(objects: &Objects, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    for workload in objects.workloads() {
        let mut found = volumes(workload.pod(), objects, facts);
        for container in workload.containers() {
            found.extend(references(container, objects, facts));
            found.extend(unknown(container, objects, facts));
            found.extend(missing(container, objects));
        }
        problems.extend(
            found
                .iter()
                .map(|problem| format!("{}: {problem}", workload.title())),
        );
    }
    problems
}

/// What an overlay must bring, because a base cannot know it.
pub(in crate::deploy) fn missing_source(objects: &Objects) -> Vec<String> {
    objects
        .workloads()
        .flat_map(|workload| {
            workload
                .containers()
                .map(move |container| (workload, container))
        })
        .filter(|(_, container)| container.program() == Some("jetline-fetcher"))
        .filter(|(_, container)| container.setting("SOURCE", objects).is_none())
        .map(|(workload, _)| format!("{}: SOURCE is not set", workload.title()))
        .collect()
}

/// Whether what the container refers to is there.
fn references(container: Container, objects: &Objects, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    for env in elements(container.get("env")) {
        let from = &env["valueFrom"];
        if let Some(reference) = from.get("secretKeyRef") {
            problems.extend(secret_key(reference, objects, facts));
        } else if let Some(reference) = from.get("configMapKeyRef") {
            let name = text(&reference["name"]);
            let known = objects
                .config_map(name)
                .is_some_and(|map| map.contains_key(text(&reference["key"])));
            if !known {
                problems.push(format!(
                    "no {} in a ConfigMap {name}",
                    text(&reference["key"])
                ));
            }
        }
    }
    for from in elements(container.get("envFrom")) {
        match from["configMapRef"]["name"].as_str() {
            Some(name) if objects.config_map(name).is_some() => {}
            Some(name) => problems.push(format!("no ConfigMap {name}")),
            // A whole Secret as environment: nobody sees which of it is used.
            None => problems.push("envFrom must name a ConfigMap".to_owned()),
        }
    }
    problems
}

fn secret_key(reference: &Value, objects: &Objects, facts: &Facts) -> Option<String> {
    let (name, key) = (text(&reference["name"]), text(&reference["key"]));
    let rendered = objects.secrets();
    let keys = rendered.get(name).or_else(|| facts.secrets.get(name));
    let known = keys.is_some_and(|keys| keys.contains(key));
    (!known).then(|| format!("no {key} in a Secret {name}, here or in secret.example.yaml"))
}

fn volumes(pod: &Value, objects: &Objects, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    for volume in elements(&pod["volumes"]) {
        if let Some(name) = volume["configMap"]["name"].as_str()
            && objects.config_map(name).is_none()
        {
            problems.push(format!("no ConfigMap {name}"));
        }
        if let Some(name) = volume["secret"]["secretName"].as_str()
            && !objects.secrets().contains_key(name)
            && !facts.secrets.contains_key(name)
        {
            problems.push(format!("no Secret {name}, here or in secret.example.yaml"));
        }
    }
    problems
}

/// Variables that the program does not know: it would go on without them, and nobody would notice.
fn unknown(container: Container, objects: &Objects, facts: &Facts) -> Vec<String> {
    let Some(program) = container.program() else {
        return Vec::new();
    };
    if facts::letter(program).is_none() {
        return vec![format!("there is no program {program}")];
    }
    let here = elements(container.get("env")).map(|env| text(&env["name"]));
    let from_maps = elements(container.get("envFrom"))
        .filter_map(|from| objects.config_map(from["configMapRef"]["name"].as_str()?))
        .flat_map(|map| map.keys().map(String::as_str));
    here.chain(from_maps)
        .filter(|variable| !facts.knows(program, variable))
        .map(|variable| format!("{program} knows no {variable}"))
        .collect()
}

/// Variables without which the program does not start.
fn missing(container: Container, objects: &Objects) -> Vec<String> {
    let needed: &[&str] = match container.program() {
        Some("jetline-fetcher") => &["DATABASE_URL", "NATS_URL"],
        Some("jetline-writer") if container.setting("DEDUP", objects) == Some("off") => {
            &["DATABASE_URL", "NATS_URL"]
        }
        Some("jetline-writer") => &["DATABASE_URL", "NATS_URL", "REDIS_URL"],
        Some("jetline-api" | "jetline-migrate") => &["DATABASE_URL"],
        _ => &[],
    };
    let from_secret = |variable: &str| {
        elements(container.get("env"))
            .any(|env| env["name"] == variable && !env["valueFrom"]["secretKeyRef"].is_null())
    };
    // They may hold passwords: a value in the manifest is none.
    needed
        .iter()
        .filter(|variable| !from_secret(variable))
        .map(|variable| format!("{variable} must come from a Secret"))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deploy::{
        facts::tests::facts,
        rules::example::{self, with, with_container},
    };

    fn reported(objects: &Objects, words: &str) {
        example::reported(&problems(objects, &facts()), words);
    }

    #[test]
    fn variable_that_the_program_does_not_know_is_reported() {
        reported(
            &with_container("/env/0/name", json!("OBSERVE_LISTN")),
            "jetline-writer knows no OBSERVE_LISTN",
        );
        reported(
            &with("ConfigMap", "/data/SOURCE", json!("s3://shop")),
            "jetline-writer knows no SOURCE",
        );
        reported(
            &with_container("/command/0", json!("jetline-writr")),
            "no program jetline-writr",
        );
    }

    #[test]
    fn reference_to_nothing_is_reported() {
        let reference = "/env/2/valueFrom/secretKeyRef";
        reported(
            &with_container(&format!("{reference}/key"), json!("DATABASE")),
            "no DATABASE in a Secret jetline",
        );
        reported(
            &with_container(&format!("{reference}/name"), json!("other")),
            "in a Secret other",
        );
        reported(
            &with_container("/envFrom/0/configMapRef/name", json!("other")),
            "no ConfigMap other",
        );
        reported(
            &with_container("/envFrom/0", json!({"secretRef": {"name": "jetline"}})),
            "must name a ConfigMap",
        );
        let volumes = json!([
            {"name": "a", "configMap": {"name": "gone"}},
            {"name": "b", "secret": {"secretName": "lost"}},
        ]);
        let objects = with("Deployment", "/spec/template/spec/volumes", volumes);
        reported(&objects, "no ConfigMap gone");
        reported(&objects, "no Secret lost");
    }

    #[test]
    fn address_that_is_missing_or_stands_in_the_manifest_is_reported() {
        let plain =
            json!({"name": "DATABASE_URL", "value": "postgres://jetline:password@host/jetline"});
        reported(
            &with_container("/env/2", plain),
            "DATABASE_URL must come from a Secret",
        );
        let off = json!({"name": "DEDUP", "value": "off"});
        assert!(problems(&with_container("/env/4", off), &facts()).is_empty());
        let on = json!({"name": "DEDUP", "value": "redis"});
        reported(
            &with_container("/env/4", on),
            "REDIS_URL must come from a Secret",
        );
    }

    #[test]
    fn fetcher_without_a_source_is_reported() {
        let objects = with_container("/command/0", json!("jetline-fetcher"));
        assert_eq!(
            missing_source(&objects),
            ["Deployment writer: SOURCE is not set"]
        );
        assert!(missing_source(&Objects::new(example::objects())).is_empty());
    }
}
