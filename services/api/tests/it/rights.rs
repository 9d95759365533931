//! Users and keys that are limited to datasets, and API keys.

use clap::Parser;
use jetline_api::auth::KeyCommand;

use crate::fixtures::{TestApi, basic, settings, users};

const DATASETS: [&str; 2] = ["orders", "secrets"];

const DECLARATION: &str = "
key = 'id'
[columns]
id = 'bigint'
[queries.all]
sql = 'SELECT id FROM DATASET'
columns = { id = 'bigint' }
[[deliver]]
name = 'crm'
url = '${CRM_URL}'
";

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: KeyCommand,
}

impl TestApi {
    /// Runs a command about keys; returns what it prints.
    async fn keys(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let arguments = Arguments::parse_from([&["keys"], arguments].concat());
        arguments.command.run(&self.database()).await
    }

    /// A record, a rejected line and a delivery in each of two datasets.
    pub(crate) async fn with_two_datasets(&self) {
        for (number, name) in (1_i64..).zip(DATASETS) {
            self.declare(name, &DECLARATION.replace("DATASET", name)).await;
            self.load(name, &["{\"id\":1}".to_owned()]).await;
            let sql =
                "INSERT INTO rejected_lines (object_id, line, byte_offset, reason, message, raw)
                VALUES ($1, 2, 9, 'invalid_json', 'wrong', $2)";
            self.execute(sql, [number.into(), name.as_bytes().to_vec().into()]).await;
            let sql = "INSERT INTO deliveries (destination, key, kind, version, position, revision, fingerprint,
                    state, first_due_at, attempts)
                SELECT id, '1', 'inserted', 0, 1, 1, $1, 'delivered', 0, 1
                FROM delivery_destinations WHERE dataset = $2";
            self.execute(sql, [vec![0_u8; 16].into(), name.into()]).await;
        }
    }
}

async fn limited() -> TestApi {
    let base = TestApi::guarded(users(&[("ann", "x", ":read:orders")])).await;
    base.with_two_datasets().await;
    base
}

#[tokio::test]
async fn user_who_is_limited_to_a_dataset_sees_nothing_of_another() {
    let base = limited().await;
    let ann = basic("ann:x");
    let get = async |path: &str| base.get_as(path, &ann).await;
    for (path, field, expected) in [
        ("/datasets", "name", vec!["orders"]),
        ("/objects", "dataset", vec!["orders"]),
        ("/objects?dataset=orders", "dataset", vec!["orders"]),
        ("/rejects", "raw", vec!["orders"]),
        ("/rejects?object=1", "raw", vec!["orders"]),
        ("/rejects?object=2", "raw", vec![]),
        ("/deliveries", "dataset", vec!["orders"]),
        ("/deliveries?dataset=orders", "dataset", vec!["orders"]),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.column(field), expected, "{path}");
    }
    for path in [
        "/objects/1",
        "/rejects/1/2",
        "/orders",
        "/orders/1",
        "/orders/1/origin",
        "/orders/queries/all",
    ] {
        assert_eq!(get(path).await.status, 200, "{path}");
    }
    for path in [
        "/objects/2",
        "/rejects/2/2",
        "/datasets/secrets",
        "/datasets/secrets/fields",
        "/secrets",
        "/secrets?id=1",
        "/secrets/1",
        "/secrets/1/origin",
        "/secrets/1/history",
        "/secrets/1/deliveries",
        "/secrets/queries/all",
    ] {
        let nowhere = path.replace("secrets", "nothing").replace("/2", "/9");
        let detail = get(path).await.problem(404);
        let of_nothing = get(&nowhere).await.problem(404);
        // As if there were none.
        assert_eq!(
            detail.replace("secrets", "nothing").replace('2', "9"),
            of_nothing.replace('2', "9"),
            "{path}"
        );
    }
    for path in ["/objects?dataset=secrets", "/deliveries?dataset=secrets"] {
        let detail = get(path).await.problem(400);
        assert!(detail.ends_with("there are: orders"), "{detail}");
    }
    for path in ["/openapi.json", "/docs"] {
        let document = get(path).await.body;
        assert!(document.contains("/orders/") && !document.contains("secrets"), "{path}");
    }
    get("/metrics").await.problem(403);
}

#[tokio::test]
async fn key_opens_what_it_allows_until_it_is_revoked() {
    let mut with_keys = settings();
    with_keys.api_keys = true;
    for base in TestApi::both_with(&with_keys).await {
        base.with_two_datasets().await;
        assert_eq!(base.keys(&["list"]).await.unwrap(), "No keys.");
        let key = base.keys(&["create", "shop", "--role", "write", "--of", "orders"]).await;
        let key = key.unwrap();
        let all = base.keys(&["create", "all"]).await.unwrap();
        let refused = base.keys(&["create", "shop"]).await.unwrap_err().to_string();
        assert!(refused.contains("there is a key shop already"), "{refused}");
        let listed = base.keys(&["list"]).await.unwrap();
        assert!(listed.contains("all  read  all datasets") && !listed.contains(&all), "{listed}");
        assert!(listed.contains("shop  write  orders  20"), "{listed}");

        let bearer = format!("Bearer {key}");
        let answer = base.get_as("/datasets", &bearer).await;
        assert_eq!(answer.column("name"), ["orders"]);
        let answer = base.get_as("/datasets", &format!("bearer {all}")).await;
        assert_eq!(answer.column("name"), ["orders", "products", "secrets"]);
        let document = base.get_as("/openapi.json", &bearer).await.json();
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        for authorization in
            ["", "Bearer", "Bearer jetline_", &bearer[..bearer.len() - 1], "Basic YTpi"]
        {
            let answer = base.get_as("/datasets", authorization).await;
            assert_eq!(answer.problem(401), "this needs an API key");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"jetline\""));
        }

        base.keys(&["revoke", "shop"]).await.unwrap();
        let refused = base.keys(&["revoke", "shop"]).await.unwrap_err().to_string();
        assert!(refused.contains("there is no key shop"), "{refused}");
        let ended = async { while base.get_as("/datasets", &bearer).await.status != 401 {} };
        tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.unwrap();
        assert_eq!(base.get_as("/datasets", &format!("Bearer {all}")).await.status, 200);
    }
}

#[tokio::test]
async fn who_tries_many_keys_has_to_wait_and_who_has_one_does_not() {
    let mut with_keys = settings();
    with_keys.api_keys = true;
    let base = TestApi::sqlite_with(&with_keys).await;
    let right = format!("Bearer {}", base.keys(&["create", "shop"]).await.unwrap());
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) {
        let wrong = format!("Bearer jetline_{}", statuses.len());
        statuses.push(base.get_as("/objects", &wrong).await.status);
    }
    assert!(statuses.starts_with(&[401; 50]), "{statuses:?}");
    assert_eq!(base.get_as("/objects", &right).await.status, 200);
}
