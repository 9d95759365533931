//! A line to a row, and a record to its fingerprint.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use jetline_core::Fingerprint;
use jetline_records::{products::Model, registry};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let line = line();
    let products = registry::datasets()
        .into_iter()
        .find(|dataset| dataset.name == "products")
        .expect("products are a dataset");
    let record: Model = serde_json::from_str(&line).expect("the line is a product");
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Bytes(line.len() as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| (products.parse)(black_box(line.as_bytes())));
    });
    group.bench_function("fingerprint", |bencher| {
        bencher.iter(|| Fingerprint::of(black_box(&record)));
    });
    group.finish();
    criterion.final_summary();
}

fn line() -> String {
    let description = "Woven from long fibres, washed twice and dried in the shade. ".repeat(5);
    format!(
        r#"{{"id":8000001,"title":"A pair of \"warm\" socks","price":7072.16,"category":"clothes","brand":"Brøndby","url":"https://shop.example.com/products/8000001","description":"{description}"}}"#
    )
}
