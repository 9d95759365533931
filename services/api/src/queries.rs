//! The endpoint of queries.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jetline_datasets::{Column, Query as DeclaredQuery, Value as ColumnValue};
use jetline_store::catalog::queries::{QueryEnd, QueryLimits};
use poem::{Request, web::Data};
use poem_openapi::{ApiResponse, Object, OpenApi, param::Path};
use serde_json::Value;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    auth::Caller,
    database::{Error, ReadPool, classify},
    http::{
        json::SerdeJson,
        problem::{Failure, ProblemJson, not_found},
        response_budget::{PART_BYTES, ResponseBudget},
    },
    records::{Served, no_dataset, parameters},
};

/// Maximum number of rows that are returned.
const MAX_ROWS: usize = 1_000;

/// Serves the queries of all datasets.
pub(crate) struct QueryApi {
    served: Served,
    pool: ReadPool,
    budget: ResponseBudget,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

/// The rows of a query.
#[derive(Object)]
#[oai(rename = "QueryResult")]
struct QueryView {
    /// The rows.
    rows: Vec<Value>,
    /// Whether the query has more rows. Only the first are returned: 1,000 at most, and about 1 MiB.
    has_more: bool,
}

#[derive(ApiResponse)]
enum GetQuery {
    /// The rows.
    #[oai(status = 200)]
    Found(SerdeJson<QueryView>),
    /// There is no such dataset or query.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi]
impl QueryApi {
    /// The rows of a query.
    #[oai(path = "/:dataset/queries/:query", method = "get", operation_id = "query")]
    async fn get(
        &self,
        request: &Request,
        caller: Data<&Caller>,
        dataset: Path<String>,
        query: Path<String>,
    ) -> Result<GetQuery, Failure> {
        let Some(loader) = self.served.loader(&dataset.0, caller.0).await? else {
            return Ok(GetQuery::NotFound(no_dataset(&dataset.0)));
        };
        let queries = &loader.dataset().queries;
        let Some(query) = queries.iter().find(|known| known.name == query.0) else {
            let names: Vec<&str> = queries.iter().map(|query| &*query.name).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let detail = format!("{} has no query {}; there are: {names}", dataset.0, query.0);
            return Ok(GetQuery::NotFound(not_found(detail)));
        };
        let values = values(query, parameters::of(request))?;
        match self.run(query, values).await {
            Err(Failure::Internal(_)) if self.served.is_dropped(&dataset.0).await => {
                Ok(GetQuery::NotFound(no_dataset(&dataset.0)))
            }
            body => Ok(GetQuery::Found(body?)),
        }
    }
}

impl QueryApi {
    pub(crate) fn new(
        served: Served,
        pool: ReadPool,
        budget: ResponseBudget,
        timeout: Duration,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(pool.connections_for_queries()));
        Self { served, pool, budget, permits, timeout }
    }

    async fn run(
        &self,
        query: &DeclaredQuery,
        values: Vec<ColumnValue>,
    ) -> Result<SerdeJson<QueryView>, Failure> {
        let begin = Instant::now();
        let permit = tokio::time::timeout(self.timeout, self.permits.acquire()).await;
        let _permit = permit.ok().and_then(Result::ok).ok_or(Error::TooManyQueries)?;
        let memory = self.budget.reserve(PART_BYTES).await?;
        let names: Vec<Vec<u8>> = query.columns.iter().map(head).collect();
        let mut json = b"{\"rows\":[".to_vec();
        let mut each = |values: Vec<ColumnValue>| {
            let end = json.len();
            let is_first = end == b"{\"rows\":[".len();
            json.extend_from_slice(if is_first { b"{" } else { b",{" });
            for (name, value) in names.iter().zip(values) {
                json.extend_from_slice(name);
                value.write_json(&mut json);
                json.push(b',');
            }
            json.pop();
            json.push(b'}');
            let is_full = json.len() > PART_BYTES && !is_first;
            if is_full {
                json.truncate(end);
            }
            !is_full
        };
        // The limit of the database ends the query. Of this program, only that of the request, which is later, gives up waiting.
        let time = (self.timeout * 9 / 10).saturating_sub(begin.elapsed());
        let limits = QueryLimits { time, rows: MAX_ROWS, row_bytes: PART_BYTES };
        let statement = self.pool.catalog().query(query, values, limits, &mut each);
        let has_more = match classify(statement.await)? {
            QueryEnd::Complete { has_more } => has_more,
            QueryEnd::TimedOut => {
                let most = self.timeout * 9 / 10;
                return Err(Failure::too_slow(format!("the query took longer than {most:?}")));
            }
            QueryEnd::Refused(reason) => return Err(Failure::query(&reason)),
        };
        json.extend_from_slice(format!("],\"has_more\":{has_more}}}\n").as_bytes());
        Ok(SerdeJson::serialized(memory.fill(json)?))
    }
}

/// The name of a column in a row.
fn head(column: &Column) -> Vec<u8> {
    format!("\"{}\":", column.name).into_bytes()
}

/// A value for each parameter of a query.
fn values(
    query: &DeclaredQuery,
    given: Vec<(String, String)>,
) -> Result<Vec<ColumnValue>, Failure> {
    let names: Vec<&str> = query.parameters.iter().map(|one| &*one.name).collect();
    parameters::only(&given, &names)?;
    let texts: HashMap<String, String> = given.into_iter().collect();
    let values = query.parameters.iter().map(|parameter| match texts.get(&parameter.name) {
        Some(text) => parameter.read_text(text).map_err(|rejection| {
            Failure::parameter(&parameter.name, &format!("is invalid: {}", rejection.message))
        }),
        None if parameter.optional => Ok(ColumnValue::Null),
        None => Err(Failure::parameter(&parameter.name, "is missing")),
    });
    values.collect()
}
