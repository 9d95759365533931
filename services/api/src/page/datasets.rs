//! The pages of datasets and their records.

use std::{collections::HashSet, sync::Arc};

use askama::Template;
use jetline_core::Key;
use jetline_datasets::{Column, Dataset, Value};
use jetline_runtime::human;
use jetline_store::catalog::{deliveries, pages};
use poem::{
    Request, Response, handler,
    web::{Data, Path, Query},
};
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use super::{
    Page,
    deliveries::DeliveryRow,
    frame::{Frame, PageError},
    rows::{beginning, time},
};
use crate::{auth::Caller, http::path::path_segment, http::response_budget::PART_BYTES};

/// Number of records on a page.
const RECORDS: u64 = 50;

/// Number of columns of a record that are shown in a list, without the key.
const COLUMNS: usize = 7;

/// How many characters of a value are shown in a list.
const VALUE_CHARS: usize = 80;

/// How many characters of a value are shown on the page of its record.
const LONG_VALUE_CHARS: usize = 20_000;

/// Bytes of text of the records of a page.
const PAGE_BYTES: usize = PART_BYTES / 4;

/// Maximum number of unknown fields that are shown.
const FIELDS: usize = 100;

/// Maximum number of destinations of a record that are shown.
const DESTINATIONS: u64 = 100;

#[derive(Template)]
#[template(path = "datasets.html")]
struct Datasets {
    frame: Frame,
    datasets: Vec<DatasetRow>,
}

struct DatasetRow {
    name: String,
    key: String,
    version: String,
    columns: usize,
    destinations: String,
}

#[handler]
pub(super) async fn show_datasets(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
) -> Response {
    let frame = page.frame(request, caller, "Datasets");
    frame.answer(render_list(page, caller, &frame).await)
}

async fn render_list(page: &Page, caller: &Caller, frame: &Frame) -> Result<String, PageError> {
    let datasets = page.served.datasets(caller).await?;
    let rows = datasets.iter().map(|dataset| DatasetRow {
        name: dataset.name.clone(),
        key: dataset.key().name.clone(),
        version: dataset.version().map_or("–".to_owned(), |column| column.name.clone()),
        columns: dataset.stored().count(),
        destinations: destinations(dataset),
    });
    Ok(Datasets { frame: frame.clone(), datasets: rows.collect() }.render()?)
}

fn destinations(dataset: &Dataset) -> String {
    let names: Vec<&str> = dataset.destinations.iter().map(|one| &*one.name).collect();
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

#[derive(Deserialize)]
struct DatasetQuery {
    /// The key after which records are shown.
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "dataset.html")]
struct DatasetPage {
    frame: Frame,
    name: String,
    key: String,
    columns: Vec<String>,
    rows: Vec<RecordRow>,
    is_continued: bool,
    next: Option<String>,
    fields: Vec<FieldRow>,
    declaration: String,
}

struct RecordRow {
    key: String,
    key_parameter: String,
    values: Vec<String>,
}

struct FieldRow {
    path: String,
    records: String,
    types: String,
    object: i64,
    line: u32,
}

#[handler]
pub(super) async fn show_dataset(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Path(name): Path<String>,
    Query(query): Query<DatasetQuery>,
) -> Response {
    let frame = page.frame(request, caller, "Datasets");
    frame.answer(render_dataset(page, caller, &frame, &name, query).await)
}

async fn render_dataset(
    page: &Page,
    caller: &Caller,
    frame: &Frame,
    name: &str,
    query: DatasetQuery,
) -> Result<String, PageError> {
    let dataset = find(page, caller, name).await?;
    let catalog = page.pool.catalog();
    let after = query.after.as_deref().map(|text| key(&dataset, text)).transpose()?;
    let is_continued = after.is_some();
    let filter = pages::Filter { values: Vec::new(), after };
    let _memory = page.budget.reserve(PART_BYTES).await?;
    let found = catalog.records_page(&dataset, &filter, RECORDS, PAGE_BYTES);
    let found = page.pool.run(found).await?;
    let next = found.records.last().filter(|_| found.has_more);
    let next = next.map(|last| format!("?after={}", parameter(&last.key)));
    let shown: Vec<usize> = shown_columns(&dataset).collect();
    let rows = found.records.iter().map(|record| RecordRow {
        key: record.key.to_string(),
        key_parameter: parameter(&record.key),
        values: shown
            .iter()
            .map(|at| beginning(&record.values[*at].to_text(), VALUE_CHARS))
            .collect(),
    });
    let key = dataset.key().name.clone();
    let names = shown.iter().map(|at| dataset.columns[*at].name.clone());
    let dataset_page = DatasetPage {
        frame: frame.clone(),
        name: name.to_owned(),
        columns: std::iter::once(key.clone()).chain(names).collect(),
        key,
        rows: rows.collect(),
        is_continued,
        next,
        fields: unknown_fields(page, &dataset).await?,
        declaration: page
            .pool
            .run(catalog.declaration(dataset.declaration))
            .await?
            .unwrap_or_default(),
    };
    Ok(dataset_page.render()?)
}

/// The columns of a list, by their places: the first ones that are stored, without the key.
fn shown_columns(dataset: &Dataset) -> impl Iterator<Item = usize> {
    let key = &dataset.key().name;
    let stored: HashSet<&String> = dataset.stored().map(|column| &column.name).collect();
    let columns = dataset.columns.iter().enumerate();
    let shown = columns.filter(move |(_, column)| {
        column.name != *key
            && column.name != Column::deleted().name
            && stored.contains(&column.name)
    });
    shown.map(|(at, _)| at).take(COLUMNS)
}

/// The fields that no column takes, also not one that was declared later.
async fn unknown_fields(page: &Page, dataset: &Dataset) -> Result<Vec<FieldRow>, PageError> {
    let fields = page.pool.run(page.pool.catalog().unknown_fields(&dataset.name)).await?;
    let taken = dataset.columns.iter().chain(&dataset.dropped).map(Column::pointer);
    let taken: HashSet<String> = taken.collect();
    let fields = fields.iter().filter(|(path, _)| !taken.contains(*path)).take(FIELDS);
    let rows = fields.map(|(path, field)| FieldRow {
        path: if path.is_empty() { "further ones".to_owned() } else { path.to_owned() },
        records: human::count(field.records.cast_signed()),
        types: field.types.iter().map(|of| of.word()).collect::<Vec<_>>().join(", "),
        object: field.first.object().get(),
        line: field.first.line(),
    });
    Ok(rows.collect())
}

#[derive(Deserialize)]
struct RecordQuery {
    key: String,
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    dataset: String,
    key: String,
    is_deleted: bool,
    values: Vec<(String, String)>,
    object: i64,
    uri: Option<String>,
    line: u32,
    changed_at: String,
    has_history: bool,
    /// The path of the record as JSON.
    path: String,
    deliveries: Vec<DeliveryRow>,
}

#[handler]
pub(super) async fn show_record(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Path(name): Path<String>,
    Query(query): Query<RecordQuery>,
) -> Response {
    let frame = page.frame(request, caller, "Datasets");
    frame.answer(render_record(page, caller, &frame, &name, &query.key).await)
}

async fn render_record(
    page: &Page,
    caller: &Caller,
    frame: &Frame,
    name: &str,
    text: &str,
) -> Result<String, PageError> {
    let dataset = find(page, caller, name).await?;
    let key = key(&dataset, text.trim())?;
    let unknown = || PageError::NotFound(format!("record of {name} with the key {key}"));
    let catalog = page.pool.catalog();
    let _memory = page.budget.reserve(PART_BYTES).await?;
    let found = page.pool.run(catalog.records(&dataset, vec![key.clone()])).await?;
    let record = found.into_iter().next().ok_or_else(unknown)?;
    let origin = page.pool.run(catalog.origin(&dataset, &key)).await?.ok_or_else(unknown)?;
    let filter = deliveries::Filter {
        datasets: Some(vec![name.to_owned()]),
        key: Some(key.to_string()),
        ..deliveries::Filter::default()
    };
    let deliveries = page.pool.run(catalog.deliveries(&filter, None, DESTINATIONS)).await?;
    let columns = dataset.columns.iter().zip(&record.values);
    let shown = columns.filter(|(column, _)| column.name != Column::deleted().name);
    let mut values: Vec<(String, String)> =
        shown.map(|(column, value)| (column.name.clone(), value_text(value))).collect();
    if let Some(extra) = &record.extra {
        values.push(("further fields".to_owned(), beginning(extra, LONG_VALUE_CHARS)));
    }
    let record_page = RecordPage {
        frame: frame.clone(),
        dataset: name.to_owned(),
        is_deleted: record.is_deleted,
        values,
        object: origin.position.object().get(),
        uri: origin.uri,
        line: origin.position.line(),
        changed_at: time(origin.changed_at),
        has_history: dataset.has_history,
        path: format!("{name}/{}", path_segment(&key.to_string())),
        key: key.to_string(),
        deliveries: deliveries.iter().map(DeliveryRow::new).collect(),
    };
    Ok(record_page.render()?)
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        value => beginning(&value.to_text(), LONG_VALUE_CHARS),
    }
}

async fn find(page: &Page, caller: &Caller, name: &str) -> Result<Arc<Dataset>, PageError> {
    let loader = page.served.loader(name, caller).await?;
    let loader = loader.ok_or_else(|| PageError::NotFound(format!("dataset {name}")))?;
    Ok(loader.dataset().clone())
}

fn key(dataset: &Dataset, text: &str) -> Result<Key, PageError> {
    dataset.read_key(text).map_err(|rejection| {
        PageError::BadRequest(format!(
            "This cannot be a key of {}: {}.",
            dataset.name, rejection.message
        ))
    })
}

fn parameter(key: &Key) -> String {
    byte_serialize(key.to_string().as_bytes()).collect()
}
