//! Values in PostgreSQL. UUIDs and JSON travel as texts.

use chrono::{DateTime, NaiveDate, Utc};
use jetline_datasets::{Column, Dataset, Type, Value};
use rust_decimal::Decimal;
use sea_orm::{DbErr, QueryResult, sea_query::ArrayType};

use crate::dialect::interface::Scalar;

/// The SQL type of a column.
pub(super) const fn sql_type(of: Type) -> &'static str {
    match of {
        Type::Text => "text",
        Type::Bigint => "bigint",
        Type::Numeric => "numeric",
        Type::Double => "double precision",
        Type::Boolean => "boolean",
        Type::Date => "date",
        Type::Timestamp => "timestamptz",
        Type::Uuid => "uuid",
        Type::Json => "jsonb",
    }
}

const fn travels_as_text(of: Type) -> bool {
    matches!(of, Type::Uuid | Type::Json)
}

/// The value of a column as an SQL expression.
pub(super) fn select(column: &Column) -> String {
    let name = &column.name;
    if travels_as_text(column.column_type) {
        format!("CAST({name:?} AS text)")
    } else {
        format!("{name:?}")
    }
}

/// The type of parameters for values of a column. It is always in the text of a statement, as connections cache statements
/// by their texts: a column of this name can have another type in another dataset, or after a drop.
const fn parameter_type(of: Type) -> &'static str {
    if travels_as_text(of) { "text" } else { sql_type(of) }
}

/// A parameter as a value of this type.
pub(super) fn placeholder(number: usize, of: Type) -> String {
    format!("${number}::{}::{}", parameter_type(of), sql_type(of))
}

/// The elements of a parameter as values of this type.
pub(super) fn unnest(number: usize, of: Type) -> String {
    format!("unnest(${number}::{}[])::{}", parameter_type(of), sql_type(of))
}

/// The keys that are the first parameter.
pub(super) fn keys(dataset: &Dataset) -> String {
    let of = dataset.key().column_type;
    format!("$1::{}[]::{}[]", parameter_type(of), sql_type(of))
}

/// Values of a column as an array, and which of them are null: an array value of sea-orm cannot hold NULL.
pub(super) fn array(of: Type, values: Vec<Value>) -> (sea_orm::Value, Vec<bool>) {
    let is_null = values.iter().map(Value::is_null).collect();
    let element = match of {
        Type::Text | Type::Uuid | Type::Json => ArrayType::String,
        Type::Bigint => ArrayType::BigInt,
        Type::Numeric => ArrayType::Decimal,
        Type::Double => ArrayType::Double,
        Type::Boolean => ArrayType::Bool,
        Type::Date => ArrayType::ChronoDate,
        Type::Timestamp => ArrayType::ChronoDateTimeUtc,
    };
    let values = values.into_iter().map(|value| parameter(of, value)).collect();
    (sea_orm::Value::Array(element, Some(Box::new(values))), is_null)
}

/// A value as a parameter; any value where there is none.
pub(super) fn parameter(of: Type, value: Value) -> sea_orm::Value {
    match (value, of) {
        (Value::Text(text) | Value::Json(text), _) => text.into(),
        (Value::Bigint(integer), _) => integer.into(),
        (Value::Numeric(decimal), _) => decimal.into(),
        (Value::Double(double), _) => double.into(),
        (Value::Boolean(boolean), _) => boolean.into(),
        (Value::Date(date), _) => date.into(),
        (Value::Timestamp(time), _) => time.into(),
        (value @ Value::Uuid(_), _) => value.to_text().into(),
        (Value::Null, Type::Text) => "".into(),
        (Value::Null, Type::Bigint) => 0_i64.into(),
        (Value::Null, Type::Numeric) => Decimal::ZERO.into(),
        (Value::Null, Type::Double) => 0_f64.into(),
        (Value::Null, Type::Boolean) => false.into(),
        (Value::Null, Type::Date) => NaiveDate::default().into(),
        (Value::Null, Type::Timestamp) => DateTime::<Utc>::default().into(),
        (Value::Null, Type::Uuid) => "00000000-0000-0000-0000-000000000000".into(),
        (Value::Null, Type::Json) => "null".into(),
    }
}

/// NULL as a parameter.
pub(super) const fn null(of: Type) -> sea_orm::Value {
    use sea_orm::Value;
    match of {
        Type::Text | Type::Uuid | Type::Json => Value::String(None),
        Type::Bigint => Value::BigInt(None),
        Type::Numeric => Value::Decimal(None),
        Type::Double => Value::Double(None),
        Type::Boolean => Value::Bool(None),
        Type::Date => Value::ChronoDate(None),
        Type::Timestamp => Value::ChronoDateTimeUtc(None),
    }
}

/// The value of a column of a result.
pub(super) fn read(row: &QueryResult, at: usize, of: Type) -> Result<Value, DbErr> {
    Ok(match of {
        Type::Text => row.try_get_by_index::<Option<String>>(at)?.map(Value::Text),
        Type::Bigint => row.try_get_by_index::<Option<i64>>(at)?.map(Value::Bigint),
        Type::Numeric => {
            let decimal: Option<Decimal> = row.try_get_by_index(at)?;
            decimal.map(|decimal| Value::Numeric(decimal.normalize()))
        }
        Type::Double => row.try_get_by_index::<Option<f64>>(at)?.map(Value::Double),
        Type::Boolean => row.try_get_by_index::<Option<bool>>(at)?.map(Value::Boolean),
        Type::Date => row.try_get_by_index::<Option<NaiveDate>>(at)?.map(Value::Date),
        Type::Timestamp => row.try_get_by_index::<Option<DateTime<Utc>>>(at)?.map(Value::Timestamp),
        // The server has a spelling of JSON of its own.
        Type::Uuid | Type::Json => {
            let text: Option<String> = row.try_get_by_index(at)?;
            let read = text.map(|text| of.read_text(&text));
            read.transpose().map_err(|rejection| DbErr::Type(rejection.message))?
        }
    }
    .unwrap_or(Value::Null))
}

/// The version of a stored row as an SQL expression.
pub(super) fn version(column: &Column) -> String {
    let name = &column.name;
    match column.column_type {
        Type::Timestamp => format!("(extract(epoch FROM {name:?}) * 1000000)::bigint"),
        _ => format!("{name:?}"),
    }
}

/// Stands for NULL in arrays, which cannot hold it: no time and no number of the ledger is as low.
const NO_INTEGER: i64 = i64::MIN;

/// The query whose rows are in parameters with one array for each column.
pub(super) fn unnested(first: usize, types: &[Scalar]) -> String {
    let names = types.iter().enumerate().map(|(at, of)| match of {
        Scalar::NullableInteger => format!("NULLIF(c{at}, '{NO_INTEGER}'::bigint) AS c{at}"),
        Scalar::NullableText => format!("NULLIF(c{at}, '') AS c{at}"),
        Scalar::NullableBytes => format!("NULLIF(c{at}, ''::bytea) AS c{at}"),
        _ => format!("c{at}"),
    });
    let arrays = types.iter().enumerate().map(|(at, of)| {
        let of = match of {
            Scalar::Integer | Scalar::NullableInteger => "bigint",
            Scalar::Text | Scalar::NullableText => "text",
            Scalar::Bytes | Scalar::NullableBytes => "bytea",
        };
        format!("unnest(${}::{of}[]) AS c{at}", first + at)
    });
    let (names, arrays): (Vec<String>, Vec<String>) = (names.collect(), arrays.collect());
    format!("SELECT {} FROM (SELECT {}) a", names.join(", "), arrays.join(", "))
}

/// The values of a column as a parameter of [`unnested`].
pub(super) fn unnestable(column: Vec<sea_orm::Value>) -> sea_orm::Value {
    use sea_orm::Value;
    let element = column.first().map_or(ArrayType::Bool, Value::array_type);
    let values = column.into_iter().map(|value| match value {
        Value::BigInt(None) => NO_INTEGER.into(),
        Value::String(None) => "".into(),
        Value::Bytes(None) => Vec::<u8>::new().into(),
        value => value,
    });
    Value::Array(element, Some(Box::new(values.collect())))
}
