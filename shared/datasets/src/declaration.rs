//! Declarations of datasets: TOML files, whose errors name the line.

mod columns;
mod deliver;
mod queries;
mod redaction;
mod shape;

use std::ops::Range;

use toml::Spanned;

use self::shape::{Declaration, DeletedDeclaration, Fault};
use crate::{
    DeclaredFormat, Redaction,
    dataset::{Column, Dataset, Deleted, HISTORY_SUFFIX},
    names::{MAX_NAME_BYTES, check_dataset_name},
    value::{Type, Value},
};

/// Maximum number of columns. A statement of PostgreSQL can select 1,664, and an optional column needs two.
pub const MAX_COLUMNS: usize = 800;

/// What is wrong with a declaration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct DeclarationError {
    /// The file, as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// Parses and checks the declaration of the dataset `name`. `file` is for the error.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Dataset, DeclarationError> {
    let located = |(span, message): Fault| DeclarationError {
        file: file.to_owned(),
        line: text[..span.start.min(text.len())].matches('\n').count() + 1,
        message,
    };
    if text.trim().is_empty() {
        let message = "it is empty: did `jetline infer` fail that was to write it?";
        return Err(located((0..0, message.to_owned())));
    }
    let declaration: Declaration = toml::from_str(text)
        .map_err(|error| located((error.span().unwrap_or_default(), error.message().to_owned())))?;
    dataset(name, declaration).map_err(located)
}

fn dataset(name: &str, declaration: Declaration) -> Result<Dataset, Fault> {
    check_dataset_name(name).map_err(|message| (0..0, message))?;
    let Declaration {
        source,
        key,
        version,
        deleted,
        history,
        format,
        delimiter,
        unknown,
        one_of,
        columns,
        deliver,
        queries,
    } = declaration;
    let source = source.map(self::source).transpose()?;
    let format = declared_format(format.as_ref(), delimiter.as_ref())?;
    if columns.0.len() > MAX_COLUMNS {
        return Err((0..0, format!("more than {MAX_COLUMNS} columns")));
    }
    let spans: Vec<Range<usize>> = columns.0.iter().map(|(name, _)| name.span()).collect();
    let columns = columns::columns(columns)?;
    check_paths(&columns)
        .and_then(|()| redaction::check_unknown(unknown, &columns))
        .map_err(|(at, message)| (spans[at].clone(), message))?;
    let deleted = deleted.map(|deleted| {
        let span = deleted.span();
        self::deleted(deleted.into_inner(), &columns).map_err(|message| (span, message))
    });
    let deleted = deleted.transpose()?;
    let is_dropped = |column: &Column| column.redact == Some(Redaction::Drop);
    let (dropped, columns) = columns.into_iter().partition::<Vec<Column>, _>(is_dropped);
    let find = |wanted: &Spanned<String>, role: &str| {
        let found = place(wanted.get_ref(), &columns, &dropped);
        found.map_err(|message| (wanted.span(), format!("{role}: {message}")))
    };
    let key_at = find(&key, "key")?;
    require(&key, &columns[key_at], "key", &[Type::Bigint, Type::Text, Type::Uuid])?;
    let version = match version {
        Some(version) => {
            let at = find(&version, "version")?;
            require(&version, &columns[at], "version", &[Type::Bigint, Type::Timestamp])?;
            Some(at)
        }
        None => None,
    };
    let has_history = match history {
        Some(history) => self::history(name, &history, version.is_some())?,
        None => false,
    };
    let one_of = match one_of {
        Some(names) => self::one_of(&names, &columns, &dropped)?,
        None => Vec::new(),
    };
    let destinations = deliver::destinations(deliver, &columns, deleted.is_some())?;
    let dataset = Dataset::new(name, columns, dropped, key_at, version, deleted, unknown);
    let queries = queries::queries(queries)?;
    Ok(Dataset { source, format, one_of, has_history, queries, destinations, ..dataset })
}

/// The place of a column in a row. An error says what is allowed.
fn place(name: &str, columns: &[Column], dropped: &[Column]) -> Result<usize, String> {
    if let Some(at) = columns.iter().position(|column| column.name == name) {
        return Ok(at);
    }
    if dropped.iter().any(|column| column.name == name) {
        return Err(format!("the column {name} is not stored: it has redact = \"drop\""));
    }
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    Err(format!("there is no column {name}; there are: {}", names.join(", ")))
}

/// The columns of which every record has exactly one.
fn one_of(
    names: &Spanned<Vec<String>>,
    columns: &[Column],
    dropped: &[Column],
) -> Result<Vec<usize>, Fault> {
    let fault = |message| (names.span(), format!("one_of: {message}"));
    let mut places = Vec::new();
    for name in names.get_ref() {
        let place = place(name, columns, dropped).map_err(fault)?;
        if !columns[place].optional {
            return Err(fault(format!("the column {name} must be optional")));
        }
        if places.contains(&place) {
            return Err(fault(format!("the column {name} is named twice")));
        }
        places.push(place);
    }
    if places.len() < 2 {
        return Err(fault("it needs at least two columns".to_owned()));
    }
    Ok(places)
}

fn history(name: &str, history: &Spanned<bool>, has_version: bool) -> Result<bool, Fault> {
    let fault = |message| Err((history.span(), message));
    if *history.get_ref() && !has_version {
        let message = "history: its rows are the versions of a key: declare `version`";
        return fault(message.to_owned());
    }
    let most = MAX_NAME_BYTES - HISTORY_SUFFIX.len();
    if *history.get_ref() && name.len() > most {
        let message = format!(
            "history: the table would be called {name}{HISTORY_SUFFIX}: the name of the dataset must have at most {most} bytes"
        );
        return fault(message);
    }
    Ok(*history.get_ref())
}

fn source(text: Spanned<String>) -> Result<String, Fault> {
    let span = text.span();
    let text = text.into_inner();
    if text.trim().is_empty() {
        let message = "source: it is empty; leave it out, or write a location as in SOURCE";
        return Err((span, message.to_owned()));
    }
    Ok(text)
}

fn declared_format(
    format: Option<&Spanned<String>>,
    delimiter: Option<&Spanned<String>>,
) -> Result<DeclaredFormat, Fault> {
    let located = |text: &Spanned<String>| {
        let span = text.span();
        move |message| (span, message)
    };
    let declared = match format {
        Some(name) => DeclaredFormat::named(name.get_ref()).map_err(located(name))?,
        None => DeclaredFormat::Auto,
    };
    match delimiter {
        Some(text) => declared.with_delimiter(text.get_ref()).map_err(located(text)),
        None => Ok(declared),
    }
}

fn require(
    name: &Spanned<String>,
    column: &Column,
    role: &str,
    types: &[Type],
) -> Result<(), Fault> {
    let fault = |message| Err((name.span(), message));
    if !types.contains(&column.column_type) {
        let names: Vec<&str> = types.iter().map(|of| of.name()).collect();
        return fault(format!(
            "{role}: the column {} is {}; allowed: {}",
            column.name,
            column.column_type,
            names.join(", ")
        ));
    }
    if column.optional || column.default.is_some() {
        let what = if column.optional { "be optional" } else { "have a default" };
        return fault(format!("{role}: the column {} cannot {what}", column.name));
    }
    if column.redact.is_some() {
        return fault(format!("{role}: the column {} cannot be redacted", column.name));
    }
    Ok(())
}

/// No two columns have the same path, and none has a path inside that of another one.
fn check_paths(columns: &[Column]) -> Result<(), (usize, String)> {
    let mut sorted: Vec<(usize, &Column)> = columns.iter().enumerate().collect();
    sorted.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
    match sorted.windows(2).find(|pair| pair[1].1.path.starts_with(&pair[0].1.path)) {
        Some([(_, first), (at, second)]) => Err((
            *at,
            format!(
                "the columns {} and {} take the same field: their paths are equal, or one is inside the other",
                first.name, second.name
            ),
        )),
        _ => Ok(()),
    }
}

fn deleted(declared: DeletedDeclaration, columns: &[Column]) -> Result<Deleted, String> {
    let DeletedDeclaration { column, equals } = declared;
    if columns.iter().any(|other| other.path == [column.clone()]) {
        return Err(format!(
            "deleted: {column} is a column, and the field that marks deletes is not stored"
        ));
    }
    let equals = match equals {
        toml::Value::String(text) => Value::Text(text),
        toml::Value::Integer(integer) => Value::Bigint(integer),
        toml::Value::Boolean(boolean) => Value::Boolean(boolean),
        _ => return Err("deleted: equals must be a text, an integer or a boolean".to_owned()),
    };
    Ok(Deleted { field: column, equals })
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::*;
    use crate::{ChangeKind, Reason, Row, value::Value};
    use jetline_core::Key;

    const ORDERS: &str = r#"
key = "order_id"
version = "updated_at"
deleted = { column = "op", equals = "D" }

[columns]
order_id = "text"
customer = { type = "bigint", path = "/customer/id", index = true }
total = { type = "numeric", minimum = 0 }
status = { type = "text", enum = ["open", "paid", "sent"] }
email = { type = "text", format = "email", optional = true }
updated_at = "timestamp"
lines = "json"
"#;

    fn orders() -> Dataset {
        parse("orders", "orders.toml", ORDERS).unwrap()
    }

    fn order(from: &str, to: &str) -> Result<Row, Reason> {
        let order = r#"{"order_id":"A1","customer":{"id":7,"name":"Ann"},"total":19.90,"status":"open",
            "updated_at":"2026-11-26T12:00:00Z","lines":[{"sku":1.0}],"gift":true}"#;
        assert!(order.contains(from), "{from}");
        let row = orders().parse_json(order.replace(from, to).as_bytes());
        row.map_err(|rejection| rejection.reason)
    }

    #[test]
    fn missing_and_null_are_the_default() {
        let text = "key = 'id'\ndeleted = { column = 'op', equals = 'D' }\n[columns]\nid = 'bigint'
            most = { type = 'bigint', minimum = 10, default = 500 }\nkind = { type = 'text', default = 'a' }";
        let dataset = parse("wallets", "wallets.toml", text).unwrap();
        let row = |record: &str| dataset.parse_json(record.as_bytes()).unwrap();
        let given = row(r#"{"id":1,"most":500,"kind":"a"}"#);
        for record in [r#"{"id":1}"#, r#"{"id":1,"most":null,"kind":null}"#] {
            assert_eq!(row(record), given, "{record}");
        }
        assert_eq!(row(r#"{"id":1,"most":10,"kind":""}"#).values[1], Value::Bigint(10));
        assert!(row(r#"{"id":1,"op":"D"}"#).values[1].is_null());
        for (column, message) in [
            ("a = { type = 'bigint', default = 'x' }", "a: default: \"x\" is not an integer"),
            (
                "a = { type = 'bigint', minimum = 2, default = 1 }",
                "a: default: a must be at least 2",
            ),
            (
                "a = { type = 'text', optional = true, default = '' }",
                "default: the column is optional",
            ),
            (
                "a = { type = 'text', redact = 'hash', default = '' }",
                "default: the column is redacted",
            ),
        ] {
            let text =
                format!("key = 'id'\nunknown = 'reject'\n[columns]\nid = 'bigint'\n{column}");
            let error = parse("a", "a.toml", &text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let key = "key = 'id'\ncolumns = { id = { type = 'bigint', default = 1 } }";
        let error = parse("a", "a.toml", key).unwrap_err().to_string();
        assert!(error.contains("key: the column id cannot have a default"), "{error}");
    }

    #[test]
    fn format_and_delimiter_can_be_declared() {
        for (keys, format) in [
            ("", DeclaredFormat::Auto),
            ("format = 'auto'", DeclaredFormat::Auto),
            ("format = 'jsonl'", DeclaredFormat::JsonLines),
            ("format = 'json'", DeclaredFormat::Json),
            ("format = 'csv'", DeclaredFormat::Csv(None)),
            ("format = 'csv'\ndelimiter = \"\\t\"", DeclaredFormat::Csv(Some(b'\t'))),
        ] {
            let text = format!("key = 'id'\n{keys}\ncolumns = {{ id = 'text' }}");
            assert_eq!(parse("a", "a.toml", &text).unwrap().format, format, "{keys}");
        }
    }

    #[test]
    fn destinations_are_declared_with_their_defaults() {
        let text = format!(
            "{ORDERS}\n[[deliver]]\nname = 'crm'\nurl = 'https://${{HOST}}/orders?key=${{KEY}}'\n
             [[deliver]]\nname = 'shop'\nurl = 'http://shop.example'\nsecret = '${{SECRET}}'\non = ['deleted', 'inserted']
             delay = {{ column = 'customer', unit = 'min' }}\nconcurrency = 4\nrate = 10"
        );
        let dataset = parse("orders", "orders.toml", &text).unwrap();
        let [crm, shop] = &dataset.destinations[..] else { panic!("{dataset:?}") };
        let value = |name: &str| (name != "KEY").then(|| name.to_lowercase());
        assert_eq!(crm.url.expand(value), Err("KEY"));
        let url = crm.url.expand(|name| Some(name.to_lowercase()));
        assert_eq!(url.as_deref(), Ok("https://host/orders?key=key"));
        assert_eq!(crm.url.to_string(), "https://${HOST}/orders?key=${KEY}");
        assert_eq!((crm.on.len(), crm.concurrency.get(), crm.rate), (3, 16, None));
        assert!(crm.secret.is_none() && crm.delay.is_none());
        assert!(!shop.wants(ChangeKind::Updated) && shop.wants(ChangeKind::Deleted));
        let delay = shop.delay.as_ref().unwrap();
        assert_eq!(delay.of(&Value::Bigint(2)), Ok(Duration::from_mins(2)));
        assert_eq!(delay.of(&Value::Null), Ok(Duration::ZERO));
        assert!(delay.of(&Value::Bigint(-1)).unwrap_err().contains("negative"));
        assert!(delay.of(&Value::Bigint(i64::MAX)).unwrap_err().contains("ten years"));
        assert_eq!(shop.rate.map(NonZeroU32::get), Some(10));
    }

    #[test]
    fn queries_are_declared_with_parameters_and_columns() {
        let text = format!(
            "{ORDERS}\n[queries.late]\nsql = \"\"\"\nSELECT order_id, total FROM orders\n
             WHERE status = :status AND total > :least\"\"\"\n
             columns = {{ order_id = 'text', total = 'numeric' }}\n
             [queries.late.parameters]\nleast = {{ type = 'numeric', minimum = 0 }}\n
             status = {{ type = 'text', optional = true }}"
        );
        let dataset = parse("orders", "orders.toml", &text).unwrap();
        let [late] = &dataset.queries[..] else { panic!("{dataset:?}") };
        let sql = late.sql(|number, of| format!("${number}::{of}"));
        assert!(sql.ends_with("WHERE status = $2::text AND total > $1::numeric"), "{sql}");
        let [least, status] = &late.parameters[..] else { panic!("{late:?}") };
        assert!(status.optional && !least.optional);
        assert!(least.read_text("1.5").is_ok() && least.read_text("-1").is_err());
    }

    #[test]
    fn invalid_query_names_the_line_and_what_is_allowed() {
        let columns = "columns = { a = 'text' }\n";
        for (lines, line, message) in [
            ("[queries.origin]\nsql = 'SELECT 1'\ncolumns = {}", 14, "records have a path"),
            ("[queries.'a b']\nsql = 'SELECT 1'\ncolumns = {}", 14, "a name has letters"),
            ("[queries.a]\nsql = 'SELECT 1'\ncolumns = {}", 14, "a: it has no columns"),
            ("[queries.a]\nsql = 'SELECT 1'", 14, "missing field `columns`"),
            (
                &format!("[queries.a]\n{columns}sql = 'SELECT :b'"),
                16,
                "the parameter :b is not declared",
            ),
            (&format!("[queries.a]\n{columns}sql = ''"), 16, "a: sql: it is empty"),
            (
                &format!("[queries.a]\n{columns}sql = 'SELECT 1'\nlimit = 1"),
                17,
                "unknown field `limit`",
            ),
            (
                "[queries.a]\nsql = 'SELECT 1'\ncolumns = { a = { type = 'text', path = '/b' } }",
                16,
                "a cannot have a path",
            ),
            (
                "[queries.a]\nsql = 'SELECT 1'\ncolumns = { a = 'int' }",
                16,
                "a: columns: a: there is no type \"int\"",
            ),
            (
                &format!("[queries.a]\n{columns}sql = 'SELECT 1'\nparameters = {{ b = 'bigint' }}"),
                16,
                "does not use the parameter b",
            ),
        ] {
            let error = parse("orders", "orders.toml", &format!("{ORDERS}{lines}")).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert_eq!(error.line, line, "{error}");
        }
    }

    #[test]
    fn record_has_exactly_one_of_some_columns() {
        let text = "key = 'id'\none_of = ['user_id', 'team_id']\ndeleted = { column = 'op', equals = 'D' }\n[columns]\nid = 'bigint'\n
            user_id = { type = 'bigint', optional = true }\nteam_id = { type = 'bigint', optional = true }";
        let wallets = parse("wallets", "wallets.toml", text).unwrap();
        let parse = |record: &str| wallets.parse_json(record.as_bytes());
        for valid in [
            r#"{"id":1,"user_id":2}"#,
            r#"{"id":1,"user_id":null,"team_id":2}"#,
            r#"{"id":1,"op":"D"}"#,
        ] {
            assert!(parse(valid).is_ok(), "{valid}");
        }
        for invalid in [r#"{"id":1}"#, r#"{"id":1,"user_id":2,"team_id":3}"#] {
            let rejection = parse(invalid).unwrap_err();
            assert_eq!(rejection.reason, Reason::InvalidValue);
            assert_eq!(rejection.message, "exactly one of user_id, team_id must have a value");
        }
    }

    #[test]
    fn invalid_destination_names_the_line_and_what_is_allowed() {
        let valid = "name = 'crm'\nurl = '${URL}'\n";
        for (lines, line, message) in [
            ("name = 'c m'\nurl = '${URL}'", 15, "a name has letters, digits and _"),
            ("url = '${URL}'", 14, "missing field `name`"),
            ("name = 'crm'\nurl = ''", 16, "it is empty"),
            (&format!("{valid}on = []"), 17, "there are: inserted, updated, deleted"),
            (&format!("{valid}on = ['created']"), 17, "unknown variant `created`"),
            (&format!("{valid}concurrency = 0"), 17, "nonzero"),
            (&format!("{valid}concurrency = 1001"), 17, "the maximum is 1000"),
            (&format!("{valid}delay = {{ column = 'total', unit = 's' }}"), 17, "allowed: bigint"),
            (&format!("{valid}retries = 3"), 17, "unknown field `retries`"),
            (&format!("{valid}[[deliver]]\n{valid}"), 18, "crm is declared twice"),
        ] {
            let text = format!("{ORDERS}[[deliver]]\n{lines}");
            let error = parse("orders", "orders.toml", &text).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert_eq!(error.line, line, "{error}");
        }
    }

    #[test]
    fn record_becomes_a_row() {
        let row = order("", "").unwrap();
        assert_eq!(row.key, Key::Text("A1".to_owned()));
        assert_eq!(row.version, 1_795_694_400_000_000);
        assert_eq!(row.values[1], Value::Bigint(7));
        assert_eq!(row.values[4], Value::Null);
        assert_eq!(row.values[6], Value::Json(r#"[{"sku":1}]"#.to_owned()));
        let extra = r#"{"customer":{"name":"Ann"},"gift":true}"#;
        assert_eq!(row.values[7..], [Value::Json(extra.to_owned()), Value::Boolean(false)]);
    }

    #[test]
    fn row_is_given_back_in_the_shape_of_its_record() {
        let row = order("", "").unwrap();
        let mut json = Vec::new();
        let Value::Json(extra) = &row.values[7] else { panic!("{row:?}") };
        orders().write_json(&row.values, Some(extra), &mut json).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"order_id":"A1","customer":{"id":7,"name":"Ann"},"total":19.9,"status":"open","email":null,"updated_at":"2026-11-26T12:00:00Z","lines":[{"sku":1}],"gift":true}"#
        );
    }

    #[test]
    fn equal_records_have_one_fingerprint_and_others_have_another() {
        let row = order("", "").unwrap();
        for (from, to) in
            [("19.90", "1.99e1"), ("1.0", "1"), (r#""gift":true"#, r#""gift" : true"#)]
        {
            assert_eq!(order(from, to).unwrap().fingerprint, row.fingerprint, "{to}");
        }
        for (from, to) in [
            ("19.90", "19.91"),
            ("Ann", "Bea"),
            ("true", "false"),
            (r#""gift":true"#, r#""gift":1"#),
        ] {
            assert_ne!(order(from, to).unwrap().fingerprint, row.fingerprint, "{to}");
        }
    }

    #[test]
    fn delete_needs_only_key_and_version() {
        let text = r#"{"op":"D","order_id":"A1","updated_at":"2026-11-26T12:00:00Z","total":"?"}"#;
        let row = orders().parse_json(text.as_bytes()).unwrap();
        assert_eq!(row.values.iter().filter(|value| !value.is_null()).count(), 3);
        assert_eq!(row.values[7..], [Value::Null, Value::Boolean(true)]);
        let update = order(r#""gift":true"#, r#""op":"U""#).unwrap();
        let extra = r#"{"customer":{"name":"Ann"}}"#;
        assert_eq!(update.values[7..], [Value::Json(extra.to_owned()), Value::Boolean(false)]);
    }

    #[test]
    fn invalid_record_has_a_reason() {
        for (from, to, reason) in [
            (r#""order_id":"A1","#, "", Reason::MissingField),
            (r#""A1""#, "null", Reason::WrongType),
            (r#""A1""#, "1", Reason::WrongType),
            (r#""A1""#, &format!("\"{}\"", "x".repeat(2048)), Reason::OutOfRange),
            ("\"A1\"", &format!("\"{}\"", "é".repeat(513)), Reason::OutOfRange),
            ("19.90", "-0.01", Reason::OutOfRange),
            ("19.90", "NaN", Reason::InvalidJson),
            ("\"open\"", "\"lost\"", Reason::InvalidValue),
            (r#"{"id":7,"name":"Ann"}"#, "7", Reason::WrongType),
            (r#""gift":true"#, r#""gift":true,"gift":true"#, Reason::DuplicateField),
            (r#""gift":true"#, r#""total":1"#, Reason::DuplicateField),
            (r#""gift":true"#, r#""gift":"\u0000""#, Reason::NulCharacter),
            (r#""gift":true"#, r#""email":"ann""#, Reason::InvalidValue),
            ("}]", "}", Reason::InvalidJson),
        ] {
            assert_eq!(order(from, to).map(|_| ()), Err(reason), "{to:.60}");
        }
    }

    #[test]
    fn invalid_declaration_names_the_line_and_what_is_allowed() {
        for (from, to, line, message) in [
            (
                "\"numeric\"",
                "\"decimal\"",
                9,
                "total: there is no type \"decimal\"; there are: text, bigint",
            ),
            (
                "key = \"order_id\"",
                "key = \"id\"",
                2,
                "key: there is no column id; there are: order_id, customer",
            ),
            (
                "key = \"order_id\"",
                "key = \"email\"",
                2,
                "key: the column email cannot be optional",
            ),
            (
                "key = \"order_id\"",
                "key = \"total\"",
                2,
                "key: the column total is numeric; allowed: bigint, text, uuid",
            ),
            ("version = \"updated_at\"", "version = \"total\"", 3, "allowed: bigint, timestamp"),
            ("index = true", "indexed = true", 8, "unknown field `indexed`"),
            ("lines = \"json\"", "total = \"json\"", 13, "duplicate key"),
            (
                "format = \"email\"",
                "pattern = \"(\"",
                11,
                "email: pattern: \"(\" is no regular expression",
            ),
            (
                "minimum = 0",
                "minLength = 1",
                9,
                "total: minLength: a numeric column has no such constraint",
            ),
            ("/customer/id", "/order_id", 8, "take the same field"),
            ("lines =", "jetline_lines =", 13, "names that begin with jetline_ are Jetline's"),
            ("lines =", "xmin =", 13, "PostgreSQL has a column of this name"),
            ("lines =", "Total =", 13, "Total: the name differs from total only in case"),
            ("/customer/id", "/~~10", 8, "~ must be followed by 0 or 1"),
            ("\"op\"", "\"total\"", 4, "the field that marks deletes is not stored"),
            (
                "[columns]",
                "one_of = [\"email\"]\n[columns]",
                6,
                "one_of: it needs at least two columns",
            ),
            (
                "[columns]",
                "one_of = [\"email\", \"total\"]\n[columns]",
                6,
                "the column total must be optional",
            ),
            (
                "[columns]",
                "one_of = [\"email\", \"phone\"]\n[columns]",
                6,
                "there is no column phone",
            ),
            ("version = \"updated_at\"", "history = true", 3, "history: its rows are the versions"),
            ("[columns]", "format = \"xml\"\n[columns]", 6, "there are: auto, jsonl, json, csv"),
            ("[columns]", "delimiter = \";\"\n[columns]", 6, "only CSV has one"),
            (
                "[columns]",
                "format = \"csv\"\ndelimiter = \"x\"\n[columns]",
                7,
                "allowed: \",\", \";\"",
            ),
        ] {
            let text = ORDERS.replace(from, to);
            let error = parse("orders", "orders.toml", &text).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert_eq!((error.line, &*error.file), (line, "orders.toml"), "{error}");
        }
    }
}
