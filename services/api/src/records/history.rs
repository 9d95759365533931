//! The endpoint of the versions of a record.

use chrono::{DateTime, Utc};
use jetline_core::Key;
use jetline_datasets::{Dataset, Value as ColumnValue};
use jetline_store::catalog::history::{Filter, StoredVersion};
use poem::{Request, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
};
use serde_json::Value;

use crate::{
    auth::Caller,
    database::{self, ReadPool},
    http::{
        json::{SerdeJson, serialize},
        paging::{PageBody, default_limit, next_link},
        problem::{Failure, ProblemJson, not_found},
        response_budget::{PART_BYTES, ResponseBudget},
    },
    records::{Served, no_dataset, no_record, parameters, stream::READ_BYTES},
};

/// Maximum number of versions in a statement, which measures all of them.
const MAX_VERSIONS: u64 = 128;

/// Serves the versions of records.
pub(crate) struct HistoryApi {
    pub(crate) served: Served,
    pub(crate) pool: ReadPool,
    pub(crate) budget: ResponseBudget,
}

/// A version of a record.
#[derive(Object)]
#[oai(rename = "Version")]
struct VersionView {
    /// The version.
    version: Value,
    /// The number of its line's object.
    object: i64,
    /// The line's number in the object, from 1.
    line: i64,
    /// When the content of this version was committed.
    changed_at: DateTime<Utc>,
    /// Whether the version deletes the record.
    deleted: bool,
    /// The record. Of a deleted one, all but id and version is null.
    record: Value,
}

#[derive(ApiResponse)]
enum GetHistory {
    /// The versions. A page may have fewer of them than `limit`, where they are long: it ends at about 1 MiB.
    #[oai(status = 200)]
    Found(
        SerdeJson<Vec<VersionView>>,
        /// `<…>; rel="next"`: the next page, unless this is the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
    /// No record has this id, or the dataset has no history.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi]
impl HistoryApi {
    /// The versions of one record, the highest first.
    ///
    /// With `at` and a limit of 1, the record as of that version.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
    #[oai(path = "/:dataset/:id/history", method = "get", operation_id = "history")]
    async fn get(
        &self,
        request: &Request,
        caller: Data<&Caller>,
        dataset: Path<String>,
        /// The record's id.
        id: Path<String>,
        /// Only versions up to this one.
        at: Query<Option<String>>,
        /// Only versions below this one, from the link of the page before.
        after: Query<Option<String>>,
        /// How many at most.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u64>,
    ) -> Result<GetHistory, Failure> {
        let Some(loader) = self.served.loader(&dataset.0, caller.0).await? else {
            return Ok(GetHistory::NotFound(no_dataset(&dataset.0)));
        };
        let dataset = loader.dataset();
        if !dataset.has_history {
            let detail =
                format!("{} has no history: its declaration has no `history = true`", dataset.name);
            return Ok(GetHistory::NotFound(not_found(detail)));
        }
        let key = parameters::key(dataset, "id", &id.0)?;
        parameters::only(&parameters::of(request), &["at", "after", "limit"])?;
        let filter = Filter {
            at: version(dataset, "at", at.0.as_deref())?,
            after: version(dataset, "after", after.0.as_deref())?,
        };
        match self.page(dataset, &key, filter, limit.0).await {
            Ok((0, ..)) if !self.exists(dataset, &key).await? => {
                Ok(GetHistory::NotFound(no_record(&dataset.name, &id.0)))
            }
            Ok((_, body, next)) => Ok(GetHistory::Found(body, next)),
            Err(Failure::Internal(_)) if self.served.is_dropped(&dataset.name).await => {
                Ok(GetHistory::NotFound(no_dataset(&dataset.name)))
            }
            Err(failure) => Err(failure),
        }
    }
}

impl HistoryApi {
    /// The number of versions on a page, the page, and the link to the next one.
    async fn page(
        &self,
        dataset: &Dataset,
        key: &Key,
        mut filter: Filter,
        limit: u64,
    ) -> Result<(u64, SerdeJson<Vec<VersionView>>, Option<String>), Failure> {
        let memory = self.budget.reserve(PART_BYTES).await?;
        let at = filter.at.as_ref().map(ColumnValue::to_text);
        let mut page = PageBody::default();
        let has_more = self.fill(&mut page, dataset, key, &mut filter, limit).await?;
        let link = filter.after.filter(|_| has_more).map(|last| {
            next_link(at.map(|at| ("at", at)).into_iter().collect(), &last.to_text(), limit)
        });
        let entries = page.entries();
        Ok((entries, SerdeJson::serialized(memory.fill(page.finish())?), link))
    }

    /// Whether a record has any version.
    async fn exists(&self, dataset: &Dataset, key: &Key) -> Result<bool, database::Error> {
        let all = Filter::default();
        let statement = self.pool.catalog().history(dataset, key, &all, 1, 1);
        Ok(!self.pool.run(statement).await?.versions.is_empty())
    }

    /// Fills the page, and moves the filter behind its last version; returns whether there are more.
    async fn fill(
        &self,
        page: &mut PageBody,
        dataset: &Dataset,
        key: &Key,
        filter: &mut Filter,
        limit: u64,
    ) -> Result<bool, database::Error> {
        loop {
            let versions = (limit - page.entries()).min(MAX_VERSIONS);
            let statement = self.pool.catalog().history(dataset, key, filter, versions, READ_BYTES);
            let part = self.pool.run(statement).await?;
            for version in part.versions {
                if !serialize(|| page.push(|json| write(dataset, &version, json)))? {
                    return Ok(true);
                }
                filter.after = dataset.version_in(&version.record.values).cloned();
            }
            if !part.has_more || page.entries() == limit {
                return Ok(part.has_more);
            }
        }
    }
}

fn version(
    dataset: &Dataset,
    name: &str,
    text: Option<&str>,
) -> Result<Option<ColumnValue>, Failure> {
    let (Some(text), Some(column)) = (text, dataset.version()) else {
        return Ok(None);
    };
    let value = column.column_type.read_text(text).map_err(|rejection| {
        Failure::parameter(name, &format!("cannot be a version: {}", rejection.message))
    })?;
    Ok(Some(value))
}

/// Writes a [`VersionView`].
fn write(dataset: &Dataset, version: &StoredVersion, json: &mut Vec<u8>) -> serde_json::Result<()> {
    let StoredVersion { record, position } = version;
    json.extend_from_slice(b"{\"version\":");
    dataset.version_in(&record.values).unwrap_or(&ColumnValue::Null).write_json(json);
    let (object, line) = (position.object(), position.line());
    json.extend_from_slice(format!(",\"object\":{object},\"line\":{line}").as_bytes());
    json.extend_from_slice(b",\"changed_at\":");
    serde_json::to_writer(&mut *json, &record.changed_at)?;
    let head = format!(",\"deleted\":{},\"record\":", record.is_deleted);
    json.extend_from_slice(head.as_bytes());
    dataset.write_json(&record.values, record.extra.as_deref(), json)?;
    json.push(b'}');
    Ok(())
}
