//! `rejects`: the rejected lines of the ledger, shortened for people, or whole in a file of JSON Lines.

use std::{
    fmt::{Display, from_fn},
    fs::{self, File},
    io::{BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use jetline_datasets::Reason;
use jetline_runtime::output;
use jetline_store::{
    Catalog,
    catalog::rejects::{Cursor, Filter, Reject, text},
};
use serde::Serialize;

use crate::{
    error::unknown_object,
    terminal::{Escaped, shortened},
};

/// The most rejects that one query returns, and the most bytes of their lines and messages.
const PAGE_SIZE: u64 = 1000;
const PAGE_BYTES: usize = 1 << 20;

/// The most characters that are shown of a message, and of a line.
const MESSAGE_CHARS: usize = 200;
const LINE_CHARS: usize = 120;

/// Which rejected lines to show.
#[derive(Clone, Debug, clap::Args)]
pub struct RejectsSettings {
    /// Only those of the object with this number, as `status` shows it
    #[arg(long, value_name = "NUMBER")]
    pub object: Option<u32>,

    /// Only those with this reason
    #[arg(long, value_name = "CODE")]
    pub reason: Option<Reason>,

    /// Write them whole into this new file, as JSON Lines, instead of showing the beginning of each
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Prints the rejected lines, or writes them into a file.
pub(crate) async fn rejects(args: &RejectsSettings, catalog: &Catalog) -> anyhow::Result<()> {
    if let Some(number) = args.object {
        let known = catalog.object(number.into()).await?.is_some();
        ensure!(known, unknown_object(number));
    }
    let pages = Pages::new(args, catalog);
    match &args.out {
        Some(path) => write(pages, catalog, path).await,
        None if output::is_json() => {
            each_whole(pages, catalog, |line| output::print_json(line)).await.map(drop)
        }
        None => print(pages).await,
    }
}

/// The rejected lines in their order, a page at a time.
struct Pages<'a> {
    catalog: &'a Catalog,
    filter: Filter,
    after: Option<Cursor>,
    has_more: bool,
}

impl<'a> Pages<'a> {
    fn new(args: &RejectsSettings, catalog: &'a Catalog) -> Self {
        let filter =
            Filter { datasets: None, object: args.object.map(i64::from), reason: args.reason };
        Self { catalog, filter, after: None, has_more: true }
    }

    /// The next page; `None` after the last one.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Reject>>> {
        if !self.has_more {
            return Ok(None);
        }
        let page = self.catalog.rejects(&self.filter, self.after, PAGE_SIZE, PAGE_BYTES).await?;
        self.after = page.rejects.last().map(Reject::cursor);
        self.has_more = page.has_more;
        Ok(Some(page.rejects))
    }
}

/// Prints a line for each, until nobody reads them any more.
async fn print(mut pages: Pages<'_>) -> anyhow::Result<()> {
    let mut is_empty = true;
    while let Some(page) = pages.next().await? {
        for reject in &page {
            if !output::print_part(shown(reject))? {
                return Ok(());
            }
        }
        is_empty &= page.is_empty();
    }
    if is_empty {
        output::print("No such line was rejected.")?;
    }
    Ok(())
}

fn shown(reject: &Reject) -> impl Display {
    from_fn(|f| {
        let Reject { object_id, line, reason, message, raw, .. } = reject;
        let message = shortened(message, MESSAGE_CHARS);
        let raw = shortened(&String::from_utf8_lossy(raw), LINE_CHARS);
        write!(f, "object {object_id}, line {line}: {}: ", Escaped(reason))?;
        write!(f, "{}: {}", Escaped(&message), Escaped(&raw))
    })
}

/// A rejected line in the file.
#[derive(Serialize)]
struct Written<'a> {
    object: i64,
    uri: Option<&'a str>,
    line: i64,
    offset: i64,
    reason: String,
    message: String,
    /// Bytes that are not UTF-8 are replaced.
    raw: String,
    /// The bytes of `raw`, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

async fn write(pages: Pages<'_>, catalog: &Catalog, path: &Path) -> anyhow::Result<()> {
    let mut file = NewFile::create(path)?;
    let lines = each_whole(pages, catalog, |line| file.write(line).map(|()| true)).await?;
    file.finish()?;
    output::print_note(format!("{lines} rejected lines written to {}", path.display()))
}

/// Writes whole rejected lines until `write` answers that nobody reads them any more; returns their number.
async fn each_whole(
    mut pages: Pages<'_>,
    catalog: &Catalog,
    mut write: impl FnMut(&Written<'_>) -> anyhow::Result<bool>,
) -> anyhow::Result<u64> {
    let mut lines = 0;
    let (mut object, mut uri) = (0, None);
    while let Some(page) = pages.next().await? {
        for mut reject in page {
            if reject.object_id != object {
                object = reject.object_id;
                uri = catalog.object(object).await?.map(|object| object.uri);
            }
            if reject.is_truncated() {
                let Some(raw) = catalog.rejected_bytes(reject.cursor()).await? else {
                    // A replay has begun.
                    continue;
                };
                reject.raw = raw;
            }
            lines += 1;
            if !write(&written(reject, uri.as_deref()))? {
                return Ok(lines);
            }
        }
    }
    Ok(lines)
}

fn written(reject: Reject, uri: Option<&str>) -> Written<'_> {
    let (raw, bytes) = text(reject.raw);
    Written {
        object: reject.object_id,
        uri,
        line: reject.line,
        offset: reject.byte_offset,
        reason: reject.reason,
        message: reject.message,
        raw,
        raw_base64: bytes.map(|bytes| BASE64_STANDARD.encode(bytes)),
    }
}

/// A file that did not exist, and is removed unless it is finished.
struct NewFile<'a> {
    path: &'a Path,
    writer: BufWriter<File>,
    is_finished: bool,
}

impl<'a> NewFile<'a> {
    fn create(path: &'a Path) -> anyhow::Result<Self> {
        match File::create_new(path) {
            Ok(file) => Ok(Self { path, writer: BufWriter::new(file), is_finished: false }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} exists: remove it, or write another file", path.display())
            }
            Err(error) => Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }

    fn write(&mut self, line: &Written<'_>) -> anyhow::Result<()> {
        let written = serde_json::to_writer(&mut self.writer, line).map_err(Into::into);
        written
            .and_then(|()| self.writer.write_all(b"\n"))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let flushed = self.writer.flush();
        flushed.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        if let Err(error) = fs::remove_file(self.path) {
            let file = self.path.display();
            tracing::warn!(error = jetline_runtime::causes(&error), %file, "remove file failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Written<'static> {
        Written {
            object: 1,
            uri: None,
            line: 2,
            offset: 3,
            reason: "invalid_json".to_owned(),
            message: "m".to_owned(),
            raw: "r".to_owned(),
            raw_base64: None,
        }
    }

    #[test]
    fn file_that_is_not_finished_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejects.jsonl");
        let mut file = NewFile::create(&path).unwrap();
        file.write(&line()).unwrap();
        assert!(path.exists());
        drop(file);
        assert!(!path.exists());

        let mut file = NewFile::create(&path).unwrap();
        file.write(&line()).unwrap();
        file.finish().unwrap();
        assert!(NewFile::create(&path).is_err());
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("{\"object\":1,\"uri\":null,") && written.ends_with("}\n"));
    }
}
