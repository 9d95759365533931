//! The part of the OpenAPI document about datasets: the paths of [`RecordApi`](super::RecordApi),
//! [`OriginApi`](super::OriginApi) and [`DeliveryApi`](crate::deliveries::DeliveryApi) that begin with one, once for each dataset, with the schema of its records and its filters.

use std::{
    collections::{HashMap, HashSet},
    iter,
};

use jetline_datasets::{
    Column, Constraint, Dataset, Datasets, Format, Query, Type, Value as ColumnValue,
};
use regex::Regex;
use serde_json::{Map, Value, json};

/// What references to schemas begin with.
const SCHEMAS: &str = "#/components/schemas/";

/// The path of all queries.
const QUERY_PATH: &str = "/{dataset}/queries/{query}";

/// Describes the datasets in the document of poem-openapi, and the intake if there is one.
pub(crate) fn describe(document: &mut Value, datasets: &Datasets, takes_records: bool) {
    let mut of_all = Map::new();
    if !takes_records {
        remove_intake(document);
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        let generic = |path: &String| path.starts_with("/{dataset}");
        let generic: Vec<String> = paths.keys().filter(|path| generic(path)).cloned().collect();
        of_all.extend(generic.iter().filter_map(|path| paths.remove_entry(path)));
    }
    let mut schemas = document["components"]["schemas"].as_object_mut();
    let mut remove = |name| schemas.as_mut().and_then(|schemas| schemas.remove(name));
    let origin = remove("Origin").unwrap_or_default();
    let version = remove("Version").unwrap_or_default();
    let result = remove("QueryResult").unwrap_or_default();
    let query = of_all.remove(QUERY_PATH).unwrap_or_default();
    for dataset in datasets.iter() {
        let has = |path: &str| dataset.has_history || !path.ends_with("/history");
        for (path, item) in of_all.iter().filter(|(path, _)| has(path)) {
            let path = path.replace("{dataset}", &dataset.name);
            document["paths"][path] = of_dataset(item.clone(), dataset);
        }
        for declared in &dataset.queries {
            let path = format!("/{}/queries/{}", dataset.name, declared.name);
            document["paths"][path] = of_query(query.clone(), dataset, declared);
            let name = schema_name(&format!("query.{}", declared.name), dataset);
            let schema = query_schema(result.clone(), declared);
            document["components"]["schemas"][name] = schema;
        }
        let schemas = &mut document["components"]["schemas"];
        schemas[schema_name("record", dataset)] = schema(dataset);
        schemas[schema_name("origin", dataset)] = versioned_schema(origin.clone(), dataset);
        if dataset.has_history {
            let mut version = versioned_schema(version.clone(), dataset);
            version["properties"]["record"] = reference("record", dataset);
            schemas[schema_name("version", dataset)] = version;
        }
    }
    let names: Vec<&str> = datasets.iter().map(|dataset| &*dataset.name).collect();
    for path in ["/objects", "/deliveries"] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array_mut();
        for parameter in parameters.into_iter().flatten() {
            if parameter["name"] == "dataset" {
                parameter["schema"]["enum"] = json!(names);
            }
        }
    }
    simplify_references(document);
    rename_schemas(document);
    rename_operations(document);
}

/// Removes what nobody can use where records cannot be posted.
fn remove_intake(document: &mut Value) {
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.remove("/intake/{id}");
        if let Some(item) = paths.get_mut("/{dataset}").and_then(Value::as_object_mut) {
            item.remove("post");
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        for name in ["Post", "PostState", "PostProblem", "InvalidRecord"] {
            schemas.remove(name);
        }
    }
}

/// The operation by which records of a dataset are posted.
fn post_of(mut post: Value, dataset: &Dataset) -> Value {
    post["tags"] = json!([dataset.name]);
    post["operationId"] = format!("post_{}", dataset.name).into();
    if let Some(parameters) = post["parameters"].as_array_mut() {
        parameters.retain(|parameter| parameter["name"] != "dataset");
    }
    // Records to be posted need not have the fields of optional columns, so that the schema of answers is only a description.
    let records = json!({ "description": "A record, or an array of records.", "type": "object" });
    let text = json!({ "type": "string" });
    post["requestBody"] = json!({
        "description": "One record or more. The body may be encoded as `gzip` or `zstd`.",
        "required": true,
        "content": {
            "application/json": { "schema": records },
            "application/x-ndjson": { "schema": text },
            "text/csv": { "schema": text },
        },
    });
    post
}

fn of_query(mut item: Value, dataset: &Dataset, query: &Query) -> Value {
    let get = &mut item["get"];
    get["tags"] = json!([dataset.name]);
    get["summary"] = format!("The rows of the query {}.", query.name).into();
    get["operationId"] = format!("query_{}_{}", dataset.name, query.name).into();
    let body = reference(&format!("query.{}", query.name), dataset);
    get["responses"]["200"]["content"]["application/json"]["schema"] = body;
    let parameters = query.parameters.iter().map(|parameter| {
        json!({
            "in": "query",
            "name": parameter.name,
            "required": !parameter.optional,
            "schema": column_schema(parameter),
        })
    });
    get["parameters"] = parameters.collect();
    item
}

/// The schema of a query's rows, made from the one of all queries.
fn query_schema(mut schema: Value, query: &Query) -> Value {
    let names: Vec<&str> = query.columns.iter().map(|column| &*column.name).collect();
    let mut row = json!({ "type": "object", "required": names, "properties": {} });
    for column in &query.columns {
        let mut schema = column_schema(column);
        make_nullable(&mut schema);
        row["properties"][&column.name] = schema;
    }
    schema["properties"]["rows"]["items"] = row;
    schema
}

fn of_dataset(mut item: Value, dataset: &Dataset) -> Value {
    if let Some(post) = item.get_mut("post") {
        *post = post_of(post.take(), dataset);
    }
    let get = &mut item["get"];
    get["tags"] = json!([dataset.name]);
    let verb = get["operationId"].as_str().unwrap_or_default().to_owned();
    get["operationId"] = match &*verb {
        "get" | "list" => format!("{verb}_{}", dataset.name),
        "history" => format!("list_{}_versions", dataset.name),
        "deliveries" => format!("list_{}_deliveries", dataset.name),
        _ => format!("get_{}_{verb}", dataset.name),
    }
    .into();
    let (body, id) = match verb.as_str() {
        "get" => (reference("record", dataset), type_schema(dataset.key())),
        "origin" => (reference("origin", dataset), type_schema(dataset.key())),
        "history" => (array(&reference("version", dataset)), type_schema(dataset.key())),
        "deliveries" => {
            let body = json!({ "$ref": "#/components/schemas/RecordDeliveries" });
            (body, type_schema(dataset.key()))
        }
        _ => (array(&reference("record", dataset)), array(&type_schema(dataset.key()))),
    };
    get["responses"]["200"]["content"]["application/json"]["schema"] = body;
    if let Some(parameters) = get["parameters"].as_array_mut() {
        parameters.retain(|parameter| parameter["name"] != "dataset");
        for parameter in parameters.iter_mut() {
            match parameter["name"].as_str() {
                Some("id") => parameter["schema"] = id.clone(),
                Some("at") => parameter["schema"] = version_schema(dataset),
                Some("after") if verb == "history" => {
                    parameter["schema"] = version_schema(dataset);
                }
                Some("after") => parameter["schema"] = type_schema(dataset.key()),
                // Generators of clients accept no list in a header.
                Some("If-None-Match") => parameter["schema"] = json!({ "type": "string" }),
                _ => {}
            }
        }
        if verb == "list" {
            parameters.extend(dataset.indexed().map(filter));
        }
    }
    item
}

fn array(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn reference(of: &str, dataset: &Dataset) -> Value {
    json!({ "$ref": format!("{SCHEMAS}{}", schema_name(of, dataset)) })
}

/// The parameter that filters by a column.
fn filter(column: &Column) -> Value {
    json!({
        "description": format!("Only those with this value in `{}`.", column.name),
        "explode": true,
        "in": "query",
        "name": column.name,
        "required": false,
        "schema": type_schema(column),
    })
}

/// Replaces a reference with a description, for which generators of clients have no type, by the reference alone.
fn simplify_references(value: &mut Value) {
    if let Some(reference) = described_reference(value) {
        *value = reference;
        return;
    }
    match value {
        Value::Array(values) => values.iter_mut().for_each(simplify_references),
        Value::Object(fields) => fields.values_mut().for_each(simplify_references),
        _ => {}
    }
}

fn described_reference(value: &Value) -> Option<Value> {
    let [reference, other] = &value.get("allOf")?.as_array()?[..] else {
        return None;
    };
    let is_description = other.as_object()?.keys().all(|name| name == "description");
    (reference.get("$ref").is_some() && is_description).then(|| reference.clone())
}

/// A name that no other schema has, until [`rename_schemas`].
fn schema_name(of: &str, dataset: &Dataset) -> String {
    format!("{of}.{}", dataset.name)
}

/// Gives the schemas of datasets names that are valid in programming languages, as in `ProductsRecord`.
fn rename_schemas(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    let mut taken: HashSet<String> = schemas.keys().cloned().collect();
    let mut renamed = HashMap::new();
    for name in schemas.keys().filter(|name| name.contains('.')) {
        let new = match &name.split('.').collect::<Vec<_>>()[..] {
            [_, query, dataset] => format!("{}{}Rows", pascal_case(dataset), pascal_case(query)),
            [of, dataset] => format!("{}{}", pascal_case(dataset), pascal_case(of)),
            _ => continue,
        };
        renamed.insert(name.clone(), unique(new, &mut taken));
    }
    for (old, new) in &renamed {
        if let Some(schema) = schemas.remove(old) {
            schemas.insert(new.clone(), schema);
        }
    }
    rename_references(document, &renamed);
}

fn rename_references(value: &mut Value, renamed: &HashMap<String, String>) {
    match value {
        Value::Array(values) => {
            for value in values {
                rename_references(value, renamed);
            }
        }
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(SCHEMAS)
                && let Some(name) = renamed.get(name)
            {
                *reference = format!("{SCHEMAS}{name}");
            }
            for value in fields.values_mut() {
                rename_references(value, renamed);
            }
        }
        _ => {}
    }
}

/// Makes names differ that are only equal without what a name must not have.
fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let free = iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name));
    let free = free.unwrap_or(name);
    taken.insert(free.clone());
    free
}

/// Makes the ids of the operations of datasets, which are equal in rare cases, differ from all others.
fn rename_operations(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    let items = paths.values_mut().filter_map(Value::as_object_mut);
    let operations = items.flat_map(serde_json::Map::values_mut);
    let mut taken = HashSet::new();
    for operation in operations {
        if let Some(Value::String(id)) = operation.get_mut("operationId") {
            *id = unique(std::mem::take(id), &mut taken);
        }
    }
}

fn pascal_case(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words
        .flat_map(|word| {
            let (first, rest) = word.split_at(1);
            [first.to_ascii_uppercase(), rest.to_owned()]
        })
        .collect()
}

/// A schema with a version, made from the one of all datasets.
fn versioned_schema(mut schema: Value, dataset: &Dataset) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
    }
    if dataset.version().is_some() {
        let version = &mut schema["properties"]["version"];
        let description = version["description"].take();
        *version = version_schema(dataset);
        version["description"] = description;
    }
    schema
}

fn version_schema(dataset: &Dataset) -> Value {
    dataset.version().map_or_else(|| json!({}), type_schema)
}

/// The schema of a dataset's records.
fn schema(dataset: &Dataset) -> Value {
    let mut schema = json!({ "type": "object" });
    for column in &dataset.columns {
        let mut place = &mut schema;
        for name in &column.path {
            require(place, name);
            place = &mut place["properties"][name];
            if place.is_null() {
                *place = json!({ "type": "object" });
            }
        }
        *place = of_column(dataset, column);
    }
    if let Some(example) = example(&schema) {
        schema["example"] = example;
    }
    schema
}

/// The example of a text.
const TEXT: &str = "text";

/// A value that a schema allows; none where only a rule says which.
fn example(schema: &Value) -> Option<Value> {
    if let Some(properties) = schema["properties"].as_object() {
        let fields = properties.iter();
        let fields = fields.map(|(name, schema)| Some((name.clone(), example(schema)?)));
        return Some(Value::Object(fields.collect::<Option<_>>()?));
    }
    if let Some(stated) =
        [&schema["default"], &schema["enum"][0]].into_iter().find(|one| !one.is_null())
    {
        return Some(stated.clone());
    }
    let length = |rule: &str, unless| schema[rule].as_u64().unwrap_or(unless);
    let has_other_length = length("minLength", 0) > TEXT.len() as u64
        || length("maxLength", u64::MAX) < TEXT.len() as u64;
    let has_other_form = schema["pattern"]
        .as_str()
        .is_some_and(|pattern| !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(TEXT)));
    if has_other_form || has_other_length {
        return None;
    }
    if schema.get("minimum").is_some() || schema.get("maximum").is_some() {
        let is_open = schema["exclusiveMinimum"] == true;
        return Some(schema["maximum"].clone())
            .filter(|most| !most.is_null())
            .or_else(|| Some(schema["minimum"].clone()).filter(|_| !is_open));
    }
    Some(match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("date")) => json!("2026-01-31"),
        (Some("string"), Some("date-time")) => json!("2026-01-31T12:00:00Z"),
        (Some("string"), Some("uuid")) => json!("018f4e3c-7a2b-7c3d-9e10-3f5b6a7c8d9e"),
        (Some("string"), Some("email")) => json!("name@example.com"),
        (Some("string"), Some("uri")) => json!("https://example.com/"),
        (Some("string"), _) => json!(TEXT),
        (Some("integer"), _) => json!(1),
        (Some("number"), _) => json!(9.99),
        (Some("boolean"), _) => json!(true),
        _ => json!({}),
    })
}

/// Records have all fields that columns take; those without a value are null.
fn require(object: &mut Value, name: &str) {
    match object["required"].as_array_mut() {
        Some(required) if required.iter().any(|known| known == name) => {}
        Some(required) => required.push(name.into()),
        None => object["required"] = json!([name]),
    }
}

fn of_column(dataset: &Dataset, column: &Column) -> Value {
    let mut schema = column_schema(column);
    // Rows from before a column was added have no value in it.
    let is_of = |other: &Column| other.name == column.name;
    if !is_of(dataset.key()) && !dataset.version().is_some_and(is_of) {
        make_nullable(&mut schema);
    }
    schema
}

fn make_nullable(schema: &mut Value) {
    schema["nullable"] = true.into();
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.push(Value::Null);
    }
}

fn column_schema(column: &Column) -> Value {
    let mut schema = type_schema(column);
    if let Some(default) = &column.default {
        schema["default"] = json(default);
    }
    // Those of a redacted column are of its clear values.
    for constraint in column.constraints.iter().filter(|_| column.redact.is_none()) {
        match constraint {
            // For dates and timestamps, OpenAPI has none.
            Constraint::Minimum(_) | Constraint::ExclusiveMinimum(_) | Constraint::Maximum(_)
                if schema["type"] == "string" => {}
            Constraint::Minimum(least) => schema["minimum"] = json(least),
            Constraint::ExclusiveMinimum(below) => {
                schema["minimum"] = json(below);
                schema["exclusiveMinimum"] = true.into();
            }
            Constraint::Maximum(most) => schema["maximum"] = json(most),
            Constraint::MinLength(least) => schema["minLength"] = (*least).into(),
            Constraint::MaxLength(most) => schema["maxLength"] = (*most).into(),
            Constraint::Pattern(pattern) => schema["pattern"] = pattern.as_str().into(),
            Constraint::Enum(values) => schema["enum"] = values.iter().map(json).collect(),
            Constraint::Format(Format::Email) => schema["format"] = "email".into(),
            Constraint::Format(Format::Uri) => schema["format"] = "uri".into(),
            // OpenAPI has no name for them.
            Constraint::Format(Format::Luhn | Format::CardExpiry) => {}
        }
    }
    schema
}

/// The JSON of a value.
pub(super) fn json(value: &ColumnValue) -> Value {
    let mut json = Vec::new();
    value.write_json(&mut json);
    serde_json::from_slice(&json).unwrap_or_default()
}

fn type_schema(column: &Column) -> Value {
    match column.column_type {
        Type::Text => json!({ "type": "string" }),
        Type::Bigint => json!({ "type": "integer", "format": "int64" }),
        Type::Numeric => json!({ "type": "number", "format": "decimal" }),
        Type::Double => json!({ "type": "number", "format": "double" }),
        Type::Boolean => json!({ "type": "boolean" }),
        Type::Date => json!({ "type": "string", "format": "date" }),
        Type::Timestamp => json!({ "type": "string", "format": "date-time" }),
        Type::Uuid => json!({ "type": "string", "format": "uuid" }),
        Type::Json => json!({}),
    }
}
