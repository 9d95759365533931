//! A page of records in the order of their keys.
//!
//! It is read in parts, so that little is in memory besides the page itself, and sent whole: its head has the link to the
//! next page.

use jetline_datasets::Dataset;
use jetline_store::catalog::pages::Filter;
use serde_json::Value;

use crate::{
    database::{Error, ReadPool},
    http::{
        json::{SerdeJson, serialize},
        paging::{PageBody, next_link},
        problem::Failure,
        response_budget::{PART_BYTES, ResponseBudget},
    },
    records::stream::READ_BYTES,
};

/// Maximum number of records in a statement, which measures all of them, also those that do not fit on the page.
const MAX_RECORDS: u64 = 128;

/// A response with up to `limit` of the selected records as an array, and the link to the next page.
pub(crate) async fn respond(
    dataset: &Dataset,
    pool: &ReadPool,
    budget: &ResponseBudget,
    mut filter: Filter<'_>,
    limit: u64,
) -> Result<(SerdeJson<Value>, Option<String>), Failure> {
    let memory = budget.reserve(PART_BYTES).await?;
    let mut page = PageBody::default();
    let has_more = fill(&mut page, dataset, pool, &mut filter, limit).await?;
    let link = filter.after.as_ref().filter(|_| has_more).map(|last| {
        let values = filter.values.iter();
        let values = values.map(|(column, value)| (&*column.name, value.to_text())).collect();
        next_link(values, &last.to_string(), limit)
    });
    Ok((SerdeJson::serialized(memory.fill(page.finish())?), link))
}

/// Fills the page, and moves the filter behind its last record; returns whether there are more.
async fn fill(
    page: &mut PageBody,
    dataset: &Dataset,
    pool: &ReadPool,
    filter: &mut Filter<'_>,
    limit: u64,
) -> Result<bool, Error> {
    loop {
        let records = (limit - page.entries()).min(MAX_RECORDS);
        let statement = pool.catalog().records_page(dataset, filter, records, READ_BYTES);
        let part = pool.run(statement).await?;
        for record in part.records {
            let (values, extra) = (&record.values, record.extra.as_deref());
            if !serialize(|| page.push(|json| dataset.write_json(values, extra, json)))? {
                return Ok(true);
            }
            filter.after = Some(record.key);
        }
        if !part.has_more || page.entries() == limit {
            return Ok(part.has_more);
        }
    }
}
