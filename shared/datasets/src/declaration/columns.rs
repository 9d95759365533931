//! The columns of a declaration: `[columns]`.

use std::{collections::HashMap, ops::Range};

use chrono::{DateTime, Utc};

use super::{
    redaction,
    shape::{ColumnDeclaration, ColumnTable, Entries, Fault},
};
use crate::{
    constraints::{self, Constraint},
    dataset::Column,
    names::check_column_name,
    value::{Type, Value},
};

/// Names that no indexed column can have: parameters of lists, some of them planned.
const RESERVED_FILTERS: [&str; 3] = ["after", "id", "limit"];

/// Columns, or parameters of a query.
pub(super) fn columns(declared: Entries<ColumnDeclaration>) -> Result<Vec<Column>, Fault> {
    let spans: Vec<Range<usize>> = declared.0.iter().map(|(name, _)| name.span()).collect();
    let columns = declared.0.into_iter().map(|(name, ColumnDeclaration(table))| {
        let span = name.span();
        column(name.into_inner(), table).map_err(|message| (span, message))
    });
    let columns = columns.collect::<Result<Vec<Column>, Fault>>()?;
    check_names(&columns).map_err(|(at, message)| (spans[at].clone(), message))?;
    Ok(columns)
}

fn column(name: String, table: ColumnTable) -> Result<Column, String> {
    check_column_name(&name)?;
    if table.index && RESERVED_FILTERS.contains(&&*name) {
        return Err(format!(
            "{name}: an indexed column cannot be called so, lists have this parameter"
        ));
    }
    let column_type = Type::ALL.into_iter().find(|of| of.name() == table.column_type);
    let column_type = column_type.ok_or_else(|| {
        let names = Type::ALL.map(Type::name).join(", ");
        format!("{name}: there is no type {:?}; there are: {names}", table.column_type)
    })?;
    let path = match &table.path {
        Some(path) => pointer(path).map_err(|message| format!("{name}: path: {message}"))?,
        None => vec![name.clone()],
    };
    if table.index && column_type == Type::Json {
        return Err(format!("{name}: a json column cannot be indexed"));
    }
    redaction::check_column(column_type, &table).map_err(|message| format!("{name}: {message}"))?;
    let (optional, index, redact) = (table.optional, table.index, table.redact);
    let default = table.default.clone();
    let constraints =
        constraints(column_type, table.rules()).map_err(|message| format!("{name}: {message}"))?;
    let column =
        Column { name, path, column_type, optional, default: None, index, constraints, redact };
    let default = default.map(|value| {
        self::default(&column, &value)
            .map_err(|message| format!("{}: default: {message}", column.name))
    });
    Ok(Column { default: default.transpose()?, ..column })
}

fn default(column: &Column, value: &toml::Value) -> Result<Value, String> {
    if column.optional {
        return Err("the column is optional: a missing value is null".to_owned());
    }
    if column.redact.is_some() {
        return Err("the column is redacted".to_owned());
    }
    let value = constraints::read(column.column_type, value)?;
    let checked = column.check(&value, DateTime::<Utc>::MIN_UTC);
    checked.map_err(|rejection| rejection.message)?;
    Ok(value)
}

/// The names of a JSON Pointer. It leads through objects only.
fn pointer(path: &str) -> Result<Vec<String>, String> {
    let names = path
        .strip_prefix('/')
        .ok_or_else(|| format!("{path:?} is no JSON Pointer to a field: it must begin with /"))?;
    let mut unescaped = Vec::new();
    for name in names.split('/') {
        let mut escapes = name.split('~').skip(1);
        if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
            return Err(format!("{path:?} is no JSON Pointer: ~ must be followed by 0 or 1"));
        }
        unescaped.push(name.replace("~1", "/").replace("~0", "~"));
    }
    Ok(unescaped)
}

/// SQLite does not distinguish upper and lower case in names.
fn check_names(columns: &[Column]) -> Result<(), (usize, String)> {
    let mut known = HashMap::new();
    for (at, column) in columns.iter().enumerate() {
        if let Some(other) = known.insert(column.name.to_ascii_lowercase(), &column.name) {
            return Err((
                at,
                format!("{}: the name differs from {other} only in case", column.name),
            ));
        }
    }
    Ok(())
}

fn constraints(
    of: Type,
    rules: Vec<(&'static str, toml::Value)>,
) -> Result<Vec<Constraint>, String> {
    rules
        .into_iter()
        .map(|(name, value)| {
            Constraint::new(of, name, &value).map_err(|message| format!("{name}: {message}"))
        })
        .collect()
}
