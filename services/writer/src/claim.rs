//! From parsed chunks to judged ones: what of them is to be written.

use std::collections::HashMap;

use jetline_dedup::{Claim, Claimed, Dedup, Error};
use jetline_records::{Epoch, Key, ObjectId, Verdict};
use jetline_store::{ChunkRows, Judged};

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
    let verdicts = match dedup.claim(&epoch.id, trusted, dataset, &claims).await? {
        Claimed::Verdicts(verdicts) => verdicts,
        Claimed::Lost => return Ok(None),
    };
    let mut judged: Vec<Vec<Option<Verdict>>> = chunks
        .iter()
        .map(|chunk| vec![None; chunk.records.len()])
        .collect();
    for ((chunk, record), verdict) in winners.into_iter().zip(verdicts) {
        judged[chunk][record] = Some(verdict);
    }
    let rows = chunks.iter_mut().zip(judged);
    Ok(Some(
        rows.map(|(chunk, verdicts)| rows_of(chunk, &verdicts))
            .collect(),
    ))
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
fn rows_of(chunk: &mut Parsed, verdicts: &[Option<Verdict>]) -> ChunkRows {
    let mut rows = ChunkRows {
        entry: chunk.entry.clone(),
        rows: Vec::with_capacity(verdicts.len()),
        unchanged: 0,
        superseded: chunk.superseded,
        rejected: chunk.rejected.clone(),
        blank: chunk.blank,
    };
    for (record, verdict) in chunk.take_records().into_iter().zip(verdicts) {
        match verdict {
            Some(Verdict::Unchanged) => rows.unchanged += 1,
            Some(Verdict::Superseded) | None => rows.superseded += 1,
            Some(verdict) => rows.rows.push(Judged {
                row: record.row,
                position: record.position,
                if_changed: *verdict == Verdict::WriteIfChanged,
            }),
        }
    }
    rows
}
