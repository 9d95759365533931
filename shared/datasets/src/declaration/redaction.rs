//! Which columns can be redacted: `redact`.

use super::shape::ColumnTable;
use crate::{
    Redaction,
    dataset::{Column, UnknownFieldPolicy},
    value::Type,
};

/// Checks `redact` of a column.
pub(super) fn check_column(of: Type, table: &ColumnTable) -> Result<(), String> {
    let Some(redaction) = table.redact else {
        return Ok(());
    };
    if of != Type::Text {
        return Err(format!("redact: the column is {of}; allowed: text"));
    }
    if table.one_of.is_some() {
        return Err("redact: a column with `enum` cannot be redacted".to_owned());
    }
    if table.index && redaction != Redaction::Hash {
        return Err("index: of redacted columns, allowed with redact = \"hash\" only".to_owned());
    }
    Ok(())
}

/// Checks that no field is kept that could be a misspelt one of a redacted column. An error has the index of the column.
pub(super) fn check_unknown(
    unknown: UnknownFieldPolicy,
    columns: &[Column],
) -> Result<(), (usize, String)> {
    match columns.iter().position(|column| column.redact.is_some()) {
        Some(at) if unknown == UnknownFieldPolicy::Keep => {
            let message = "redact: unknown = \"keep\", the default, would store a misspelt field in clear: declare unknown = \"reject\" or \"ignore\"";
            Err((at, format!("{}: {message}", columns[at].name)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    const CARDS: &str = r#"key = "id"
unknown = "reject"
[columns]
id = "text"
number = { type = "text", redact = "last4", optional = true }
iban = { type = "text", redact = "hash", index = true, optional = true }
cvv = { type = "text", redact = "drop", optional = true }
amount = { type = "bigint", optional = true }
"#;

    #[test]
    fn dropped_column_is_none_of_the_table() {
        let cards = parse("cards", "cards.toml", CARDS).unwrap();
        let names: Vec<&str> = cards.stored().map(|column| &*column.name).collect();
        assert_eq!(names, ["id", "number", "iban", "amount"]);
        assert_eq!(cards.dropped[0].name, "cvv");
        assert!(parse("cards", "cards.toml", &CARDS.replace("reject", "ignore")).is_ok());
    }

    #[test]
    fn invalid_redaction_names_the_line_and_what_is_allowed() {
        for (from, to, line, message) in [
            ("unknown = \"reject\"", "", 5, "number: redact: unknown = \"keep\", the default"),
            ("\"reject\"", "\"keep\"", 5, "declare unknown = \"reject\" or \"ignore\""),
            ("\"last4\"", "\"last5\"", 5, "expected one of `last4`, `hash`, `drop`"),
            (
                "\"bigint\"",
                "\"bigint\", redact = \"hash\"",
                8,
                "amount: redact: the column is bigint",
            ),
            ("\"last4\"", "\"last4\", enum = [\"a\"]", 5, "a column with `enum` cannot"),
            ("\"last4\"", "\"last4\", index = true", 5, "allowed with redact = \"hash\" only"),
            ("\"drop\"", "\"drop\", index = true", 7, "allowed with redact = \"hash\" only"),
            (
                "id = \"text\"",
                "id = { type = \"text\", redact = \"hash\" }",
                1,
                "key: the column id cannot be redacted",
            ),
            ("key = \"id\"", "key = \"cvv\"", 1, "key: the column cvv is not stored"),
            ("[columns]", "version = \"iban\"\n[columns]", 3, "version: the column iban is text"),
            (
                "[columns]",
                "one_of = [\"iban\", \"cvv\"]\n[columns]",
                3,
                "one_of: the column cvv is not stored",
            ),
            (
                "[columns]",
                "deleted = { column = \"cvv\", equals = \"D\" }\n[columns]",
                3,
                "cvv is a column",
            ),
            ("\"bigint\"", "\"bigint\", path = \"/cvv/amount\"", 8, "take the same field"),
        ] {
            let text = CARDS.replacen(from, to, 1);
            let error = parse("cards", "cards.toml", &text).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert_eq!(error.line, line, "{error}");
        }
        let delay =
            "[[deliver]]\nname = 'crm'\nurl = '${URL}'\ndelay = { column = 'cvv', unit = 's' }";
        let error = parse("cards", "cards.toml", &format!("{CARDS}{delay}")).unwrap_err();
        assert!(error.message.contains("there is no column cvv"), "{error}");
        let query =
            "[queries.q]\nsql = 'SELECT 1'\ncolumns = { a = { type = 'text', redact = 'hash' } }";
        let error = parse("cards", "cards.toml", &format!("{CARDS}{query}")).unwrap_err();
        assert!(error.message.contains("a cannot have a path, an index or a redaction"), "{error}");
    }
}
