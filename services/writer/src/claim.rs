//! From parsed chunks to judged ones: what of them is to be written.

use std::collections::HashMap;

use jetline_dedup::{Claim, Claimed, Dedup, Error};
use jetline_records::{Epoch, Key, ObjectId, Verdict};
use jetline_store::{ChunkRows, Judged};

use crate::parse::Parsed;

/// Judges the records of chunks, all of one dataset, in one claim; nothing where entries of the epoch were lost.
///
/// `settled` is what was settled when the oldest of the chunks was published.
pub async fn claim(
    dedup: &dyn Dedup,
    epoch: &Epoch,
    settled: ObjectId,
    dataset: &str,
    chunks: &[&Parsed],
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
    let mut judged = unclaimed(epoch, chunks);
    for ((chunk, record), verdict) in winners.into_iter().zip(verdicts) {
        let record = &chunks[chunk].records[record];
        let rows = &mut judged[chunk];
        rows.superseded -= 1;
        match verdict {
            Verdict::Unchanged => rows.unchanged += 1,
            Verdict::Superseded => rows.superseded += 1,
            Verdict::Write | Verdict::WriteIfChanged => rows.rows.push(Judged {
                row: record.row.clone(),
                position: record.position,
                if_changed: verdict == Verdict::WriteIfChanged,
            }),
        }
    }
    Ok(Some(judged))
}

/// The highest line of each id over all chunks, as (chunk, record).
///
/// A chunk below the epoch's base was committed before it began: it claims nothing, as the entry that it would leave
/// behind could be older than the row.
fn winners(epoch: &Epoch, chunks: &[&Parsed]) -> Vec<(usize, usize)> {
    let mut winners: HashMap<&Key, (usize, usize)> = HashMap::new();
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

/// The chunks before any of their records was judged: all superseded.
fn unclaimed(epoch: &Epoch, chunks: &[&Parsed]) -> Vec<ChunkRows> {
    let rows = chunks.iter().map(|parsed| ChunkRows {
        entry: parsed.entry.clone(),
        rows: Vec::with_capacity(if parsed.entry.object < epoch.base {
            0
        } else {
            parsed.records.len()
        }),
        unchanged: 0,
        superseded: parsed.superseded + parsed.records.len() as u64,
        rejected: parsed.rejected.clone(),
        blank: parsed.blank,
    });
    rows.collect()
}
