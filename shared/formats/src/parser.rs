//! From the bytes of a record to a row.

use jetline_datasets::{Dataset, Header, Origin, Reason, Rejection, Row, UnknownFields};

use crate::{
    Format,
    csv::{self, Fields},
};

/// Parses the records of one object.
pub struct Parser<'d> {
    dataset: &'d Dataset,
    csv: Option<Result<(Fields, Header), Rejection>>,
    unknown: UnknownFields,
}

impl<'d> Parser<'d> {
    /// `header` is that of CSV, as [`detect`](crate::detect) found it.
    #[must_use]
    pub fn new(format: Format, header: &[u8], dataset: &'d Dataset) -> Self {
        let csv = match format {
            Format::Csv(delimiter) => {
                let names = csv::names(delimiter, header);
                let fields = Fields::new(delimiter.byte());
                let csv = names.map(|names| (fields, dataset.header(names)));
                Some(csv.map_err(|message| Rejection::new(Reason::InvalidCsv, message)))
            }
            _ => None,
        };
        Self { dataset, csv, unknown: UnknownFields::default() }
    }

    /// Parses the text of a record. Every row can be stored.
    pub fn parse(&mut self, text: &[u8], origin: Origin) -> Result<Row, Rejection> {
        let unknown = &mut self.unknown;
        match &mut self.csv {
            None => self.dataset.parse_json_counting(text, origin, unknown),
            Some(Err(rejection)) => Err(rejection.clone()),
            Some(Ok((fields, header))) => {
                fields.read_all(text, header.len())?;
                self.dataset.parse_fields(header, fields.iter(), origin, unknown)
            }
        }
    }

    /// The fields of the records that no column takes.
    #[must_use]
    pub fn into_unknown_fields(self) -> UnknownFields {
        self.unknown
    }
}

#[cfg(test)]
mod tests {
    use jetline_datasets::{Value, parse};

    use super::*;
    use crate::Delimiter;

    const CUSTOMERS: &str = r#"
key = "id"
deleted = { column = "op", equals = "D" }

[columns]
id = "bigint"
name = "text"
born = { type = "date", optional = true }
note = { type = "text", optional = true }
tags = { type = "json", optional = true }
city = { type = "text", optional = true, path = "/address/city" }
"#;

    fn row(header: &str, record: &str) -> Result<Row, Rejection> {
        let dataset = parse("customers", "customers.toml", CUSTOMERS).unwrap();
        let format = Format::Csv(Delimiter::Semicolon);
        Parser::new(format, header.as_bytes(), &dataset).parse(record.as_bytes(), Origin::default())
    }

    #[test]
    fn texts_are_read_as_the_types_of_their_columns() {
        let row = row("note;id;born;name;tags;a b", ";7;1969-12-31;\"Ann;\"\"\";[1.0];").unwrap();
        assert_eq!(row.values[0], Value::Bigint(7));
        assert_eq!(row.values[1], Value::Text("Ann;\"".to_owned()));
        assert_eq!(row.values[2].to_text(), "1969-12-31");
        assert_eq!(
            row.values[3..],
            [
                Value::Null,
                Value::Json("[1]".to_owned()),
                Value::Null,
                Value::Json(r#"{"a b":""}"#.to_owned()),
                Value::Boolean(false),
            ]
        );
    }

    #[test]
    fn empty_text_is_no_value_only_in_an_optional_column() {
        assert_eq!(row("id;name", "7;").unwrap().values[1], Value::Text(String::new()));
        let rejection = row("id;name", ";x").unwrap_err();
        assert_eq!(rejection.to_string(), "wrong_type: id: \"\" is not an integer");
    }

    #[test]
    fn record_that_marks_a_delete_needs_only_the_key() {
        let row = row("op;id;name", "D;7;").unwrap();
        assert_eq!(row.values.iter().filter(|value| !value.is_null()).count(), 2);
        assert_eq!(row.values[7], Value::Boolean(true));
    }

    #[test]
    fn invalid_record_of_csv_has_a_reason() {
        for (header, record, reason) in [
            ("id;name", "7", "invalid_csv: 1 fields, and the header has 2"),
            ("id;name", "7;x;y", "invalid_csv: 3 fields, and the header has 2"),
            ("id;name", "7;\"x", "invalid_csv: the record does not end within its limits"),
            ("id;name", "7;\"x\"y", "invalid_csv: a quote is out of place"),
            ("id;name", "7;x\"y\"", "invalid_csv: a quote is out of place"),
            ("id;name", "7;\"x\"\ry", "invalid_csv: a quote is out of place"),
            ("id;id", "7;8", "invalid_csv: columns 1 and 2 have the same name"),
            ("id", "7", "missing_field: the column name is missing"),
            ("id;name", "007;x", "wrong_type: id: \"007\" is not an integer"),
            ("id;name;address", "7;x;Rome", "wrong_type: address: a text is not an object"),
            ("id;name;x", "7;x;\0", "nul_character"),
        ] {
            let rejection = row(header, record).unwrap_err().to_string();
            assert!(rejection.starts_with(reason), "{rejection}");
        }
        let dataset = parse("customers", "customers.toml", CUSTOMERS).unwrap();
        let mut parser = Parser::new(Format::Csv(Delimiter::Comma), b"id,name", &dataset);
        assert_eq!(
            parser.parse(b"7,\xff", Origin::default()).unwrap_err().reason,
            Reason::InvalidUtf8
        );
        assert!(parser.parse(b"7,x", Origin::default()).is_ok());
    }

    #[test]
    fn rejection_of_csv_does_not_show_a_redacted_value() {
        let cards = r#"
key = "id"
unknown = "reject"

[columns]
id = "bigint"
number = { type = "text", format = "luhn", redact = "hash" }
"#;
        let cards = parse("cards", "cards.toml", cards).unwrap();
        for (header, record, reason) in [
            ("id;number", "7;\"4929130218797004", "invalid_csv: the record does not end"),
            ("id;number", "7;49291\"30218797004\"", "invalid_csv: a quote is out of place"),
            ("id;number", "7;\"4929130218797004\"x", "invalid_csv: a quote is out of place"),
            ("id;number", "7;4929130218797004;4929", "invalid_csv: 3 fields"),
            (
                "id;number",
                "4929130218797004.5;7",
                "wrong_type: id: the value is not a valid bigint",
            ),
            ("id;number", "7;4929130218797005", "invalid_value: number must be digits"),
            ("7;4929130218797004", "8;0", "unknown_field: no column takes the field …"),
            ("4929130218797004;4929130218797004", "8;0", "invalid_csv: columns 1 and 2"),
        ] {
            let mut parser =
                Parser::new(Format::Csv(Delimiter::Semicolon), header.as_bytes(), &cards);
            let rejection = parser.parse(record.as_bytes(), Origin::default()).unwrap_err();
            let rejection = rejection.to_string();
            assert!(rejection.starts_with(reason) && !rejection.contains("4929"), "{rejection}");
        }
    }
}
