//! Benchmark of encoding and decoding messages.

use std::hint::black_box;

use bytes::Bytes;
use criterion::Criterion;
use jetline_core::ObjectId;
use jetline_queue::{Chunk, message};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let chunk = chunk();
    let mut group = criterion.benchmark_group("message");
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            let subject = message::subject("jetline", black_box(&chunk));
            (subject, message::headers(&chunk))
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter_batched(|| encoded(&chunk), message::chunk, criterion::BatchSize::SmallInput);
    });
    group.finish();
    criterion.final_summary();
}

fn chunk() -> Chunk {
    Chunk {
        object: ObjectId::MAX,
        incarnation: "0123456789abcdef".to_owned(),
        dataset: "products".to_owned(),
        declaration: 1,
        format: jetline_formats::Format::JsonLines,
        header: Bytes::new(),
        modified_at: None,
        is_redacted: false,
        start: 1 << 32,
        end: (1 << 32) + (256 << 10),
        first_line: 8_000_000,
        lines: 480,
        oversized: false,
        settled: ObjectId::default(),
        read_attempt: "0123456789abcdef-1".to_owned(),
        trace: None,
        body: vec![b'x'; 256 << 10].into(),
    }
}

fn encoded(chunk: &Chunk) -> async_nats::Message {
    async_nats::Message {
        subject: message::subject("jetline", chunk).into(),
        reply: None,
        payload: message::payload(chunk.clone()),
        headers: Some(message::headers(chunk)),
        status: None,
        description: None,
        length: chunk.body.len(),
    }
}
