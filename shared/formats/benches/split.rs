//! Benchmark of the splitter, with blocks of the sizes that sources return.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use jetline_formats::{
    Format,
    split::{Limits, Splitter},
};

const LIMITS: Limits =
    Limits { chunk_bytes: 256 << 10, chunk_lines: 4096, max_line_bytes: 512 << 10 };
const CONTENT: usize = 8 << 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("split");
    group.throughput(Throughput::Bytes(CONTENT as u64));
    // Lines of products, and short ones; block sizes of files, and of network reads.
    for (line, block) in [(545, 1 << 20), (545, 16 << 10), (40, 1 << 20)] {
        let content = content(line);
        let name = BenchmarkId::new(format!("lines of {line} bytes"), block);
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(chunks(&content, block)));
        });
    }
    group.finish();
    criterion.final_summary();
}

fn content(line: usize) -> Bytes {
    let line = [&vec![b'x'; line - 1][..], b"\n"].concat();
    line.iter().copied().cycle().take(CONTENT).collect()
}

/// How many chunks the content is split into.
fn chunks(content: &Bytes, block: usize) -> usize {
    let mut splitter = Splitter::new(Format::JsonLines, LIMITS, 0, 1);
    let mut chunks = 0;
    for start in (0..content.len()).step_by(block) {
        splitter.push(content.slice(start..content.len().min(start + block)));
        chunks += drain(&mut splitter);
    }
    splitter.finish();
    chunks + drain(&mut splitter)
}

fn drain(splitter: &mut Splitter) -> usize {
    let chunks = std::iter::from_fn(|| splitter.next_chunk().ok().flatten());
    chunks.map(black_box).count()
}
