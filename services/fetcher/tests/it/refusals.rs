//! Contradictory settings are refused before anything is read.

use std::{sync::Arc, time::Duration};

use jetline_datasets::{Datasets, parse};
use jetline_fetcher::FetcherSettings;

use crate::scene::settings;

fn datasets() -> Datasets {
    let declaration = "key = \"id\"\n[columns]\nid = \"bigint\"\n";
    let orders = parse("orders", "orders.toml", declaration).unwrap();
    let products = Datasets::built_in().unwrap().get("products").unwrap().clone();
    [orders, Arc::unwrap_or_clone(products)].into_iter().collect()
}

fn refusal(change: impl FnOnce(&mut FetcherSettings)) -> String {
    let mut settings = settings();
    change(&mut settings);
    settings.check(&datasets(), 1_000).unwrap_err().to_string()
}

#[test]
fn valid_settings_are_accepted() {
    settings().check(&datasets(), 1_000).unwrap();
    let mut tight = settings();
    (tight.chunk_bytes, tight.max_line_bytes) = (1_000, 998);
    tight.check(&datasets(), 1_000).unwrap();
}

#[test]
fn source_called_like_a_dataset_need_not_name_it() {
    let mut settings = settings();
    settings.dataset = None;
    settings.source = vec!["s3://bucket/orders.jsonl.gz,in/products/".parse().unwrap()];
    settings.check(&datasets(), 1_000).unwrap();
    // Where there is one dataset, nothing else can be meant.
    settings.source = vec!["in/*.jsonl".parse().unwrap()];
    settings.check(&Datasets::built_in().unwrap(), 1_000).unwrap();
}

#[test]
fn refusal_names_the_setting_and_says_what_to_do() {
    let cases = [
        (refusal(|all| all.source.clear()), "set --source or SOURCE"),
        (
            refusal(|all| all.dataset = None),
            "source s3://bucket names no dataset, as in NAME=s3://bucket; there are: orders, products",
        ),
        (
            refusal(|all| all.dataset = Some("none".to_owned())),
            "there is no dataset none (DATASET); there are: orders, products",
        ),
        (
            refusal(|all| all.source = vec!["nothing=s3://bucket".parse().unwrap()]),
            "source nothing=s3://bucket: there is no dataset nothing; there are: orders, products",
        ),
        (refusal(|all| all.chunk_bytes = 0), "CHUNK_BYTES must be above 0"),
        (refusal(|all| all.max_line_bytes = 0), "MAX_LINE_BYTES must be above 0"),
        (
            refusal(|all| all.chunk_bytes = 1_001),
            "CHUNK_BYTES is 1001 and the queue's messages hold 1000 bytes",
        ),
        (
            refusal(|all| all.max_line_bytes = 999),
            "MAX_LINE_BYTES is 999 and the queue's messages hold 1000 bytes",
        ),
        (
            refusal(|all| all.zstd_window = 1_000),
            "ZSTD_WINDOW is 1000: it must be between 1KiB and 2GiB",
        ),
        (refusal(|all| all.lease = Duration::from_millis(999)), "LEASE must be 1s or more"),
    ];
    for (refusal, expected) in cases {
        assert!(refusal.contains(expected), "{refusal}");
    }
}
