//! What templates show, as texts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jetline_runtime::human;
use jetline_store::{ObjectState as State, catalog::objects::ObjectStatus};

/// An object.
pub(super) struct ObjectRow {
    pub(super) id: i64,
    pub(super) uri: String,
    /// The last segment of its address.
    pub(super) name: String,
    pub(super) dataset: String,
    pub(super) etag: String,
    /// Its state, as a class of the style sheet.
    pub(super) state: &'static str,
    pub(super) label: &'static str,
    pub(super) error: Option<String>,
    /// Its size, as stored.
    pub(super) bytes: String,
    pub(super) lines: String,
    pub(super) counts: [String; 6],
    /// None once it has ended.
    pub(super) progress: Option<Progress>,
    pub(super) may_be_dismissed: bool,
    pub(super) registered_at: String,
    pub(super) done_at: Option<String>,
}

/// How far an open object is.
pub(super) struct Progress {
    /// The read part; unknown for a compressed object of which nothing was read yet.
    pub(super) read_percent: Option<i64>,
    /// The committed part.
    pub(super) percent: Option<i64>,
    pub(super) text: String,
}

impl ObjectRow {
    /// `rate` is the number of bytes that are committed of it in a second.
    pub(super) fn new(object: &ObjectStatus, rate: Option<f64>) -> Self {
        let (state, label) = match object.state {
            State::Registered => ("registered", "registered"),
            State::Reading => ("reading", "being read"),
            State::Loading => ("loading", "read, being committed"),
            State::Done => ("done", "done"),
            State::Failed if object.dismissed => ("ignored", "failed, dismissed"),
            State::Failed => ("failed", "failed"),
        };
        let is_open = !matches!(object.state, State::Done | State::Failed);
        Self {
            id: object.id,
            uri: object.uri.clone(),
            name: object.uri.rsplit('/').next().unwrap_or_default().to_owned(),
            dataset: object.dataset.clone(),
            etag: object.etag.clone(),
            state,
            label,
            error: object.error.clone(),
            bytes: human::bytes(object.bytes),
            lines: human::count(object.lines()),
            counts: [
                object.inserted,
                object.updated,
                object.deleted,
                object.unchanged,
                object.superseded,
                object.rejected,
            ]
            .map(human::count),
            progress: is_open.then(|| Progress::of(object, rate)),
            may_be_dismissed: !object.dismissed
                && (object.state == State::Failed || (is_open && object.error.is_some())),
            registered_at: time(object.registered_at),
            done_at: object.done_at.map(time),
        }
    }
}

impl Progress {
    fn of(object: &ObjectStatus, rate: Option<f64>) -> Self {
        let committed = human::bytes(object.committed_bytes);
        let Some(total) = object.estimated_bytes() else {
            return Self { read_percent: None, percent: None, text: committed };
        };
        let percent = |bytes: i64| (bytes.saturating_mul(100) / total.max(1)).clamp(0, 100);
        let read = object.read_bytes.max(object.committed_bytes);
        let about =
            if object.total_bytes.is_none() && total != object.bytes { "about " } else { "" };
        let mut text = format!("{committed} of {about}{}", human::bytes(total));
        if read > object.committed_bytes && read < total {
            text.extend([", ", &human::bytes(read), " read"]);
        }
        if let Some(left) = time_left(total - object.committed_bytes, rate) {
            text += ", ";
            text += &human::clock(left);
            text += " left";
        }
        let percents = [read, object.committed_bytes].map(percent);
        Self { read_percent: Some(percents[0]), percent: Some(percents[1]), text }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn time_left(bytes: i64, rate: Option<f64>) -> Option<Duration> {
    let rate = rate.filter(|rate| *rate > 0.0)?;
    Duration::try_from_secs_f64(bytes.max(0) as f64 / rate).ok()
}

/// A time to the second.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The beginning of a text on one line.
pub(super) fn beginning(text: &str, chars: usize) -> String {
    let mut line: String = text.chars().take(chars).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}
