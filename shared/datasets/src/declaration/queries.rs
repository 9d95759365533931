//! The queries of a declaration: `[queries.NAME]`.

use std::ops::Range;

use toml::Spanned;

use super::{
    columns::columns,
    shape::{ColumnDeclaration, Entries, Fault, QueryDeclaration},
};
use crate::{
    dataset::Column,
    names::is_name,
    query::{Query, Statement},
};

/// The ends of paths of records: a record may have the key `queries`.
const RESERVED: [&str; 3] = ["deliveries", "history", "origin"];

pub(super) fn queries(declared: Entries<QueryDeclaration>) -> Result<Vec<Query>, Fault> {
    declared.0.into_iter().map(|(name, declared)| query(name, declared)).collect()
}

fn query(name: Spanned<String>, declared: QueryDeclaration) -> Result<Query, Fault> {
    let QueryDeclaration { sql, parameters, columns } = declared;
    let (span, name) = (name.span(), name.into_inner());
    if !is_name(&name) {
        let message = "queries: a name has letters, digits and _, at most 63, and no digit first";
        return Err((span, message.to_owned()));
    }
    if RESERVED.contains(&&*name) {
        let message = format!("queries: {name}: records have a path with this end");
        return Err((span, message));
    }
    if columns.0.is_empty() {
        return Err((span, format!("queries: {name}: it has no columns")));
    }
    let parameters = fields(&name, "parameters", parameters)?;
    let columns = fields(&name, "columns", columns)?;
    let names: Vec<&str> = parameters.iter().map(|parameter| &*parameter.name).collect();
    let statement = Statement::parse(sql.get_ref(), &names)
        .map_err(|message| (sql.span(), format!("queries: {name}: sql: {message}")))?;
    Ok(Query { name, parameters, columns, statement })
}

/// Parameters or columns, which have no path, no index and no redaction.
fn fields(
    query: &str,
    of: &str,
    declared: Entries<ColumnDeclaration>,
) -> Result<Vec<Column>, Fault> {
    let located = |message| format!("queries: {query}: {of}: {message}");
    let is_stored = |ColumnDeclaration(table): &ColumnDeclaration| {
        table.path.is_some() || table.index || table.redact.is_some()
    };
    if let Some((name, _)) = declared.0.iter().find(|(_, table)| is_stored(table)) {
        let message = format!("{} cannot have a path, an index or a redaction", name.get_ref());
        return Err((name.span(), located(message)));
    }
    columns(declared).map_err(|(span, message): (Range<usize>, String)| (span, located(message)))
}
