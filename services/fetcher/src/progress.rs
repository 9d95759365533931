//! A progress bar per object, on a terminal.

use std::{collections::HashMap, io::IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jetline_store::{
    Ledger,
    entities::objects::State,
    read::objects::{self, Filter, ObjectStatus},
};

use crate::terminal::name;

/// How many objects are shown at once.
const SHOWN: u64 = 8;

/// The bars of the objects that are being loaded.
pub(crate) struct Progress {
    bars: MultiProgress,
    shown: HashMap<i64, ProgressBar>,
}

impl Progress {
    /// Bars on the terminal, if there is one.
    pub(crate) fn on_terminal() -> Option<Self> {
        std::io::stderr().is_terminal().then(|| Self {
            bars: MultiProgress::new(),
            shown: HashMap::new(),
        })
    }

    /// Draws how far the objects are; what cannot be read is not drawn.
    pub(crate) async fn draw(&mut self, ledger: &Ledger) {
        let mut active = Vec::new();
        for state in [State::Reading, State::Loading] {
            let filter = Filter {
                state: Some(state),
                ..Filter::default()
            };
            active.extend(
                objects::list(ledger.connection(), &filter, None, SHOWN)
                    .await
                    .unwrap_or_default(),
            );
        }
        self.shown.retain(|id, bar| {
            let goes_on = active.iter().any(|object| object.id == *id);
            if !goes_on {
                bar.finish_and_clear();
            }
            goes_on
        });
        for object in active {
            self.bar(&object);
        }
    }

    fn bar(&mut self, object: &ObjectStatus) {
        let bar = self.shown.entry(object.id).or_insert_with(|| {
            let name = name(&object.uri);
            let bar = self.bars.add(ProgressBar::no_length()).with_message(name);
            if let Ok(style) = ProgressStyle::with_template(
                "{msg:30!} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}",
            ) {
                bar.set_style(style);
            }
            bar
        });
        let total = object.total_bytes.unwrap_or(object.bytes).cast_unsigned();
        bar.set_length(total.max(object.committed_bytes.cast_unsigned()));
        bar.set_position(object.committed_bytes.cast_unsigned());
    }

    /// Takes the bars away.
    pub(crate) fn clear(&mut self) {
        self.shown.clear();
        // A terminal that is gone shows nothing anyway.
        let _ = self.bars.clear();
    }
}
