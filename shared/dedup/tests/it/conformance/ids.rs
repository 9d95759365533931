//! Ids, datasets and writers do not interfere.

use std::sync::Arc;

use futures::future::join_all;
use jetline_core::Key;
use jetline_core::Verdict::{self, Unchanged, Write, WriteIfChanged};
use jetline_dedup::{Claim, Claimed};
use rand::seq::SliceRandom;

use super::{SUPERSEDED, Writers, claim, judged, object};

pub(crate) async fn integer_ids_of_any_size_are_distinct(writers: &Writers) {
    let edges = [i64::MIN, -129, -64, 0, 64, 128, 1 << 31, 1 << 53, i64::MAX - 2];
    assert_distinct(writers, edges.iter().flat_map(|id| [*id, id + 1, id + 2]).map(Key::Int)).await;
}

pub(crate) async fn text_ids_of_any_content_are_distinct(writers: &Writers) {
    let ids = [
        "",
        " ",
        "0",
        "00",
        "1",
        "1.0",
        "1e0",
        "a",
        "A",
        "a ",
        " a",
        "a\n",
        "a\r\n",
        "a\0",
        "*",
        "a:b",
        "t0",
        "ß",
        "ss",
        "é",
        "e\u{301}",
        "日本語",
        "\u{10ffff}",
    ];
    let long = ["x".repeat(1024), "x".repeat(1023), format!("{}y", "x".repeat(1023))];
    let ids = ids.iter().map(|id| (*id).to_owned()).chain(long);
    assert_distinct(writers, ids.map(Key::Text)).await;
}

async fn assert_distinct(writers: &Writers, keys: impl Iterator<Item = Key>) {
    let epoch = writers.begin().await;
    let first: Vec<Claim> = keys.map(|key| claim(key, b'a', 1, 1)).collect();
    let verdicts = judged(writers.one(), &epoch, 2, &first).await;
    assert_eq!(verdicts, vec![WriteIfChanged; first.len()]);
    for seen in &first {
        let verdicts = judged(writers.one(), &epoch, 2, std::slice::from_ref(seen)).await;
        assert_eq!(verdicts, [Unchanged], "{:?}", seen.key);
    }
}

pub(crate) async fn datasets_do_not_mix(writers: &Writers) {
    let epoch = writers.begin().await;
    let claims = [claim(Key::Int(1), b'a', 1, 1), claim(Key::Text("1".into()), b'a', 1, 1)];
    for dataset in ["products", "product", "products:1", "Products", ""] {
        let claimed = writers.one().claim(&epoch, object(9), dataset, &claims).await.unwrap();
        let fresh = Claimed::Verdicts(vec![WriteIfChanged; 2]);
        assert_eq!(claimed, fresh, "{dataset}");
    }
}

pub(crate) async fn verdicts_come_in_the_order_of_many_claims(writers: &Writers) {
    let epoch = writers.begin().await;
    let of = |id: u32, content, object| {
        let key = if id.is_multiple_of(2) {
            Key::Int(i64::from(id) * 7 - 30_000)
        } else {
            Key::Text(format!("id {id}"))
        };
        claim(key, content, object, id)
    };
    let mut ids: Vec<u32> = (0..10_000).collect();
    ids.shuffle(&mut rand::rng());
    let seen: Vec<Claim> =
        ids.iter().filter(|id| **id % 4 != 0).map(|id| of(*id, b'a', 2)).collect();
    judged(writers.one(), &epoch, 0, &seen).await;

    ids.shuffle(&mut rand::rng());
    let (claims, expected): (Vec<Claim>, Vec<Verdict>) = ids
        .iter()
        .map(|id| match id % 4 {
            0 => (of(*id, b'a', 3), WriteIfChanged),
            1 => (of(*id, b'a', 3), Unchanged),
            2 => (of(*id, b'b', 3), Write),
            _ => (of(*id, b'b', 1), SUPERSEDED),
        })
        .unzip();
    let verdicts = judged(writers.one(), &epoch, 3, &claims).await;
    assert!(verdicts == expected, "verdicts are not those of their claims");
}

pub(crate) async fn empty_claim_has_no_verdicts(writers: &Writers) {
    let epoch = writers.begin().await;
    assert_eq!(judged(writers.one(), &epoch, 0, &[]).await, []);
}

pub(crate) async fn claims_of_concurrent_writers_are_atomic(writers: &Writers) {
    let epoch = writers.begin().await;
    let mut claiming = Vec::new();
    for line in 1..=16 {
        let writer = Arc::clone(&writers.0[line as usize % writers.0.len()]);
        claiming.push(tokio::spawn(async move {
            let mut ids: Vec<i64> = (0..500).map(|id| id * 5).collect();
            ids.shuffle(&mut rand::rng());
            let claims: Vec<Claim> =
                ids.iter().map(|id| claim(Key::Int(*id), b'a', 1, line)).collect();
            judged(&*writer, &epoch, 0, &claims).await
        }));
    }
    let mut first = 0;
    for verdicts in join_all(claiming).await {
        // All ids have the same history, so an atomic claim gives them the same verdict.
        let verdicts = verdicts.unwrap();
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]));
        first += usize::from(verdicts[0] == WriteIfChanged);
    }
    assert_eq!(first, 1);
}
