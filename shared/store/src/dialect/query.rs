//! Queries of declarations, as both dialects state them.

use jetline_datasets::{Column, Query, Type};

/// Whether a column of a query is a text in the result, of which not every one is a value of its type.
pub(crate) const fn is_read_as_text(of: Type) -> bool {
    matches!(of, Type::Numeric | Type::Uuid | Type::Json)
}

/// The statement of a query as a relation `q`. It may end with a comment.
pub(crate) fn of_query(query: &Query, placeholder: impl Fn(usize, Type) -> String) -> String {
    format!("(\n{}\n) AS q", query.sql(placeholder))
}

/// A column of a query's relation.
pub(crate) fn name(column: &Column) -> String {
    format!("q.{:?}", column.name)
}
