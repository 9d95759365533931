//! The endpoint of the origins of records.

use chrono::{DateTime, Utc};
use jetline_store::catalog::origin::Origin;
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, param::Path};
use serde::Serialize;
use serde_json::Value;

use crate::{
    auth::Caller,
    database::{Error, ReadPool},
    http::{
        json::SerdeJson,
        problem::{Failure, ProblemJson},
    },
    records::{Served, document, no_dataset, no_record, parameters},
};

/// Serves where records come from.
pub(crate) struct OriginApi {
    pub(crate) served: Served,
    pub(crate) pool: ReadPool,
}

/// Where a record comes from: the line that won over all others with its id.
#[derive(Object, Serialize)]
#[oai(rename = "Origin")]
struct OriginView {
    /// The number of the line's object.
    object: i64,
    /// The address of the object; null where the database does not have it.
    uri: Option<String>,
    /// The line's number in the object, from 1.
    line: i64,
    /// The record's version; null in a dataset without versions.
    version: Option<Value>,
    /// When the content of the record last changed, which may have been before this line.
    changed_at: DateTime<Utc>,
    /// Whether the line deletes the record.
    deleted: bool,
}

#[derive(ApiResponse)]
enum GetOrigin {
    /// Where the record comes from.
    #[oai(status = 200)]
    Found(SerdeJson<OriginView>),
    /// No record has this id.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi]
impl OriginApi {
    /// Where one record comes from.
    #[oai(path = "/:dataset/:id/origin", method = "get", operation_id = "origin")]
    async fn get(
        &self,
        caller: Data<&Caller>,
        dataset: Path<String>,
        /// The record's id.
        id: Path<String>,
    ) -> Result<GetOrigin, Failure> {
        let Some(loader) = self.served.loader(&dataset.0, caller.0).await? else {
            return Ok(GetOrigin::NotFound(no_dataset(&dataset.0)));
        };
        let key = parameters::key(loader.dataset(), "id", &id.0)?;
        let statement = self.pool.catalog().origin(loader.dataset(), &key);
        let origin = match self.pool.run(statement).await {
            Err(Error::Failed) if self.served.is_dropped(&dataset.0).await => {
                return Ok(GetOrigin::NotFound(no_dataset(&dataset.0)));
            }
            origin => origin?,
        };
        match origin {
            Some(origin) => Ok(GetOrigin::Found(SerdeJson::new(&OriginView::from(origin))?)),
            None => Ok(GetOrigin::NotFound(no_record(&dataset.0, &id.0))),
        }
    }
}

impl From<Origin> for OriginView {
    fn from(origin: Origin) -> Self {
        let version = Some(origin.version).filter(|version| !version.is_null());
        Self {
            object: origin.position.object().get(),
            uri: origin.uri,
            line: origin.position.line().into(),
            version: version.as_ref().map(document::json),
            changed_at: origin.changed_at,
            deleted: origin.is_deleted,
        }
    }
}
