//! The files of a benchmark, made once.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use jetline_testkit::programs::target_directory;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    generate::{self, Content, Size},
    install::once,
};

/// Files of lines.
pub(super) struct Data {
    pub(super) directory: PathBuf,
    pub(super) lines: u64,
    pub(super) ids: u64,
    pub(super) description: String,
}

/// A record, as it is generated.
#[derive(Deserialize)]
struct Record<'a> {
    id: u64,
    title: Cow<'a, str>,
    #[serde(borrow)]
    price: &'a RawValue,
    category: Cow<'a, str>,
    brand: Cow<'a, str>,
    url: Cow<'a, str>,
    description: Cow<'a, str>,
}

impl Data {
    /// Generated, or left by an earlier benchmark.
    pub(super) fn get(content: impl Into<Content>) -> anyhow::Result<Self> {
        let content = content.into();
        let Size { lines, files, seed, .. } = content.size;
        let ids = content.size.ids();
        let changed =
            content.changed.map_or_else(String::new, |percent| format!("-changed-{percent}"));
        let spread = if content.spread { "-spread" } else { "" };
        let name = format!("lines-{lines}-ids-{ids}-files-{files}-seed-{seed}{changed}{spread}");
        let directory = target_directory()?.join("bench-data").join(name);
        once(&directory, |directory| generate::write(&content, directory))?;
        let description = format!("{lines} lines, {ids} ids, {files} files, seed {seed}");
        Ok(Self { directory, lines, ids, description })
    }

    /// The same records in files of CSV.
    pub(super) fn as_csv(&self) -> anyhow::Result<Self> {
        let directory = self.directory.with_extension("csv");
        once(&directory, |directory| {
            fs::create_dir(directory)?;
            for file in fs::read_dir(&self.directory)? {
                let file = file?.path();
                let name = file.file_name().context("a file has no name")?;
                let csv = directory.join(name).with_extension("csv");
                write_csv(&file, &csv)
                    .with_context(|| format!("cannot write {}", csv.display()))?;
            }
            Ok(())
        })?;
        Ok(Self { directory, description: self.description.clone(), ..*self })
    }
}

/// Writes the records of a file as CSV, with the time of the file.
fn write_csv(lines: &Path, csv: &Path) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(csv)?);
    writeln!(out, "id,title,price,category,brand,url,description")?;
    for line in BufReader::with_capacity(1 << 20, File::open(lines)?).lines() {
        let line = line?;
        let record: Record<'_> = serde_json::from_str(&line)?;
        let Record { id, price, .. } = record;
        write!(out, "{id},{},{price}", quoted(&record.title))?;
        for text in [record.category, record.brand, record.url, record.description] {
            write!(out, ",{}", quoted(&text))?;
        }
        writeln!(out)?;
    }
    out.into_inner()?.set_modified(fs::metadata(lines)?.modified()?)?;
    Ok(())
}

/// A field, in quotes if it needs them.
fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}
