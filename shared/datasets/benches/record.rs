//! A line to a row.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use jetline_datasets::Datasets;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let line = line();
    let datasets = Datasets::built_in().expect("the declaration is valid");
    let products = datasets.get("products").expect("products are a dataset");
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Bytes(line.len() as u64));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| products.parse_json(black_box(line.as_bytes())));
    });
    let row = products.parse_json(line.as_bytes()).expect("the line is a product");
    group.bench_function("write", |bencher| {
        let mut json = Vec::new();
        bencher.iter(|| {
            json.clear();
            products.write_json(black_box(&row.values), None, &mut json)
        });
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
