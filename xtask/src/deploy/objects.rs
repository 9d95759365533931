//! The objects of one rendering, and the pods among them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// What one rendering holds.
pub(super) struct Objects(Vec<Value>);

impl Objects {
    pub(super) fn new(objects: Vec<Value>) -> Self {
        Self(objects)
    }

    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    pub(super) fn all(&self) -> &[Value] {
        &self.0
    }

    /// What starts pods.
    pub(super) fn workloads(&self) -> impl Iterator<Item = Workload<'_>> {
        self.0
            .iter()
            .filter(|object| object.pointer("/spec/template/spec/containers").is_some())
            .map(Workload)
    }

    /// The keys of the Secrets, by name.
    pub(super) fn secrets(&self) -> BTreeMap<String, BTreeSet<String>> {
        let keys = |secret: &Value| {
            ["data", "stringData"]
                .iter()
                .filter_map(|field| secret[field].as_object())
                .flat_map(Map::keys)
                .cloned()
                .collect()
        };
        self.of_kind("Secret")
            .map(|secret| (name(secret).to_owned(), keys(secret)))
            .collect()
    }

    /// What the `ConfigMap` of this name holds.
    pub(super) fn config_map(&self, wanted: &str) -> Option<&Map<String, Value>> {
        self.of_kind("ConfigMap")
            .find(|map| name(map) == wanted)?
            .get("data")?
            .as_object()
    }
}

/// A Deployment, a Job or the like.
#[derive(Clone, Copy)]
pub(super) struct Workload<'a>(&'a Value);

impl<'a> Workload<'a> {
    pub(super) fn object(self) -> &'a Value {
        self.0
    }

    /// Whether its pods come to an end by themselves.
    pub(super) fn is_job(self) -> bool {
        self.0["kind"] == "Job"
    }

    pub(super) fn template(self) -> &'a Value {
        &self.0["spec"]["template"]
    }

    pub(super) fn pod(self) -> &'a Value {
        &self.template()["spec"]
    }

    pub(super) fn containers(self) -> impl Iterator<Item = Container<'a>> {
        ["initContainers", "containers"]
            .iter()
            .filter_map(move |field| self.pod()[field].as_array())
            .flatten()
            .map(Container)
    }

    pub(super) fn title(self) -> String {
        title(self.0)
    }
}

/// A container of a pod.
#[derive(Clone, Copy)]
pub(super) struct Container<'a>(pub(super) &'a Value);

impl<'a> Container<'a> {
    pub(super) fn get(self, field: &str) -> &'a Value {
        &self.0[field]
    }

    /// Which of our programs it runs.
    pub(super) fn program(self) -> Option<&'a str> {
        let program = self.0["command"][0].as_str()?;
        program.starts_with("jetline").then_some(program)
    }

    /// What a variable is set to, when it stands here or in a `ConfigMap`.
    pub(super) fn setting(self, variable: &str, objects: &'a Objects) -> Option<&'a str> {
        let here = elements(&self.0["env"]).find(|env| env["name"] == variable);
        if let Some(env) = here {
            return env["value"].as_str();
        }
        // Of several, the last one counts.
        let maps = elements(&self.0["envFrom"])
            .filter_map(|from| from["configMapRef"]["name"].as_str())
            .filter_map(|name| objects.config_map(name));
        maps.filter_map(|map| map.get(variable)?.as_str()).last()
    }
}

/// The elements of a list; none of what is not there.
pub(super) fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Kind and name, as problems are reported.
pub(super) fn title(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    format!("{kind} {}", name(object))
}
