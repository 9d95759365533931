//! The part of the OpenAPI document about datasets: the paths of [`RecordApi`](super::RecordApi), once for each dataset, with
//! the schema of its records.

use jetline_datasets::{Column, Constraint, Dataset, Datasets, Format, Type, Value as ColumnValue};
use serde_json::{Map, Value, json};

/// Describes the datasets in the document of poem-openapi.
pub(crate) fn describe(document: &mut Value, datasets: &Datasets) {
    let mut of_all = Map::new();
    if let Some(paths) = document["paths"].as_object_mut() {
        let generic = |path: &String| path.starts_with("/{dataset}");
        let generic: Vec<String> = paths.keys().filter(|path| generic(path)).cloned().collect();
        of_all.extend(generic.iter().filter_map(|path| paths.remove_entry(path)));
    }
    for dataset in datasets.iter() {
        for (path, item) in &of_all {
            let path = path.replace("{dataset}", &dataset.name);
            document["paths"][path] = of_dataset(item.clone(), dataset);
        }
        document["components"]["schemas"][schema_name(dataset)] = schema(dataset);
    }
    let names: Vec<&str> = datasets.iter().map(|dataset| &*dataset.name).collect();
    let parameters = document["paths"]["/objects"]["get"]["parameters"].as_array_mut();
    for parameter in parameters.into_iter().flatten() {
        if parameter["name"] == "dataset" {
            parameter["schema"]["enum"] = json!(names);
        }
    }
}

fn of_dataset(mut item: Value, dataset: &Dataset) -> Value {
    let get = &mut item["get"];
    get["tags"] = json!([dataset.name]);
    let verb = get["operationId"].as_str().unwrap_or_default().to_owned();
    get["operationId"] = format!("{verb}_{}", dataset.name).into();
    let record = json!({ "$ref": format!("#/components/schemas/{}", schema_name(dataset)) });
    let key = type_schema(dataset.key());
    let (body, id) = match verb.as_str() {
        "get" => (record, key),
        _ => {
            (json!({ "type": "array", "items": record }), json!({ "type": "array", "items": key }))
        }
    };
    get["responses"]["200"]["content"]["application/json"]["schema"] = body;
    if let Some(parameters) = get["parameters"].as_array_mut() {
        parameters.retain(|parameter| parameter["name"] != "dataset");
        for parameter in parameters.iter_mut().filter(|parameter| parameter["name"] == "id") {
            parameter["schema"] = id.clone();
        }
    }
    item
}

/// A name that no other schema has.
fn schema_name(dataset: &Dataset) -> String {
    format!("record.{}", dataset.name)
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
        *place = column_schema(dataset, column);
    }
    schema
}

/// Records have all fields that columns take; those without a value are null.
fn require(object: &mut Value, name: &str) {
    match object["required"].as_array_mut() {
        Some(required) if required.iter().any(|known| known == name) => {}
        Some(required) => required.push(name.into()),
        None => object["required"] = json!([name]),
    }
}

fn column_schema(dataset: &Dataset, column: &Column) -> Value {
    let mut schema = type_schema(column);
    for constraint in &column.constraints {
        match constraint {
            // For dates and timestamps, OpenAPI has none.
            Constraint::Minimum(_) | Constraint::ExclusiveMinimum(_) | Constraint::Maximum(_)
                if schema["type"] == "string" => {}
            Constraint::Minimum(least) => schema["minimum"] = number(least),
            Constraint::ExclusiveMinimum(below) => {
                schema["minimum"] = number(below);
                schema["exclusiveMinimum"] = true.into();
            }
            Constraint::Maximum(most) => schema["maximum"] = number(most),
            Constraint::MinLength(least) => schema["minLength"] = (*least).into(),
            Constraint::MaxLength(most) => schema["maxLength"] = (*most).into(),
            Constraint::Pattern(pattern) => schema["pattern"] = pattern.as_str().into(),
            Constraint::Enum(values) => schema["enum"] = values.iter().map(number).collect(),
            Constraint::Format(Format::Email) => schema["format"] = "email".into(),
            Constraint::Format(Format::Uri) => schema["format"] = "uri".into(),
        }
    }
    // Rows from before a column was added have no value in it.
    let is_of = |other: &Column| other.name == column.name;
    if !is_of(dataset.key()) && !dataset.version().is_some_and(is_of) {
        schema["nullable"] = true.into();
        if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        }
    }
    schema
}

/// The JSON of a constraint's value.
fn number(value: &ColumnValue) -> Value {
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
