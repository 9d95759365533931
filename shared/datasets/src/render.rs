//! A row as the JSON object that it was read from: values at their paths, and the fields that no column takes.

use std::borrow::Cow;

use crate::{
    Row,
    dataset::{Dataset, Node, Tree, UnknownFieldPolicy},
    json::{self, Fields, JsonType},
    value::Value,
};

/// A field of a rendered object.
enum Part<'a> {
    Value(&'a Value),
    Object(&'a Tree, Fields<'a>),
    Extra(&'a str),
}

impl Dataset {
    /// Appends a row as JSON. `extra` has the fields that no column takes. Fails where that is no JSON object.
    pub fn write_json(
        &self,
        values: &[Value],
        extra: Option<&str>,
        json: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        let extra = extra.map_or(Ok(Fields(Vec::new())), serde_json::from_str)?;
        write(self, &self.fields, values, extra, json)
    }

    /// Appends a row as a record on one line, without the end of the line: parsed as JSON, it gives the same row. One of a
    /// dataset with redaction must be redacted, and is parsed by [`Dataset::redacted`]. Fails where the fields that no column
    /// takes are no JSON object, which those of a parsed row are.
    pub fn write_record(&self, row: &Row, json: &mut Vec<u8>) -> serde_json::Result<()> {
        let extra = match row.values.get(self.columns.len()) {
            Some(Value::Json(extra)) if self.unknown == UnknownFieldPolicy::Keep => Some(&**extra),
            _ => None,
        };
        self.write_json(&row.values, extra, json)?;
        if let Some(deleted) = self.deleted.as_ref().filter(|_| self.is_delete(row)) {
            // The object is not empty: it has the key.
            json.pop();
            json.push(b',');
            json::write_string(&deleted.field, json);
            json.push(b':');
            deleted.equals.write_json(json);
            json.push(b'}');
        }
        Ok(())
    }
}

fn write(
    dataset: &Dataset,
    tree: &Tree,
    values: &[Value],
    extra: Fields<'_>,
    json: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let mut rest = extra.0;
    let mut parts: Vec<(Cow<'_, str>, Part<'_>)> = Vec::with_capacity(tree.0.len() + rest.len());
    for (name, node) in &tree.0 {
        // A field that was kept before a column took it is the value while the column has none.
        let kept = rest.iter().position(|(kept, _)| kept == name).map(|at| rest.remove(at).1);
        let part = match (node, kept) {
            (Node::Column(at), kept) => match (values.get(*at), kept) {
                (Some(value), None) => Part::Value(value),
                (Some(value), _) if !value.is_null() => Part::Value(value),
                // It was kept in clear.
                (_, Some(_)) if dataset.columns[*at].redact.is_some() => Part::Value(&Value::Null),
                (_, Some(kept)) => Part::Extra(kept),
                (None, None) => Part::Value(&Value::Null),
            },
            (Node::Dropped(_), _) => continue,
            (Node::Object(inner), None) if inner.is_dropped() => continue,
            (Node::Object(inner), None) => Part::Object(inner, Fields(Vec::new())),
            (Node::Object(inner), Some(kept)) if JsonType::of(kept) == JsonType::Object => {
                Part::Object(inner, serde_json::from_str(kept)?)
            }
            (Node::Object(_), Some(kept)) => Part::Extra(kept),
        };
        parts.push((Cow::Borrowed(name), part));
    }
    parts.extend(rest.into_iter().map(|(name, text)| (name, Part::Extra(text))));
    json.push(b'{');
    for (number, (name, part)) in parts.into_iter().enumerate() {
        if number > 0 {
            json.push(b',');
        }
        json::write_string(&name, json);
        json.push(b':');
        match part {
            Part::Value(value) => value.write_json(json),
            Part::Object(inner, kept) => write(dataset, inner, values, kept, json)?,
            Part::Extra(text) => json.extend_from_slice(text.as_bytes()),
        }
    }
    json.push(b'}');
    Ok(())
}
