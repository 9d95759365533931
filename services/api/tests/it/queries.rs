//! Queries of declarations.

use std::{fmt::Write as _, time::Duration};

use jetline_store::DeclarationFile;
use serde_json::{Value, json};

use crate::fixtures::{TestApi, settings};

const TABLE: &str = r#"
key = "id"

[columns]
id = "text"
kind = "text"
tokens = "bigint"
price = "numeric"
at = "timestamp"
"#;

/// The declaration with a query `q`.
fn with_query(sql: &str, rest: &str) -> String {
    format!("{TABLE}\n[queries.q]\nsql = '''{sql}'''\n{rest}\n")
}

fn account(id: &str, kind: &str, tokens: i64) -> String {
    format!(
        r#"{{"id":"{id}","kind":"{kind}","tokens":{tokens},"price":{tokens}.10,"at":"2026-01-01T00:00:00.{tokens:06}Z"}}"#
    )
}

async fn with_accounts(base: &TestApi, sql: &str, rest: &str) {
    base.declare("accounts", &with_query(sql, rest)).await;
    let accounts =
        [account("a", "x", 5), account("b", "x", 7), account("c", "y", 1), account("d'", "y", 3)];
    base.load("accounts", &accounts).await;
}

async fn refusal(base: &TestApi, text: &str) -> String {
    let file = DeclarationFile::new("accounts", "accounts.toml", text).unwrap();
    let refused = base.database().declare(&[file]).await.unwrap_err();
    let mut text = refused.to_string();
    let mut source = std::error::Error::source(&refused);
    while let Some(error) = source {
        write!(text, ": {error}").unwrap();
        source = error.source();
    }
    text
}

#[tokio::test]
async fn query_is_run_with_its_parameters_and_typed_the_same_in_both_databases() {
    let sql = "SELECT kind, max(tokens) AS most, max(price) AS price, max(at) AS last, count(*) AS accounts,
            CAST(sum(tokens) AS numeric) AS total, max(tokens) > 5 AS is_rich
        FROM accounts WHERE (:below IS NULL OR tokens < :below) AND kind <> :not -- :comment
        GROUP BY kind ORDER BY kind DESC -- the last line";
    let rest = "columns = { kind = 'text', most = 'bigint', price = 'numeric', last = 'timestamp', accounts = 'bigint',
        total = 'numeric', is_rich = 'boolean' }
        parameters = { below = { type = 'bigint', optional = true, maximum = 100 }, not = 'text' }";
    for base in TestApi::both().await {
        with_accounts(
            &base,
            &sql.replace(
                "max(price)",
                if base.is_postgres() { "max(price)" } else { "max(CAST(price AS REAL))" },
            ),
            rest,
        )
        .await;
        let answer = base.get("/accounts/queries/q?not=z").await.json();
        let row = |kind: &str, most: i32, total: i64, is_rich: bool| {
            json!({ "kind": kind, "most": most, "price": f64::from(most) + 0.1, "accounts": 2, "total": total, "is_rich": is_rich,
                "last": format!("2026-01-01T00:00:00.{most:06}Z") })
        };
        let expected =
            json!({ "rows": [row("y", 3, 4, false), row("x", 7, 12, true)], "has_more": false });
        assert_eq!(answer, expected);
        let below = base.get("/accounts/queries/q?not=y&below=6").await.json();
        assert_eq!(below["rows"][0]["most"], 5);
        assert_eq!(below["rows"][0]["accounts"], 1);
        // A value is never a part of the statement.
        let quoted = base.get("/accounts/queries/q?not=x'%20OR%20'1'%3D'1").await.json();
        assert_eq!(quoted["rows"].as_array().unwrap().len(), 2);
        for (path, detail) in [
            ("?below=6", "parameter `not` is missing"),
            ("?not=x&below=six", "parameter `below` is invalid"),
            ("?not=x&below=101", "parameter `below` is invalid"),
            ("?not=x&limit=1", "parameter `limit` is not known; there are: below, not"),
            ("?not=x&not=y", "parameter `not` is given more than once"),
            ("?not=%00", "parameter `not` is invalid"),
        ] {
            let problem = base.get(&format!("/accounts/queries/q{path}")).await.problem(400);
            assert!(problem.starts_with(detail), "{problem}");
        }
        let problem = base.get("/accounts/queries/none").await.problem(404);
        assert_eq!(problem, "accounts has no query none; there are: q");
        base.get("/nothing/queries/q").await.problem(404);
    }
}

#[tokio::test]
async fn query_returns_a_limited_number_of_rows_and_bytes_in_their_order() {
    let sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :rows)
        SELECT n, replace(CAST(:wide AS text), '0', 'xxxxxxxxxxxxxxxx') AS text FROM n ORDER BY -n";
    let rest = "columns = { n = 'bigint', text = 'text' }\nparameters = { rows = 'bigint', wide = 'text' }";
    for base in TestApi::both().await {
        with_accounts(&base, sql, rest).await;
        let seen = async |rows: i64, wide: usize| {
            let path = format!("/accounts/queries/q?rows={rows}&wide={}", "0".repeat(wide));
            let answer = base.get(&path).await.json();
            let numbers: Vec<i64> = answer["rows"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["n"].as_i64().unwrap())
                .collect();
            let expected: Vec<i64> = (0..).map(|at| rows - at).take(numbers.len()).collect();
            assert_eq!(numbers, expected);
            (numbers.len(), answer["has_more"].as_bool().unwrap())
        };
        assert_eq!(seen(1_000, 1).await, (1_000, false));
        assert_eq!(seen(1_001, 1).await, (1_000, true));
        let (rows, has_more) = seen(400, 256).await;
        assert!(has_more && (200..260).contains(&rows), "{rows}");
    }
}

#[tokio::test]
async fn query_that_takes_too_long_ends_and_blocks_nobody() {
    let mut slow = settings();
    slow.request_timeout = Duration::from_secs(10);
    let sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)
        SELECT count(*) AS n FROM n";
    for base in TestApi::both_with(&slow).await {
        with_accounts(&base, sql, "columns = { n = 'bigint' }").await;
        let problem = base.get("/accounts/queries/q").await.problem(408);
        assert_eq!(problem, "the query took longer than 4.5s");
        assert_eq!(base.get("/accounts/a").await.status, 200);
    }
}

#[tokio::test]
async fn query_that_the_database_refuses_is_no_declaration() {
    let columns = "columns = { a = 'bigint' }";
    for base in TestApi::both().await {
        for (sql, rest, message) in [
            ("SELECT 1 AS a FROM nowhere", columns, "nowhere"),
            ("SELECT 1 AS b", columns, "q.a"),
            ("DELETE FROM accounts", columns, "query q: "),
            (
                "WITH d AS (DELETE FROM products RETURNING id) SELECT id AS a FROM d",
                columns,
                "query q: ",
            ),
            (
                "SELECT 1 AS a LIMIT :n",
                "columns = { a = 'bigint' }\nparameters = { n = 'bigint' }",
                "",
            ),
        ] {
            if message.is_empty() {
                base.declare("accounts", &with_query(sql, rest)).await;
                continue;
            }
            let refused = refusal(&base, &with_query(sql, rest)).await;
            assert!(
                refused.contains("the declaration of the dataset accounts is refused: query q: "),
                "{refused}"
            );
            assert!(refused.contains(message), "{sql}: {refused}");
        }
    }
}

#[tokio::test]
async fn query_reads_datasets_only_and_has_the_types_that_are_declared() {
    let base = TestApi::postgres().await;
    let columns = "columns = { a = 'bigint' }";
    for (sql, message) in [
        ("SELECT id AS a FROM objects", "permission denied for table objects"),
        (
            "SELECT 1.5 AS a",
            "the column a is of the type numeric, and is declared as bigint: cast it to bigint",
        ),
        ("SELECT sum(1::bigint) AS a", "the column a is of the type numeric"),
    ] {
        let refused = refusal(&base, &with_query(sql, columns)).await;
        assert!(refused.contains(message), "{sql}: {refused}");
    }
    // A function hides what it reads.
    base.declare("accounts", TABLE).await;
    base.execute(
        "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM objects'",
        [],
    )
    .await;
    base.execute("CREATE FUNCTION poke() RETURNS bigint LANGUAGE sql AS 'DELETE FROM accounts RETURNING 1::bigint'", []).await;
    base.execute(
        "CREATE FUNCTION who() RETURNS text LANGUAGE sql AS 'SELECT current_user::text'",
        [],
    )
    .await;
    base.execute("GRANT DELETE ON accounts TO PUBLIC", []).await;
    let queries = [("peek", "peek()"), ("poke", "poke()"), ("who", "length(who())")]
        .map(|(name, sql)| format!("[queries.{name}]\nsql = 'SELECT {sql} AS a'\n{columns}\n"));
    base.declare("accounts", &format!("{TABLE}\n{}", queries.concat())).await;
    base.get("/accounts/queries/peek").await.problem(500);
    base.get("/accounts/queries/poke").await.problem(500);
    let who = base.get("/accounts/queries/who").await.json();
    assert_eq!(who["rows"], json!([{ "a": "jetline_queries".len() }]));
}

#[tokio::test]
async fn query_without_an_answer_says_why() {
    let rest = "columns = { text = 'text', json = 'json', n = 'bigint' }
        parameters = { n = 'bigint', text = 'text' }";
    let of_postgres = "SELECT repeat('x', CAST(:n AS integer)) AS text, CAST(:text AS jsonb) AS json, 10 / :n AS n";
    let of_sqlite =
        "SELECT replace(hex(zeroblob(:n)), '00', 'x') AS text, :text AS json, 10 / :n AS n";
    for base in TestApi::both().await {
        with_accounts(&base, if base.is_postgres() { of_postgres } else { of_sqlite }, rest).await;
        let get = async |n: &str, text: &str| {
            base.get(&format!("/accounts/queries/q?n={n}&text={text}")).await
        };
        let answer = get("3", "%7B%22b%22:1.0,%22a%22:%22%C3%A9%22%7D").await.json();
        let expected = json!({ "text": "xxx", "json": { "a": "é", "b": 1 }, "n": 3 });
        assert_eq!(answer["rows"][0], expected);
        let too_large = get("1100000", "1").await.problem(400);
        assert!(too_large.contains("a row has more than 1048576 bytes"), "{too_large}");
        let no_json = get("1", "north").await.problem(400);
        let reason = "invalid input syntax for type json";
        assert!(no_json.contains(if base.is_postgres() { reason } else { "the column json" }));
        if base.is_postgres() {
            let by_zero = get("0", "1").await.problem(400);
            assert!(by_zero.ends_with("SQLSTATE 22012: division by zero"), "{by_zero}");
        }
    }
}

#[tokio::test]
async fn value_that_json_has_not_is_null_or_is_named() {
    let base = TestApi::postgres().await;
    let sql = "SELECT 'infinity'::timestamptz AS t, '-infinity'::date AS d, 'NaN'::float8 AS f,
        CASE WHEN :n = 1 THEN 1.50 ELSE 1e40 END AS n";
    let rest = "columns = { t = 'timestamp', d = 'date', f = 'double', n = 'numeric' }
        parameters = { n = 'bigint' }";
    with_accounts(&base, sql, rest).await;
    let answer = base.get("/accounts/queries/q?n=1").await.json();
    assert_eq!(answer["rows"], json!([{ "t": null, "d": null, "f": null, "n": 1.5 }]));
    let too_large = base.get("/accounts/queries/q?n=2").await.problem(400);
    assert!(too_large.contains("the column n: "), "{too_large}");
}

#[tokio::test]
async fn query_is_documented_with_its_parameters_and_columns() {
    let base = TestApi::sqlite().await;
    let rest = "columns = { n = 'bigint', price = 'numeric' }
        parameters = { least = { type = 'numeric', minimum = 0 }, kind = { type = 'text', optional = true } }";
    with_accounts(&base, "SELECT :least AS price, 1 AS n, :kind AS kind", rest).await;
    let document = base.get("/openapi.json").await.json();
    let get = &document["paths"]["/accounts/queries/q"]["get"];
    let parameters = json!([
        { "in": "query", "name": "least", "required": true,
          "schema": { "type": "number", "format": "decimal", "minimum": json!(0) } },
        { "in": "query", "name": "kind", "required": false, "schema": { "type": "string" } },
    ]);
    assert_eq!(get["parameters"], parameters);
    let schema = &get["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/AccountsQRows");
    let rows = &document["components"]["schemas"]["AccountsQRows"]["properties"]["rows"];
    let price = &rows["items"]["properties"]["price"];
    assert_eq!(*price, json!({ "type": "number", "format": "decimal", "nullable": true }));
    let of_all: Vec<&String> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|path| path.contains("queries"))
        .collect();
    assert_eq!(of_all, ["/accounts/queries/q"]);
    assert_eq!(document["components"]["schemas"].get("QueryResult"), None::<&Value>);
}
