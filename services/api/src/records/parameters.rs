//! The parameters of records and of lists of them, which depend on the dataset.

use jetline_core::Key;
use jetline_datasets::{Column, Dataset, Value};
use poem::Request;
use url::form_urlencoded;

use crate::http::problem::Failure;

/// The parameters of a request's query, in their order.
pub(crate) fn of(request: &Request) -> Vec<(String, String)> {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The key that the parameter `name` is.
pub(crate) fn key(dataset: &Dataset, name: &str, text: &str) -> Result<Key, Failure> {
    dataset.read_key(text).map_err(|rejection| {
        Failure::parameter(name, &format!("cannot be a key: {}", rejection.message))
    })
}

/// Fails where there are other parameters than `id`.
pub(crate) fn only_ids(parameters: &[(String, String)]) -> Result<(), Failure> {
    match parameters.iter().find(|(name, _)| name != "id") {
        Some((other, _)) => {
            Err(Failure::parameter("id", &format!("cannot be combined with `{other}`")))
        }
        None => Ok(()),
    }
}

/// Fails on a parameter that is not one of these, or is given twice.
pub(crate) fn only(parameters: &[(String, String)], known: &[&str]) -> Result<(), Failure> {
    for (place, (name, _)) in parameters.iter().enumerate() {
        if !known.contains(&&**name) {
            let names = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Failure::parameter(name, &format!("is not known; there are: {names}")));
        }
        if parameters[..place].iter().any(|(before, _)| before == name) {
            return Err(Failure::parameter(name, "is given more than once"));
        }
    }
    Ok(())
}

/// The filters among the parameters of a page: columns with an index, and the values that they must have.
pub(crate) fn filters<'a>(
    dataset: &'a Dataset,
    parameters: &[(String, String)],
) -> Result<Vec<(&'a Column, Value)>, Failure> {
    let mut filters = Vec::new();
    for (place, (name, text)) in parameters.iter().enumerate() {
        if parameters[..place].iter().any(|(before, _)| before == name) {
            return Err(Failure::parameter(name, "is given more than once"));
        }
        if name != "after" && name != "limit" {
            filters.push(filter(dataset, name, text)?);
        }
    }
    Ok(filters)
}

fn filter<'a>(
    dataset: &'a Dataset,
    name: &str,
    text: &str,
) -> Result<(&'a Column, Value), Failure> {
    let column = dataset.indexed().find(|column| column.name == name);
    let column = column.ok_or_else(|| Failure::parameter(name, &not_known(dataset)))?;
    let value = column.column_type.read_text(text).map_err(|rejection| {
        let reason = format!("is no value of its column: {}", rejection.message);
        Failure::parameter(name, &reason)
    })?;
    Ok((column, value))
}

fn not_known(dataset: &Dataset) -> String {
    let names: Vec<&str> = dataset.indexed().map(|column| &*column.name).collect();
    let name = &dataset.name;
    match names[..] {
        [] => format!("is not known, and no column of {name} has an index to filter by"),
        _ => format!("is not known; {name} can be filtered by: {}", names.join(", ")),
    }
}
