//! `docs/benchmarks.md`: what stands between its markers is written from the results.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Benchmark, plot, report, tables, targets};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const DOCUMENT: &str = "docs/benchmarks.md";
const PLOT: &str = "docs/benchmarks-scaling.svg";
const PICTURE: &str = "\n![Throughput and CPU by number of writers](benchmarks-scaling.svg)\n";

/// The benchmark that is plotted.
const SCALING: &str = "scaling";

/// The section that is made of all results.
const TARGETS: &str = "targets";

/// Writes every result that is there into the document. A section without one stays as it is.
pub(super) fn write(results: &Path) -> anyhow::Result<()> {
    let root = fs::canonicalize(ROOT).with_context(|| format!("cannot find {ROOT}"))?;
    let reports = read(results)?;
    ensure!(!reports.is_empty(), "no results in {}", results.display());
    let missing: Vec<String> = Benchmark::measured()
        .map(Benchmark::name)
        .filter(|name| !reports.contains_key(name))
        .collect();

    let document = root.join(DOCUMENT);
    let mut text = fs::read_to_string(&document)
        .with_context(|| format!("cannot read {}", document.display()))?;
    for (name, report) in &reports {
        let mut content = tables::markdown(report);
        if name == SCALING {
            content += PICTURE;
        }
        text = replaced(&text, name, &content)?;
    }
    if missing.is_empty() {
        text = replaced(&text, TARGETS, &targets::markdown(&reports))?;
    } else {
        println!(
            "left as they are, for there is no result of {}",
            missing.join(", ")
        );
    }
    put(&document, &text)?;
    if let Some(scaling) = reports.get(SCALING) {
        put(&root.join(PLOT), &plot::svg(scaling)?)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

fn read(results: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut reports = BTreeMap::new();
    for name in Benchmark::measured().map(Benchmark::name) {
        let file = report::file(results, &name);
        if !file.exists() {
            continue;
        }
        let text = fs::read_to_string(&file)?;
        let report = serde_json::from_str(&text)
            .with_context(|| format!("cannot read {}", file.display()))?;
        reports.insert(name, report);
    }
    Ok(reports)
}

/// The text with another content between the markers of a section.
fn replaced(text: &str, section: &str, content: &str) -> anyhow::Result<String> {
    let (begin, end) = (
        format!("<!-- {section} -->\n"),
        format!("<!-- end of {section} -->"),
    );
    let parts = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let (before, after) = parts.with_context(|| format!("{DOCUMENT} has no section {section}"))?;
    Ok(format!(
        "{before}{begin}\n{}\n\n{end}{after}",
        content.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_between_markers_is_replaced() {
        let text = "a\n<!-- load -->\nold\n<!-- end of load -->\nb\n";
        let once = replaced(text, "load", "new\n").unwrap();
        assert_eq!(once, "a\n<!-- load -->\n\nnew\n\n<!-- end of load -->\nb\n");
        assert_eq!(replaced(&once, "load", "new\n").unwrap(), once);
        assert!(replaced(text, "read", "").is_err());
    }

    #[test]
    fn document_has_a_section_for_every_benchmark() {
        let mut text = include_str!("../../../docs/benchmarks.md").to_owned();
        for name in Benchmark::measured().map(Benchmark::name) {
            text = replaced(&text, &name, "new").unwrap();
        }
        replaced(&text, TARGETS, "new").unwrap();
    }
}
