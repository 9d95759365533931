//! Values in SQLite, which has integers, floats and texts: everything else is a text that keeps all digits.

use jetline_datasets::{Column, Type, Value};
use sea_orm::{DbErr, QueryResult};

use crate::dialect::interface::Scalar;

/// A value as a parameter.
pub(super) fn parameter(value: Value) -> sea_orm::Value {
    match value {
        Value::Null => sea_orm::Value::String(None),
        Value::Text(text) | Value::Json(text) => text.into(),
        Value::Bigint(integer) => integer.into(),
        Value::Double(double) => double.into(),
        Value::Boolean(boolean) => boolean.into(),
        value => value.to_text().into(),
    }
}

/// The SQL expression for a parameter.
pub(super) fn placeholder(number: usize, _: Type) -> String {
    format!("${number}")
}

/// The value of a column of a result.
pub(super) fn read(row: &QueryResult, at: usize, of: Type) -> Result<Value, DbErr> {
    Ok(match of {
        Type::Bigint => row.try_get_by_index::<Option<i64>>(at)?.map(Value::Bigint),
        Type::Double => row.try_get_by_index::<Option<f64>>(at)?.map(Value::Double),
        Type::Boolean => row.try_get_by_index::<Option<bool>>(at)?.map(Value::Boolean),
        Type::Text => row.try_get_by_index::<Option<String>>(at)?.map(Value::Text),
        Type::Json => row.try_get_by_index::<Option<String>>(at)?.map(Value::Json),
        Type::Numeric | Type::Date | Type::Timestamp | Type::Uuid => {
            let text: Option<String> = row.try_get_by_index(at)?;
            let read = text.map(|text| of.read_text(&text));
            read.transpose().map_err(|rejection| DbErr::Type(rejection.message))?
        }
    }
    .unwrap_or(Value::Null))
}

/// The version of a stored row as an SQL expression; texts of timestamps have six digits behind the point.
pub(super) fn version(column: &Column) -> String {
    let name = &column.name;
    match column.column_type {
        Type::Timestamp => format!(
            "(CAST(strftime('%s', {name:?}) AS INTEGER) * 1000000 + CAST(substr({name:?}, 21, 6) AS INTEGER))"
        ),
        _ => format!("{name:?}"),
    }
}

/// The query whose rows are in a parameter with a JSON array for each row.
pub(super) fn unnested(first: usize, types: &[Scalar]) -> String {
    let columns = types.iter().enumerate().map(|(at, of)| match of {
        Scalar::Bytes | Scalar::NullableBytes => format!("unhex(value ->> {at}) AS c{at}"),
        _ => format!("value ->> {at} AS c{at}"),
    });
    let columns: Vec<String> = columns.collect();
    format!("SELECT {} FROM json_each(${first})", columns.join(", "))
}

/// Rows, given by columns, as the parameter of [`unnested`].
pub(super) fn unnestable(columns: Vec<Vec<sea_orm::Value>>) -> sea_orm::Value {
    let mut rows: Vec<Vec<serde_json::Value>> = Vec::new();
    for (at, column) in columns.into_iter().enumerate() {
        rows.resize(rows.len().max(column.len()), Vec::new());
        for (row, value) in rows.iter_mut().zip(column) {
            debug_assert_eq!(row.len(), at);
            row.push(json(value));
        }
    }
    serde_json::Value::from(rows).to_string().into()
}

/// Bytes become hexadecimal digits.
fn json(value: sea_orm::Value) -> serde_json::Value {
    match value {
        sea_orm::Value::BigInt(Some(integer)) => integer.into(),
        sea_orm::Value::String(Some(text)) => text.into(),
        sea_orm::Value::Bytes(Some(bytes)) => {
            let digits = |byte: u8| char::from(b"0123456789abcdef"[usize::from(byte)]);
            let pairs = bytes.iter().flat_map(|byte| [digits(byte >> 4), digits(byte & 15)]);
            pairs.collect::<String>().into()
        }
        _ => serde_json::Value::Null,
    }
}
