//! From parsed chunks to judged ones: what of them is to be written.

use std::collections::{BTreeMap, HashMap};

use jetline_dedup::{Claim, Claimed, Dedup, Error};
use jetline_records::{Epoch, Key, ObjectId, Position, Verdict};
use jetline_store::{ChunkRows, Judged, OutdoneBy};

use crate::parse::Parsed;

/// Judges the records of chunks, all of one dataset, in one claim; nothing where entries of the epoch were lost.
///
/// Once they are judged, the chunks have given their records away: they are large, and move on without a copy.
///
/// `settled` is what was settled when the oldest of the chunks was published.
pub async fn claim(
    dedup: &dyn Dedup,
    epoch: &Epoch,
    settled: ObjectId,
    dataset: &str,
    chunks: &mut [&mut Parsed],
) -> Result<Option<Vec<ChunkRows>>, Error> {
    let winners = winners(epoch, chunks);
    let claims: Vec<Claim> = winners
        .iter()
        .map(|&(chunk, record)| {
            let record = &chunks[chunk].records[record];
            Claim {
                key: record.row.key.clone(),
                fingerprint: record.row.fingerprint,
                rank: record.rank(),
            }
        })
        .collect();
    let trusted = epoch.trusted(settled);
    let claimed = dedup.claim(&epoch.id, trusted, dataset, &claims).await?;
    let Claimed::Verdicts(verdicts) = claimed else {
        return Ok(None);
    };
    Ok(Some(judged(chunks, &winners, &verdicts)))
}

/// Has all records written, each unless its row has a higher rank: what [`claim`] does for datasets without claims.
pub fn write_through(epoch: &Epoch, chunks: &mut [&mut Parsed]) -> Vec<ChunkRows> {
    let winners = winners(epoch, chunks);
    let verdicts = vec![Verdict::Write; winners.len()];
    judged(chunks, &winners, &verdicts)
}

fn judged(
    chunks: &mut [&mut Parsed],
    winners: &[(usize, usize)],
    verdicts: &[Verdict],
) -> Vec<ChunkRows> {
    let outdone_by = outdone_by(chunks, winners, verdicts);
    let mut judged: Vec<Vec<Option<Verdict>>> = chunks
        .iter()
        .map(|chunk| vec![None; chunk.records.len()])
        .collect();
    for ((chunk, record), verdict) in winners.iter().zip(verdicts) {
        judged[*chunk][*record] = Some(*verdict);
    }
    let rows = chunks.iter_mut().zip(judged).zip(outdone_by);
    rows.map(|((chunk, verdicts), outdone_by)| rows_of(chunk, &verdicts, outdone_by))
        .collect()
}

/// For each chunk, the lines that outdid lines of it. What outdid the latest line of an id outdid all
/// lines of that id, in whichever of the chunks they are.
fn outdone_by(
    chunks: &[&mut Parsed],
    winners: &[(usize, usize)],
    verdicts: &[Verdict],
) -> Vec<Vec<OutdoneBy>> {
    let above: HashMap<&Key, Position> = winners
        .iter()
        .zip(verdicts)
        .filter_map(|((chunk, record), verdict)| match verdict {
            Verdict::Superseded(above) => Some((&chunks[*chunk].records[*record].row.key, *above)),
            _ => None,
        })
        .collect();
    if above.is_empty() {
        return vec![Vec::new(); chunks.len()];
    }
    let each = chunks.iter().map(|chunk| {
        let mut lines: BTreeMap<ObjectId, (u32, u32)> = BTreeMap::new();
        for record in &chunk.records {
            let Some(above) = above.get(&record.row.key) else {
                continue;
            };
            let line = above.line();
            let (first, last) = lines.entry(above.object()).or_insert((line, line));
            (*first, *last) = ((*first).min(line), (*last).max(line));
        }
        let lines = lines.into_iter();
        let outdone_by = lines.map(|(object, (first_line, last_line))| OutdoneBy {
            object,
            first_line,
            last_line,
        });
        outdone_by.collect()
    });
    each.collect()
}

/// The highest line of each id over all chunks, as (chunk, record).
///
/// A chunk below the epoch's base was committed before it began: it claims nothing, as the entry that it would leave
/// behind could be older than the row.
fn winners(epoch: &Epoch, chunks: &[&mut Parsed]) -> Vec<(usize, usize)> {
    let records = chunks.iter().map(|chunk| chunk.records.len()).sum();
    let mut winners: HashMap<&Key, (usize, usize)> = HashMap::with_capacity(records);
    for (chunk, parsed) in chunks.iter().enumerate() {
        if parsed.entry.object < epoch.base {
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

/// A chunk with its records as they were judged; those that claimed nothing are superseded.
fn rows_of(
    chunk: &mut Parsed,
    verdicts: &[Option<Verdict>],
    outdone_by: Vec<OutdoneBy>,
) -> ChunkRows {
    let mut rows = ChunkRows {
        entry: chunk.entry.clone(),
        rows: Vec::with_capacity(verdicts.len()),
        unchanged: 0,
        superseded: chunk.superseded,
        rejected: chunk.rejected.clone(),
        blank: chunk.blank,
        outdone_by,
    };
    for (record, verdict) in chunk.take_records().into_iter().zip(verdicts) {
        match verdict {
            Some(Verdict::Unchanged) => rows.unchanged += 1,
            Some(Verdict::Superseded(_)) | None => rows.superseded += 1,
            Some(verdict) => rows.rows.push(Judged {
                row: record.row,
                position: record.position,
                if_changed: *verdict == Verdict::WriteIfChanged,
            }),
        }
    }
    rows
}
