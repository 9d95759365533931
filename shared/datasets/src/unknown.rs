//! The fields that no column takes, by name.

use crate::{
    Dataset, Row, Unknown,
    dataset::{Node, Tree},
    json::{Fields, Kind},
    value::Value,
};

impl Dataset {
    /// The same dataset, with rows that keep the fields that no column takes.
    #[must_use]
    pub fn keeping_unknown(&self) -> Self {
        let (key, version) = (self.key, self.version);
        let (columns, deleted) = (self.columns.clone(), self.deleted.clone());
        Self::new(&self.name, columns, key, version, deleted, Unknown::Keep)
    }

    /// The paths of the fields that a row keeps, as JSON Pointers.
    #[must_use]
    pub fn unknown_fields(&self, row: &Row) -> Vec<String> {
        let mut paths = Vec::new();
        if let (Unknown::Keep, Some(Value::Json(kept))) =
            (self.unknown, row.values.get(self.columns.len()))
        {
            add(&self.fields, kept, "", &mut paths);
        }
        paths
    }
}

fn add(tree: &Tree, kept: &str, path: &str, paths: &mut Vec<String>) {
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(kept) else { return };
    for (name, text) in fields.0 {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        let node = tree.find(&name, 0).map(|at| &tree.0[at].1);
        match node {
            Some(Node::Object(inner)) if Kind::of(text) == Kind::Object => {
                add(inner, text, &path, paths);
            }
            _ => paths.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn fields_that_no_column_takes_have_paths() {
        let text = "key = 'id'\nunknown = 'ignore'\n[columns]\nid = 'bigint'\ncity = { type = 'text', path = '/address/city' }";
        let dataset = parse("people", "people.toml", text).unwrap();
        let record = br#"{"id":1,"a/b~":{"c":1},"address":{"city":"Rome","zip":{"x":1}}}"#;
        assert!(dataset.unknown_fields(&dataset.parse_json(record).unwrap()).is_empty());
        let keeping = dataset.keeping_unknown();
        let row = keeping.parse_json(record).unwrap();
        assert_eq!(keeping.unknown_fields(&row), ["/a~1b~0", "/address/zip"]);
    }
}
