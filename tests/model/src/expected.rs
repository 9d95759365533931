//! What a table has to contain at the end.

use std::cmp::Reverse;

use jetline_core::Rank;

use crate::{
    Rules,
    input::{Content, Fault, File, Line, Scenario, first_line, rank},
    ledger::{Chunk, ChunkState, Ledger, Object, ObjectState},
    rule::Rule,
};

/// A line that may be the content of a row.
struct Candidate {
    rank: Rank,
    content: Content,
    /// The row may also have what it had without this line.
    is_optional: bool,
}

/// Compares the table with the fold over the accepted lines of committed chunks, and the counts with the lines.
///
/// Some lines may be there or not: those of a chunk that was committed, was to be committed again in a new epoch or a
/// replay, and is not, as it wrote its rows the first time; those of an object that cannot be read any more; and those that a line of
/// their own object may have superseded which was never committed, where too many lines were rejected (decision 6).
pub(crate) fn check(ledger: &Ledger, scenario: &Scenario, rules: Rules) -> Result<(), String> {
    for (key, row) in (0..).zip(&ledger.rows) {
        let found = row.map(|row| row.content);
        let expected = expected(ledger, scenario, key);
        let gone = !rules.has(Rule::Tombstone) && found.is_none();
        let is_right =
            expected.contains(&found) || (gone && expected.contains(&Some(Content::Delete)));
        if !is_right {
            let name = char::from(b'x' + key);
            let text = |content: Option<Content>| content.map_or("no row", Content::text);
            return Err(format!("{name} has {}, not {}", text(found), text(expected[0])));
        }
    }
    for (number, object) in (1..).zip(&ledger.objects) {
        let mut chunks = object.chunks.iter();
        let is_whole = chunks.all(|chunk| chunk.state == ChunkState::Committed);
        if object.state == ObjectState::Done && !is_whole {
            return Err(format!("{number} is done without all of its chunks"));
        }
    }
    if ledger.ended_in_vain {
        return Err("an epoch ended because of a chunk that had no claims in it".to_owned());
    }
    if scenario.counts { check_counts(ledger, scenario) } else { Ok(()) }
}

/// The contents that the row of an id may have; the fold first.
fn expected(ledger: &Ledger, scenario: &Scenario, key: u8) -> Vec<Option<Content>> {
    let mut candidates = candidates(ledger, scenario, key);
    candidates.sort_by_key(|candidate| Reverse(candidate.rank));
    let mut contents = Vec::new();
    for Candidate { content, is_optional, .. } in candidates {
        contents.push(Some(content));
        if !is_optional {
            return contents;
        }
    }
    contents.push(None);
    contents
}

fn candidates(ledger: &Ledger, scenario: &Scenario, key: u8) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (number, object) in (1..).zip(&ledger.objects) {
        let file = &scenario.files[usize::from(object.file)];
        for (at, chunk) in (0..).zip(&object.chunks) {
            let is_committed = chunk.state == ChunkState::Committed;
            if !is_committed && !chunk.was_committed {
                continue;
            }
            let first = first_line(file, at);
            for (line, of) in (first..).zip(&file[usize::from(at)]) {
                if of.key == key && !matches!(of.content, Content::Refused | Content::Invalid) {
                    candidates.push(Candidate {
                        rank: rank(number, line, of.version),
                        content: of.content,
                        is_optional: is_inexact(object, chunk, file, (line, *of)),
                    });
                }
            }
        }
    }
    candidates
}

fn is_inexact(object: &Object, chunk: &Chunk, file: &File, (line, of): (u8, Line)) -> bool {
    if object.state != ObjectState::Failed {
        return false;
    }
    // A replay takes the counts away; what a new epoch is to commit again has them.
    if chunk.state == ChunkState::Dead || !chunk.has_counts {
        return true;
    }
    // A line of its own that was never committed may have superseded it.
    let mut own = (0..)
        .zip(&object.chunks)
        .filter(|(_, own)| !own.has_counts && own.state != ChunkState::Dead);
    let is_superseded = own.any(|(at, _)| {
        let mut lines = (first_line(file, at)..).zip(&file[usize::from(at)]);
        let is_higher = |at, own: &Line| (own.version, at) > (of.version, line);
        lines.any(|(at, own)| own.key == of.key && is_higher(at, own))
    });
    object.unreadable || is_superseded
}

/// Every line of a committed chunk has one count, and as many were inserted as there are rows.
fn check_counts(ledger: &Ledger, scenario: &Scenario) -> Result<(), String> {
    let mut inserted = 0;
    for (number, object) in (1..).zip(&ledger.objects) {
        let of_chunks = object.chunks.iter().flat_map(|chunk| chunk.counts);
        let counted: u8 = of_chunks.chain(object.folded_counts).sum();
        let committed = object.chunks.iter().filter(|chunk| chunk.state == ChunkState::Committed);
        let lines: u8 = committed.map(|chunk| chunk.lines).sum();
        if object.state == ObjectState::Done && counted != lines {
            return Err(format!("{counted} lines of {number} are counted, and it has {lines}"));
        }
        inserted += usize::from(object.folded_counts[0]);
        inserted += object.chunks.iter().map(|chunk| usize::from(chunk.counts[0])).sum::<usize>();
    }
    if scenario.allows(Fault::Replay) {
        // What a replay reads again is unchanged.
        return Ok(());
    }
    let rows = ledger.rows.iter().flatten().count();
    let deletes = scenario.files.iter().flatten().flatten();
    let deletes = deletes.filter(|line| line.content == Content::Delete).count();
    if inserted > rows || (deletes == 0 && inserted < rows) {
        return Err(format!("{inserted} lines were inserted, and there are {rows} rows"));
    }
    Ok(())
}
