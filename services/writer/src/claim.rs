//! Claims the records of parsed chunks, which decides what of them is to be written.

use std::collections::{BTreeMap, HashMap};

use jetline_core::{Epoch, Key, Mode, ObjectId, Position, Verdict};
use jetline_datasets::Dataset;
use jetline_dedup::{Claimed, Dedup, Error};
use jetline_store::{ChunkRows, KeyClaim, SupersededBy, UpsertRow};

use crate::parse::Parsed;

/// Claims the records of chunks, all of one dataset, in one call; `None` where the store has lost entries of the epoch.
/// Where the epoch does not claim the dataset, all records are written, each unless its row has a higher rank.
///
/// It consumes the chunks: their records are large, and are moved without a copy.
///
/// Where the dataset has a history, the chunks also have all their valid records.
///
/// `settled` is the settled watermark at the time when the oldest of the chunks was published.
pub async fn claim(
    dedup: &dyn Dedup,
    epoch: &Epoch,
    settled: ObjectId,
    dataset: &Dataset,
    chunks: Vec<Parsed>,
) -> Result<Option<Vec<ChunkRows>>, Error> {
    let winners = winners(epoch, &chunks);
    let is_claimed = epoch.claims(&dataset.name);
    // In the other modes the adapter without a store gives the verdict.
    let verdicts = if epoch.mode == Mode::Shared && !is_claimed {
        vec![Verdict::Write; winners.len()]
    } else {
        let claims = winners.iter().map(|&(chunk, record)| chunks[chunk].records[record].claim());
        let (claims, trusted) = (claims.collect::<Vec<_>>(), epoch.trusted(settled));
        match dedup.claim(&epoch.id, trusted, &dataset.name, &claims).await? {
            Claimed::Verdicts(verdicts) => verdicts,
            Claimed::Lost => return Ok(None),
        }
    };
    let unclaimed = if is_claimed { None } else { Some(epoch) };
    let with_history: &[Parsed] = if dataset.has_history { &chunks } else { &[] };
    let history: Vec<_> = with_history.iter().map(|chunk| history(chunk, epoch.mode)).collect();
    let mut rows = rows_by_verdict(chunks, &winners, &verdicts, unclaimed);
    for (chunk, history) in rows.iter_mut().zip(history) {
        chunk.history = history;
    }
    Ok(Some(rows))
}

/// All valid records of a chunk.
fn history(chunk: &Parsed, mode: Mode) -> Vec<UpsertRow> {
    let records = chunk.records.iter().chain(&chunk.superseded).cloned();
    records.map(|record| record.into_unclaimed_row(mode)).collect()
}

/// Turns chunks into rows by the verdicts of their records; where `unclaimed` is an epoch that does not claim, also into the rows
/// that replace refused ones.
fn rows_by_verdict(
    chunks: Vec<Parsed>,
    winners: &[(usize, usize)],
    verdicts: &[Verdict],
    unclaimed: Option<&Epoch>,
) -> Vec<ChunkRows> {
    let superseded_by = superseded_by(&chunks, winners, verdicts);
    let mut by_chunk: Vec<Vec<Option<Verdict>>> =
        chunks.iter().map(|chunk| vec![None; chunk.records.len()]).collect();
    for ((chunk, record), verdict) in winners.iter().zip(verdicts) {
        by_chunk[*chunk][*record] = Some(*verdict);
    }
    let rows = chunks.into_iter().zip(by_chunk).zip(superseded_by);
    let rows = rows.map(|((chunk, verdicts), superseded_by)| {
        let unclaimed = unclaimed.filter(|epoch| chunk.range.object >= epoch.base);
        rows_of(chunk, &verdicts, superseded_by, unclaimed.map(|epoch| epoch.mode))
    });
    rows.collect()
}

/// For each chunk, the lines of other chunks that superseded lines of it. What superseded the latest line of an id
/// superseded all lines of that id, in whichever of the chunks they are.
fn superseded_by(
    chunks: &[Parsed],
    winners: &[(usize, usize)],
    verdicts: &[Verdict],
) -> Vec<Vec<SupersededBy>> {
    let superseding: HashMap<&Key, Position> = winners
        .iter()
        .zip(verdicts)
        .filter_map(|((chunk, record), verdict)| match verdict {
            Verdict::Superseded(by) => Some((&chunks[*chunk].records[*record].row.key, *by)),
            _ => None,
        })
        .collect();
    if superseding.is_empty() {
        return vec![Vec::new(); chunks.len()];
    }
    let each = chunks.iter().map(|chunk| {
        let mut lines: BTreeMap<ObjectId, (u32, u32)> = BTreeMap::new();
        for record in &chunk.records {
            let Some(by) = superseding.get(&record.row.key) else {
                continue;
            };
            let line = by.line();
            let (first, last) = lines.entry(by.object()).or_insert((line, line));
            (*first, *last) = ((*first).min(line), (*last).max(line));
        }
        let lines = lines.into_iter();
        let ranges = lines.map(|(object, (first_line, last_line))| SupersededBy {
            object,
            first_line,
            last_line,
        });
        ranges.collect()
    });
    each.collect()
}

/// The record with the highest rank of each id over all chunks, as (chunk, record).
///
/// Lines below the epoch's base are not claimed: they were committed before the epoch began, and a claim could store a rank
/// below that of the row.
fn winners(epoch: &Epoch, chunks: &[Parsed]) -> Vec<(usize, usize)> {
    let records = chunks.iter().map(|chunk| chunk.records.len()).sum();
    let mut winners: HashMap<&Key, (usize, usize)> = HashMap::with_capacity(records);
    for (chunk, parsed) in chunks.iter().enumerate() {
        if parsed.range.object < epoch.base {
            continue;
        }
        for (index, record) in parsed.records.iter().enumerate() {
            let winner = winners.entry(&record.row.key).or_insert((chunk, index));
            if record.rank() > chunks[winner.0].records[winner.1].rank() {
                *winner = (chunk, index);
            }
        }
    }
    winners.into_values().collect()
}

/// The rows of a chunk, by the verdicts of its records; records that were not claimed are superseded. `unclaimed` is the mode of
/// an epoch that does not claim.
fn rows_of(
    chunk: Parsed,
    verdicts: &[Option<Verdict>],
    superseded_by: Vec<SupersededBy>,
    unclaimed: Option<Mode>,
) -> ChunkRows {
    let mut rows = ChunkRows {
        range: chunk.range,
        rows: Vec::with_capacity(verdicts.len()),
        unchanged: 0,
        superseded: chunk.superseded.len() as u64,
        replacements: Vec::new(),
        history: Vec::new(),
        rejected: chunk.rejected,
        blank: chunk.blank,
        unknown: chunk.unknown,
        superseded_by,
    };
    for (record, verdict) in chunk.records.into_iter().zip(verdicts) {
        match verdict {
            Some(Verdict::Unchanged) => rows.unchanged += 1,
            Some(Verdict::Superseded(_)) => rows.superseded += 1,
            None => {
                rows.superseded += 1;
                rows.replacements.extend(unclaimed.map(|mode| record.into_unclaimed_row(mode)));
            }
            Some(Verdict::WriteIfChanged) => {
                rows.rows.push(record.into_row(true, KeyClaim::First));
            }
            Some(Verdict::Write) => {
                let claim =
                    if unclaimed.is_none() { KeyClaim::AfterAnother } else { KeyClaim::None };
                rows.rows.push(record.into_row(false, claim));
            }
        }
    }
    if let Some(mode) = unclaimed {
        let superseded = chunk.superseded.into_iter();
        rows.replacements.extend(superseded.map(|record| record.into_unclaimed_row(mode)));
    }
    rows
}
