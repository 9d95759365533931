//! Changes reach a destination that fails, loses answers and is down, once in effect.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use jetline_testkit::{
    crm::{Behaviour, CrmServer},
    http,
    installation::Installation,
    nats,
    postgres::{PostgresServer, TemporaryDatabase},
    process::{Process, Signal},
    redis,
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::{
    deployment::{Deployment, finish, succeeded, terminate},
    standalone::{Home, workspace},
    wait::{TIMEOUT, logs, until},
};

/// A CRM as bad as the example describes.
const BAD: Behaviour = Behaviour {
    failed_percent: 30,
    lost_percent: 5,
    ignores_ids: false,
    counts_only: false,
    delay: Duration::ZERO,
    seed: 7,
};

fn customers() -> String {
    fs::read_to_string(workspace().join("examples/crm/files/customers.csv")).unwrap()
}

fn declaration() -> String {
    fs::read_to_string(workspace().join("examples/crm/datasets/customers.toml")).unwrap()
}

/// The customers with another phone number for one of them.
fn with_another_phone(customers: &str, id: u32) -> String {
    let lines = customers.lines().map(|line| {
        if line.starts_with(&format!("{id},")) {
            let (rest, _) = line.rsplit_once(',').unwrap();
            format!("{rest},555 000 0000\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

/// Every customer was created once, as it is in the file.
fn assert_received(crm: &CrmServer, customers: &str) {
    assert_eq!(crm.violations(), Vec::<String>::new());
    let records = crm.records("customers");
    let mut lines = customers.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut count = 0;
    for line in lines {
        let values: Vec<&str> = line.split(',').collect();
        let received = &records[values[0]].data;
        for (name, value) in names.iter().zip(&values) {
            let text = received[name].as_str().map_or(received[name].to_string(), str::to_owned);
            assert_eq!(text, **value, "{received}");
        }
        count += 1;
    }
    assert_eq!(records.len(), count);
}

#[test]
fn customers_reach_a_bad_crm_once() {
    let crm = CrmServer::start(BAD).unwrap();
    let home = Home::new();
    let (folder, customers) = (home.folder.path(), customers());
    fs::create_dir(folder.join("datasets")).unwrap();
    fs::write(folder.join("datasets/customers.toml"), declaration()).unwrap();
    let load = |content: &str, second: u64| {
        home.put("customers.csv", second, content.as_bytes());
        let settings =
            [("CRM_URL", &*crm.url()), ("DELIVER_PRIVATE", "true"), ("DELIVER_BACKOFF", "20ms")];
        succeeded(finish(home.start_with(&["--exit", "samples/customers.csv"], settings)))
    };
    let output = load(&customers, 0);
    assert!(output.contains("crm of customers: delivered 1000, waiting 0, dead 0"), "{output}");
    assert_eq!(crm.effects().len(), 1000);
    assert!(crm.calls() > 1300, "{}", crm.calls());
    assert_received(&crm, &customers);
    let calls = crm.calls();
    load(&customers, 1);
    assert_eq!(crm.calls(), calls);
    let changed = with_another_phone(&customers, 500);
    load(&changed, 2);
    assert_eq!(crm.effects().len(), 1001);
    assert_eq!(crm.effects()[1000].kind, "customers.updated");
    assert_received(&crm, &changed);
}

/// Couriers and writers are killed, and the CRM is down for a while.
async fn customers_reach_a_crm_despite_crashes(couriers: usize, writers: usize) {
    let mut deployment = Deployment::shared("deliveries").await;
    // So slow that there is something left when it goes down.
    let delay = Duration::from_millis(20);
    let crm = CrmServer::start(Behaviour { delay, ..BAD }).unwrap();
    let file = deployment.folder().join("customers.toml");
    fs::write(&file, declaration()).unwrap();
    deployment.set_all([
        ("CRM_URL", &*crm.url()),
        ("DELIVER_PRIVATE", "true"),
        ("DELIVER_BACKOFF", "20ms"),
        ("DELIVER_TIMEOUT", "1s"),
        ("DELIVER_LEASE", "3s"),
        ("SOURCE", "customers=s3://shop"),
        ("DATASETS", file.to_str().unwrap()),
    ]);
    succeeded(finish(deployment.start("jetline-migrate")));
    let start_all = |program: &str, count: usize| -> Vec<Process> {
        (0..count).map(|_| deployment.start(program)).collect()
    };
    let customers = customers();
    deployment.put("customers.csv", 0, customers.as_bytes());
    let mut writing = start_all("jetline-writer", writers);
    let mut delivering = start_all("jetline-courier", couriers);
    let fetcher = deployment.start("jetline-fetcher");
    until("some are delivered", async || (crm.effects().len() > 100).then_some(())).await;
    crm.set_down(true);
    for process in [&mut writing[0], &mut delivering[0]] {
        process.signal(Signal::KILL);
        process.wait(TIMEOUT).unwrap();
    }
    writing.extend(start_all("jetline-writer", 1));
    delivering.extend(start_all("jetline-courier", 1));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(crm.effects().len() < 1000);
    crm.set_down(false);
    succeeded(finish(fetcher));
    let delivered = async || {
        until("all is delivered", async || {
            (deployment.ledger.deliveries("waiting").await.unwrap() == 0).then_some(())
        })
        .await;
    };
    delivered().await;
    assert_eq!(crm.effects().len(), 1000);
    assert_received(&crm, &customers);

    let calls = crm.calls();
    deployment.put("customers.csv", 1, customers.as_bytes());
    succeeded(deployment.fetch());
    delivered().await;
    assert_eq!(crm.calls(), calls);
    let changed = with_another_phone(&customers, 500);
    deployment.put("customers.csv", 2, changed.as_bytes());
    succeeded(deployment.fetch());
    delivered().await;
    assert_eq!(crm.effects().len(), 1001);
    assert_received(&crm, &changed);
    assert_eq!(deployment.ledger.deliveries("delivered").await.unwrap(), 1000);
}

#[tokio::test]
async fn customers_reach_a_crm_despite_crashes_of_one_courier_and_writer() {
    customers_reach_a_crm_despite_crashes(1, 1).await;
}

#[tokio::test]
async fn customers_reach_a_crm_despite_crashes_with_three_couriers_and_writers() {
    customers_reach_a_crm_despite_crashes(3, 3).await;
}

/// An outcome cannot be recorded, and is not waited for without end.
#[tokio::test]
async fn courier_ends_in_time_without_its_database() {
    let mut server = PostgresServer::start().unwrap();
    let database = TemporaryDatabase::create_on(&server).await;
    let mut deployment =
        Deployment::of("deadline", &nats::shared(), &redis::shared(), database).await;
    let delay = Duration::from_millis(500);
    let crm = CrmServer::start(Behaviour { delay, ..Behaviour::default() }).unwrap();
    let file = deployment.folder().join("customers.toml");
    fs::write(&file, declaration()).unwrap();
    deployment.set_all([
        ("CRM_URL", &*crm.url()),
        ("DELIVER_PRIVATE", "true"),
        ("SOURCE", "customers=s3://shop"),
        ("SHUTDOWN_DEADLINE", "2s"),
        ("DATASETS", file.to_str().unwrap()),
    ]);
    succeeded(finish(deployment.start("jetline-migrate")));
    deployment.put("customers.csv", 0, customers().as_bytes());
    succeeded(deployment.load());
    let courier = deployment.start("jetline-courier");
    until("a request is under way", async || (crm.calls() > 0).then_some(())).await;
    server.stop().unwrap();
    terminate(courier);
}

fn updates() -> Vec<Value> {
    let file = workspace().join("examples/accounts/files/accounts.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn accounts_declaration() -> String {
    fs::read_to_string(workspace().join("examples/accounts/datasets/accounts.toml")).unwrap()
}

/// The accounts after the updates: the highest version of each, and of equal ones the last.
fn highest(updates: &[Value]) -> BTreeMap<String, Value> {
    let mut accounts: BTreeMap<String, Value> = BTreeMap::new();
    for update in updates.iter().filter(|update| update["version"].is_u64()) {
        let id = update["id"].as_str().unwrap().to_owned();
        let account = accounts.entry(id).or_insert_with(|| update.clone());
        if account["version"].as_u64() <= update["version"].as_u64() {
            account.clone_from(update);
        }
    }
    accounts
}

/// Every version of each account, the highest first; of equal ones the last.
fn versions(updates: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut versions: BTreeMap<(String, u64), Value> = BTreeMap::new();
    for update in updates.iter().filter(|update| update["version"].is_u64()) {
        let id = update["id"].as_str().unwrap().to_owned();
        versions.insert((id, update["version"].as_u64().unwrap()), update.clone());
    }
    let mut accounts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for ((id, _), update) in versions.into_iter().rev() {
        accounts.entry(id).or_default().push(update);
    }
    accounts
}

/// The richest account of each type as of a version.
fn richest(accounts: &BTreeMap<String, Vec<Value>>, at: u64) -> Vec<Value> {
    let mut richest: BTreeMap<&str, &Value> = BTreeMap::new();
    for versions in accounts.values() {
        let is_known = |update: &&Value| update["version"].as_u64().unwrap() <= at;
        let Some(update) = versions.iter().find(is_known) else {
            continue;
        };
        let of_type = richest.entry(update["accountType"].as_str().unwrap()).or_insert(update);
        // Of equally rich ones, the one with the first id, which comes first.
        if update["tokens"].as_u64() > of_type["tokens"].as_u64() {
            *of_type = update;
        }
    }
    let row = |update: &Value| {
        let column = |name: &str| (name.to_owned(), update[name].clone());
        Value::Object(["accountType", "id", "tokens", "version"].map(column).into_iter().collect())
    };
    richest.into_values().map(row).collect()
}

/// The table, the history and the query are what a fold of the updates is.
async fn assert_served(address: SocketAddr, updates: &[Value]) {
    let get = async |path: &str| {
        let answer = http::get(address, path, &[]).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        answer.json()
    };
    let versions = versions(updates);
    let served = get("/accounts?limit=100").await;
    let highest: Vec<&Value> = versions.values().map(|versions| &versions[0]).collect();
    assert_eq!(served.as_array().unwrap().iter().collect::<Vec<_>>(), highest);
    for (id, versions) in &versions {
        let history = get(&format!("/accounts/{id}/history?limit=100")).await;
        let records = history.as_array().unwrap().iter().map(|version| &version["record"]);
        assert_eq!(records.collect::<Vec<_>>(), versions.iter().collect::<Vec<_>>(), "{id}");
    }
    for at in 0..=updates.len() as u64 {
        let rows = get(&format!("/accounts/queries/richest?at={at}")).await;
        assert_eq!(rows["rows"], Value::from(richest(&versions, at)), "as of {at}");
    }
    let now = get("/accounts/queries/richest").await;
    assert_eq!(now, json!({ "rows": richest(&versions, u64::MAX), "has_more": false }));
}

fn shuffled(seed: u64) -> Vec<Value> {
    let mut updates = updates();
    updates.shuffle(&mut StdRng::seed_from_u64(seed));
    updates
}

/// The last callback of each account is that of its highest version, which fired once; each version that was committed
/// either fired or is recorded as cancelled.
fn assert_called_back(crm: &CrmServer, updates: &[Value], committed: usize, cancelled: usize) {
    assert_eq!(crm.violations(), Vec::<String>::new());
    let (effects, expected) = (crm.effects(), highest(updates));
    let last = crm.records("accounts");
    assert_eq!(last.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (id, account) in expected {
        assert_eq!(last[&id].data, account);
        let of_highest = effects.iter().filter(|effect| effect.key == id);
        let of_highest = of_highest.filter(|effect| effect.data == account);
        assert_eq!(of_highest.count(), 1, "{account}");
    }
    assert_eq!(effects.len() + cancelled, committed);
}

#[tokio::test]
async fn only_the_highest_version_of_an_account_calls_back_whatever_the_order() {
    for seed in 0..=20 {
        let crm = CrmServer::start(Behaviour::default()).unwrap();
        let home = Home::new();
        let folder = home.folder.path();
        fs::create_dir(folder.join("datasets")).unwrap();
        fs::write(folder.join("datasets/accounts.toml"), accounts_declaration()).unwrap();
        let updates = if seed == 0 { self::updates() } else { shuffled(seed) };
        home.put("accounts.json", 0, &serde_json::to_vec_pretty(&updates).unwrap());
        let settings =
            [("CALLBACK_URL", &*crm.url()), ("DELIVER_PRIVATE", "true"), ("WRITER_CHUNKS", "1")];
        let flags = ["--exit", "--chunk-lines", "8", "samples/accounts.json"];
        succeeded(finish(home.start_with(&flags, settings)));
        let ledger = home.ledger().await;
        let object = ledger.objects().await.unwrap().remove(0);
        assert_eq!(object.rejected, 2);
        let committed = usize::try_from(object.inserted + object.updated).unwrap();
        let cancelled = ledger.cancelled_deliveries().await.unwrap();
        assert_called_back(&crm, &updates, committed, cancelled);
        let process = home.start_with(&["samples/accounts.json"], settings);
        logs(&process, "Serving").await;
        assert_served(home.address, &updates).await;
        let id = updates[0]["id"].as_str().unwrap();
        let path = format!("/accounts/{id}/deliveries");
        let shown = http::get(home.address, &path, &[]).await.unwrap().json();
        assert_eq!(shown["deliveries"][0]["state"], "delivered", "{shown}");
        succeeded(terminate(process));
    }
}

/// Services that load accounts, and call this CRM back.
async fn accounts_deployment(name: &str, crm: &CrmServer, declaration: &str) -> Deployment {
    let mut deployment = Deployment::shared(name).await;
    let file = deployment.folder().join("accounts.toml");
    fs::write(&file, declaration).unwrap();
    deployment.set_all([
        ("CALLBACK_URL", &*crm.url()),
        ("DELIVER_PRIVATE", "true"),
        ("SOURCE", "accounts=s3://shop"),
        ("CHUNK_LINES", "4"),
        ("WRITER_CHUNKS", "1"),
        ("DATASETS", file.to_str().unwrap()),
    ]);
    succeeded(finish(deployment.start("jetline-migrate")));
    deployment
}

/// The deliveries that wait, and until when.
const WAITING: &str =
    "SELECT key || ' at ' || due_at AS text FROM deliveries WHERE state = 'waiting' ORDER BY key";

#[tokio::test]
async fn callback_that_waits_survives_the_end_of_all_programs() {
    let crm = CrmServer::start(Behaviour::default()).unwrap();
    let slow = accounts_declaration().replace("unit = \"ms\"", "unit = \"h\"");
    let deployment = accounts_deployment("waiting", &crm, &slow).await;
    deployment.put("accounts.json", 0, &serde_json::to_vec(&updates()).unwrap());
    let waiting = async || {
        let waiting = deployment.ledger.texts(WAITING).await.unwrap();
        let changes = "SELECT key AS text FROM delivery_changes";
        let changes = deployment.ledger.texts(changes).await.unwrap();
        (waiting.len() == 12 && changes.is_empty()).then_some(waiting)
    };
    let mut programs = deployment.writers(2);
    programs.push(deployment.start("jetline-courier"));
    succeeded(deployment.fetch());
    let before = until("all callbacks wait", waiting).await;
    programs.iter_mut().for_each(Process::kill);

    programs.push(deployment.start("jetline-courier"));
    let newer = json!({ "id": updates()[0]["id"], "accountType": "savings", "tokens": 1,
        "callbackTimeMs": 0, "version": 1_000, "data": {} });
    deployment.put("newer.json", 1, &serde_json::to_vec(&[&newer]).unwrap());
    programs.extend(deployment.writers(1));
    succeeded(deployment.fetch());
    until("the newer version is delivered", async || {
        (deployment.ledger.deliveries("delivered").await.unwrap() == 1).then_some(())
    })
    .await;
    let after = deployment.ledger.texts(WAITING).await.unwrap();
    let key = updates()[0]["id"].as_str().unwrap().to_owned();
    let others = before.into_iter().filter(|waiting| !waiting.starts_with(&key));
    assert_eq!(after, others.collect::<Vec<String>>());
    assert!(deployment.ledger.cancelled_deliveries().await.unwrap() > 0);

    // The hours are over.
    programs.iter_mut().for_each(Process::kill);
    let now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let due = format!("UPDATE deliveries SET due_at = {now} WHERE state = 'waiting'");
    deployment.ledger.run(&due).await.unwrap();
    programs.push(deployment.start("jetline-courier"));
    until("everything is delivered", async || {
        (deployment.ledger.deliveries("delivered").await.unwrap() == 12).then_some(())
    })
    .await;
    let all: Vec<Value> = updates().into_iter().chain([newer]).collect();
    assert_eq!(crm.violations(), Vec::<String>::new());
    let expected: Vec<Value> = highest(&all).into_values().collect();
    let mut effects: Vec<Value> = crm.effects().into_iter().map(|effect| effect.data).collect();
    effects.sort_by_key(|account| account["id"].to_string());
    assert_eq!(effects, expected);
}

#[tokio::test]
async fn only_the_highest_version_calls_back_with_four_writers() {
    let crm = CrmServer::start(Behaviour::default()).unwrap();
    let deployment = accounts_deployment("callbacks", &crm, &accounts_declaration()).await;
    let updates = shuffled(1);
    deployment.put("accounts.json", 0, &serde_json::to_vec_pretty(&updates).unwrap());
    let _writers = deployment.writers(4);
    let _couriers = [deployment.start("jetline-courier"), deployment.start("jetline-courier")];
    succeeded(deployment.fetch());
    until("nothing waits", async || {
        let waiting = deployment.ledger.deliveries("waiting").await.unwrap();
        let delivered = deployment.ledger.deliveries("delivered").await.unwrap();
        (waiting == 0 && delivered == 12).then_some(())
    })
    .await;
    let object = deployment.ledger.objects().await.unwrap().remove(0);
    let changes = object.inserted + object.updated;
    let cancelled = deployment.ledger.cancelled_deliveries().await.unwrap();
    assert_called_back(&crm, &updates, usize::try_from(changes).unwrap(), cancelled);
    let (_api, address) = Installation::serve(&deployment, "jetline-api", "/readyz").await.unwrap();
    assert_served(address, &updates).await;
}
