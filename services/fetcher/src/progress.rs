//! A progress bar per object, on a terminal.

use std::{collections::HashMap, io::IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jetline_store::{
    Catalog, ObjectState as State,
    catalog::objects::{Filter, ObjectStatus},
};

use crate::terminal::escaped_file_name;

/// The most objects that are shown.
const MAX_BARS: u64 = 8;

/// The progress bars of the objects that are being loaded.
pub(crate) struct Progress {
    bars: MultiProgress,
    shown: HashMap<i64, ProgressBar>,
}

impl Progress {
    /// Progress bars, if stderr is a terminal.
    pub(crate) fn on_terminal() -> Option<Self> {
        std::io::stderr()
            .is_terminal()
            .then(|| Self { bars: MultiProgress::new(), shown: HashMap::new() })
    }

    /// Draws the progress of the active objects; an error of the ledger is ignored.
    pub(crate) async fn draw(&mut self, catalog: &Catalog) {
        let mut active = Vec::new();
        for state in [State::Reading, State::Loading] {
            let filter = Filter { state: Some(state), ..Filter::default() };
            active.extend(catalog.objects(&filter, None, MAX_BARS).await.unwrap_or_default());
        }
        self.shown.retain(|id, bar| {
            let is_active = active.iter().any(|object| object.id == *id);
            if !is_active {
                bar.finish_and_clear();
            }
            is_active
        });
        for object in active {
            self.bar(&object);
        }
    }

    fn bar(&mut self, object: &ObjectStatus) {
        let bar = self.shown.entry(object.id).or_insert_with(|| {
            let name = escaped_file_name(&object.uri);
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

    /// Removes the bars.
    pub(crate) fn clear(&mut self) {
        self.shown.clear();
        // A closed terminal shows nothing.
        let _ = self.bars.clear();
    }
}
