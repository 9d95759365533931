//! Compares the database with the oracle at the end of a run: rows, rejected lines and counts.

use std::collections::BTreeSet;

use jetline_oracle::{
    Declaration, Expected,
    database_state::{Difference, Kind, Object},
    ledger::Ledger,
};
use serde::{Deserialize, Serialize};

use crate::kinds;

use super::{
    plan::{Mode, Plan},
    refusal::Refusal,
};

/// The result of the comparison.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Lines whose outcome was compared.
    pub(crate) lines: u64,
    /// Lines that the database refused.
    pub(crate) refused: u64,
    /// Rows, rejected lines and counted lines that are missing.
    pub(crate) lost: u64,
    /// Lines that were counted or stored twice.
    pub(crate) doubled: u64,
    /// Rows and rejected lines with wrong content, and other errors.
    pub(crate) wrong: u64,
    /// The first findings.
    pub(crate) findings: Vec<String>,
}

/// The most findings that are reported.
const MAX_FINDINGS: usize = 90;

/// The maximum length of a finding, in characters.
const MAX_FINDING_CHARS: usize = 600;

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.lost + self.doubled + self.wrong == 0
    }

    fn add(&mut self, differences: impl IntoIterator<Item = Difference>) {
        for Difference { kind, lines, what } in differences {
            let count = match kind {
                Kind::Lost => &mut self.lost,
                Kind::Doubled => &mut self.doubled,
                Kind::Wrong => &mut self.wrong,
            };
            *count += lines;
            self.find(&what);
        }
    }

    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrong += 1;
        self.find(&what.into());
    }

    pub(crate) fn find(&mut self, what: &str) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(what.chars().take(MAX_FINDING_CHARS).collect());
        }
    }
}

/// Compares a database with the expected result of the plan's files.
pub(crate) async fn compare(
    ledger: &Ledger,
    plan: &Plan,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let state = ledger.state().await?;
    let bound = "SELECT d.declaration AS text FROM objects o JOIN declarations d ON d.number = o.declaration ORDER BY o.id";
    let bound = ledger.texts(bound).await?;
    let Some(expected) = expected(plan, &state.objects, &bound, verdict) else {
        return Ok(());
    };
    verdict.lines = expected.all_lines.iter().map(|lines| lines.unsigned_abs()).sum();
    let is_changed = |object: &Object| is_changed(object, plan);
    verdict.add(state.not_done(is_changed));
    verdict.add(state.not_accounted_for(&expected, is_changed));
    let rejects = state.rejects.iter();
    let refused = rejects.filter(|(reject, _)| reject.reason.ends_with("_by_database"));
    verdict.refused = refused.count() as u64;
    verdict.add(state.not_inserted());
    if plan.mode != Mode::Embedded {
        let sql = "SELECT CAST(deadlocks AS TEXT) AS text FROM pg_stat_database
             WHERE datname = current_database() AND deadlocks > 0";
        for deadlocks in ledger.texts(sql).await? {
            verdict.wrong(format!("the writers were in {deadlocks} deadlocks"));
        }
    }
    Ok(())
}

/// The expected result: the fold over the objects in the order of their listing, each by the declaration that it is bound to.
fn expected(
    plan: &Plan,
    objects: &[Object],
    bound: &[String],
    verdict: &mut Verdict,
) -> Option<Expected> {
    let mut expected = Expected::refusing(plan.refusal.map(Refusal::expected));
    let mut missing: BTreeSet<&str> = plan.files.iter().map(|file| file.key.as_str()).collect();
    for (object, declaration) in objects.iter().zip(bound) {
        let place = plan.files.iter().position(|file| file.key == object.key);
        let Some(place) = place.filter(|place| plan.files[*place].dataset == object.dataset) else {
            verdict.wrong(format!("there is no such object: {object:?}"));
            return None;
        };
        let file = &plan.files[place];
        let is_first = missing.remove(object.key.as_str());
        let content = match &plan.changing {
            Some(changing) if !is_first => &changing.new.content,
            _ if !is_first => {
                verdict.wrong(format!("registered twice: {object:?}"));
                return None;
            }
            _ => &file.content,
        };
        let is_current =
            |(name, text): (&str, String)| name == file.dataset && text == *declaration;
        let mut current = kinds::declarations(true, plan.couriers > 0);
        if place >= plan.before_change && !current.any(is_current) {
            verdict.wrong(format!("read by an old declaration: {object:?}"));
        }
        expected.add(&Declaration::read(file.dataset, declaration), file.format, content);
    }
    if !missing.is_empty() {
        verdict.add([Difference {
            kind: Kind::Lost,
            lines: missing.len() as u64,
            what: format!("never registered: {missing:?}"),
        }]);
        return None;
    }
    Some(expected)
}

/// Whether an object was overwritten or deleted while it was read: then only part of it was read.
fn is_changed(object: &Object, plan: &Plan) -> bool {
    let changing = plan.changing.as_ref();
    object.state == "failed"
        && changing.is_some_and(|changing| plan.files[changing.file].key == object.key)
}

/// The state of a run that does not end: its objects, and the activity of the database.
pub(crate) async fn diagnose(ledger: &Ledger) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT concat_ws(' ', 'object', o.id, o.key, o.state, 'readings', o.readings, 'lease', o.lease_owner,
             'bytes', o.total_bytes, 'chunks', (SELECT count(*) FROM chunks c WHERE c.object_id = o.id)) AS text
         FROM objects o
         UNION ALL SELECT concat_ws(' ', 'epoch', id, 'base', base, 'recovery', recovery, mode) FROM epoch
         UNION ALL SELECT concat_ws(' ', 'session', pid, state, wait_event_type, wait_event,
             'for', round(extract(epoch FROM clock_timestamp() - state_change)), 's', left(query, 70))
         FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    Ok(ledger.texts(sql).await?)
}

/// Whether there are open objects whose read was refused.
pub(crate) async fn has_refused(ledger: &Ledger) -> anyhow::Result<bool> {
    let sql = "SELECT key AS text FROM objects WHERE state = 'registered' AND refusals > 0 LIMIT 1";
    Ok(!ledger.texts(sql).await?.is_empty())
}
