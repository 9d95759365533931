//! Dead-lettered chunks, and objects that are replayed.

use std::num::NonZeroU32;

use jetline_core::ObjectId;
use jetline_store::{
    chunks::SuspectAction,
    objects::{ExistingVersion, Replay, ReplayOutcome},
};
use rand::Rng;

use super::{rule::Rule, simulation::Simulation};

impl Simulation<'_> {
    /// Replays an object. Without [`Rule::Behind`], only the object itself is read again.
    pub(crate) async fn replay(&mut self, object: i64) {
        self.log.push(format!("replay object {object}"));
        if self.without == Some(Rule::Behind) {
            for sql in [
                format!("DELETE FROM chunks WHERE object_id = {object}"),
                format!(
                    "UPDATE objects SET state = 'registered', error = NULL, total_bytes = NULL, total_lines = NULL,
                         folded_bytes = 0, inserted = 0, updated = 0, deleted = 0, unchanged = 0, superseded = 0, rejected = 0
                     WHERE id = {object}"
                ),
            ] {
                self.servers.sql(&sql).await;
            }
            return;
        }
        let stored = self.objects().await.into_iter().map(|object| ExistingVersion {
            root: object.root,
            key: object.key,
            etag: object.etag,
        });
        let replay = Replay {
            from: ObjectId::new(object).unwrap(),
            stored: &stored.collect(),
            incarnation: &format!("{:016x}", self.randomness.random::<u64>()),
            chunk_bytes: 1,
            chunk_lines: NonZeroU32::MAX,
            max_line_bytes: 1,
            rewrite: false,
        };
        let outcome = self.servers.ledger.objects.replay(&replay).await.unwrap();
        assert!(matches!(outcome, ReplayOutcome::Opened(_)), "{outcome:?}");
        let bound = self.objects().await.into_iter().filter(|other| other.id >= object);
        assert!(bound.into_iter().all(|object| object.declaration == self.current));
    }

    /// Dead-letters a chunk of a file.
    pub(crate) async fn dead_letter_chunk(&mut self, file: usize, part: usize) {
        let mut messages = self.queue.iter();
        let message = messages.position(|message| (message.file, message.part) == (file, part));
        assert!(self.dead_letter(message.unwrap()).await);
    }

    /// Delivers a message beyond the limit of attempts; returns whether its chunk is dead then, which it is not where
    /// it was committed or its object has ended.
    pub(crate) async fn dead_letter(&mut self, message: usize) -> bool {
        let message = self.queue.remove(message);
        let range = message.chunk.range();
        let mut suspicion = SuspectAction::Retry;
        for _ in 0..2 {
            suspicion = self.servers.ledger.chunks.suspect(&range, 1).await.unwrap();
        }
        let dead = suspicion == SuspectAction::DeadLetter;
        if dead {
            let (part, file) = (message.part, message.file);
            self.log.push(format!("chunk {part} of file {file} is dead-lettered"));
        } else {
            self.queue.push(message);
        }
        dead
    }
}
