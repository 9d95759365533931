//! The endpoints of datasets: their declarations.

use std::collections::HashSet;

use jetline_datasets::{Column, Dataset, UnknownField};
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, Tags, param::Path};
use serde::Serialize;

use crate::{
    auth::Caller,
    database::ReadPool,
    http::{
        json::{self, SerdeJson},
        problem::{Failure, ProblemJson},
        response_budget::ResponseBudget,
    },
    records::{Served, no_dataset},
};

/// Serves the current declarations of all datasets.
pub(crate) struct DatasetApi {
    pub(crate) served: Served,
    pub(crate) pool: ReadPool,
    pub(crate) budget: ResponseBudget,
}

#[derive(Tags)]
enum Sections {
    /// What is declared.
    #[oai(rename = "datasets")]
    Datasets,
}

/// A dataset.
#[derive(Object, Serialize)]
#[oai(rename = "Dataset")]
struct DatasetView {
    /// Its name, and that of its path.
    name: String,
    /// The name of the column with the key.
    key: String,
    /// The name of the column with the version, in a dataset with versions.
    version: Option<String>,
    /// The number of its current declaration.
    number: i64,
}

/// The current declaration of a dataset.
#[derive(Object, Serialize)]
#[oai(rename = "Declaration")]
struct DeclarationView {
    /// The name of the dataset.
    name: String,
    /// Its number.
    number: i64,
    /// Its text, in TOML.
    declaration: String,
    /// The columns, in their order.
    columns: Vec<ColumnView>,
}

/// A column of a dataset.
#[derive(Object, Serialize)]
#[oai(rename = "Column")]
struct ColumnView {
    /// Its name.
    name: String,
    /// Its type, such as `text`.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    column_type: String,
    /// Where its values are in a record, as a JSON Pointer.
    path: String,
    /// Whether the field may be missing or null.
    optional: bool,
    /// Whether lists can be filtered by it.
    index: bool,
}

/// Fields of records that no column takes, and that have the same path.
#[derive(Object, Serialize)]
#[oai(rename = "UnknownField")]
struct FieldView {
    /// Where they are in a record, as a JSON Pointer, of which the first 256 bytes are kept. Paths beyond the first 1,000 of a dataset are
    /// one entry, with an empty path.
    path: String,
    /// How many records have it. Rejected records count as far as they were parsed, and those of a replayed object again.
    records: u64,
    /// The types of its values: `object`, `array`, `string`, `number`, `boolean`, `null`. Those of CSV are strings.
    types: Vec<String>,
    /// The number of the object of the first of them.
    object: i64,
    /// The first one's line in that object, from 1.
    line: i64,
}

#[derive(ApiResponse)]
enum GetFields {
    /// The fields.
    #[oai(status = 200)]
    Found(SerdeJson<Vec<FieldView>>),
    /// There is no such dataset.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[derive(ApiResponse)]
enum GetDeclaration {
    /// The declaration.
    #[oai(status = 200)]
    Found(SerdeJson<DeclarationView>),
    /// There is no such dataset.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi(tag = "Sections::Datasets")]
impl DatasetApi {
    /// The datasets, by name.
    #[oai(path = "/datasets", method = "get", operation_id = "list_datasets")]
    async fn list(&self, caller: Data<&Caller>) -> Result<SerdeJson<Vec<DatasetView>>, Failure> {
        let datasets = self.served.datasets(caller.0).await?;
        let datasets: Vec<DatasetView> = datasets.iter().map(|one| DatasetView::of(one)).collect();
        self.respond(&datasets)
    }

    /// The current declaration of one dataset.
    #[oai(path = "/datasets/:name", method = "get", operation_id = "get_dataset")]
    async fn get(
        &self,
        caller: Data<&Caller>,
        /// The name of the dataset.
        name: Path<String>,
    ) -> Result<GetDeclaration, Failure> {
        let Some(loader) = self.served.loader(&name.0, caller.0).await? else {
            return Ok(GetDeclaration::NotFound(no_dataset(&name.0)));
        };
        let dataset = loader.dataset();
        let statement = self.pool.catalog().declaration(dataset.declaration);
        match self.pool.run(statement).await? {
            Some(text) => {
                Ok(GetDeclaration::Found(self.respond(&DeclarationView::of(dataset, text))?))
            }
            None => Ok(GetDeclaration::NotFound(no_dataset(&name.0))),
        }
    }

    /// The fields of its records that no column takes, by path.
    ///
    /// Those of an object are added when it and all objects before it have ended.
    #[oai(path = "/datasets/:name/fields", method = "get", operation_id = "list_unknown_fields")]
    async fn fields(
        &self,
        caller: Data<&Caller>,
        /// The name of the dataset.
        name: Path<String>,
    ) -> Result<GetFields, Failure> {
        let Some(loader) = self.served.loader(&name.0, caller.0).await? else {
            return Ok(GetFields::NotFound(no_dataset(&name.0)));
        };
        let catalog = self.pool.catalog();
        let fields = self.pool.run(catalog.unknown_fields(&name.0)).await?;
        // A column that was declared later takes it now.
        let dataset = loader.dataset();
        let taken = dataset.columns.iter().chain(&dataset.dropped).map(Column::pointer);
        let taken: HashSet<String> = taken.collect();
        let fields = fields.iter().filter(|(path, _)| !taken.contains(*path));
        let fields: Vec<FieldView> =
            fields.map(|(path, field)| FieldView::of(path, field)).collect();
        Ok(GetFields::Found(self.respond(&fields)?))
    }
}

impl DatasetApi {
    fn respond<T>(&self, view: &impl Serialize) -> Result<SerdeJson<T>, Failure> {
        let body = json::text(view)?;
        Ok(SerdeJson::serialized(self.budget.count(body)?))
    }
}

impl DatasetView {
    fn of(dataset: &Dataset) -> Self {
        Self {
            name: dataset.name.clone(),
            key: dataset.key().name.clone(),
            version: dataset.version().map(|column| column.name.clone()),
            number: dataset.declaration,
        }
    }
}

impl DeclarationView {
    fn of(dataset: &Dataset, text: String) -> Self {
        Self {
            name: dataset.name.clone(),
            number: dataset.declaration,
            declaration: text,
            columns: dataset.columns.iter().map(ColumnView::of).collect(),
        }
    }
}

impl FieldView {
    fn of(path: &str, field: &UnknownField) -> Self {
        Self {
            path: path.to_owned(),
            records: field.records,
            types: field.types.iter().map(|of| of.word().to_owned()).collect(),
            object: field.first.object().get(),
            line: field.first.line().into(),
        }
    }
}

impl ColumnView {
    fn of(column: &Column) -> Self {
        Self {
            name: column.name.clone(),
            column_type: column.column_type.to_string(),
            path: column.pointer(),
            optional: column.optional,
            index: column.index,
        }
    }
}
