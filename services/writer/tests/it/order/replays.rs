//! Chunks that are given up, and objects that are replayed.

use std::num::NonZeroU32;

use jetline_records::ObjectId;
use jetline_store::ledger::{Replay, ReplayOutcome, Stored, Suspicion};
use jetline_writer::parse;
use rand::Rng;

use super::{rule::Rule, world::World};

impl World<'_> {
    /// Replays an object. Without the rule, it alone is read again.
    pub(crate) async fn replay(&mut self, object: i64) {
        self.log.push(format!("replay object {object}"));
        if self.without == Some(Rule::Behind) {
            for sql in [
                format!("DELETE FROM chunks WHERE object_id = {object}"),
                format!(
                    "UPDATE objects SET state = 'registered', error = NULL, total_bytes = NULL, total_lines = NULL,
                         folded_bytes = 0, inserted = 0, updated = 0, unchanged = 0, superseded = 0, rejected = 0
                     WHERE id = {object}"
                ),
            ] {
                self.place.sql(&sql).await;
            }
            return;
        }
        let stored = self.objects().await.into_iter().map(|object| Stored {
            root: object.root,
            key: object.key,
            etag: object.etag,
        });
        let replay = Replay {
            from: ObjectId::new(object).unwrap(),
            stored: &stored.collect(),
            registration: &format!("{:016x}", self.randomness.random::<u64>()),
            chunk_bytes: 1,
            chunk_lines: NonZeroU32::MAX,
            max_line_bytes: 1,
            rewrite: false,
        };
        let outcome = self.place.ledger.replay(&replay).await.unwrap();
        assert!(matches!(outcome, ReplayOutcome::Opened(_)), "{outcome:?}");
    }

    /// A chunk of a file is given up.
    pub(crate) async fn give_up_chunk(&mut self, file: usize, part: usize) {
        let mut messages = self.queue.iter();
        let message = messages.position(|message| (message.file, message.part) == (file, part));
        assert!(self.give_up(message.unwrap()).await);
    }

    /// A message is delivered for the last of too many times; says whether its chunk is given up, as it is not when it was
    /// committed or its object has ended.
    pub(crate) async fn give_up(&mut self, message: usize) -> bool {
        let message = self.queue.remove(message);
        let entry = parse::entry(&message.chunk);
        let mut suspicion = Suspicion::Try;
        for _ in 0..2 {
            suspicion = self.place.ledger.suspect(&entry, 1).await.unwrap();
        }
        let dead = suspicion == Suspicion::Dead;
        if dead {
            let (part, file) = (message.part, message.file);
            self.log
                .push(format!("chunk {part} of file {file} is given up"));
        } else {
            self.queue.push(message);
        }
        dead
    }
}
