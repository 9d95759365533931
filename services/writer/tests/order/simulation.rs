//! A simulated deployment: files, a queue, writers, and the steps and faults of a schedule.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use jetline_core::{EpochId, ObjectId, ObjectVersion};
use jetline_dedup::Dedup;
use jetline_queue::Chunk;
use jetline_store::{
    entities::objects,
    objects::{LeaseLimits, NewObject, ReadOutcome},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sea_orm::{EntityTrait, QueryOrder};

use super::{
    declarations::{Dataset, Declaration, Kind},
    files::File,
    rule::Rule,
    servers::Servers,
    writer::{Message, Writer},
};

pub(crate) const WRITERS: usize = 3;

const ROOT: &str = "file:///files";
const FETCHER: &str = "fetcher";
const LEASE_TERM: Duration = Duration::from_hours(1);
const ONE_OBJECT: LeaseLimits = LeaseLimits { objects: 1, bytes: 0 };

pub(crate) struct Simulation<'a> {
    pub(super) servers: &'a Servers,
    pub(super) kind: Kind,
    /// The declarations of the dataset by their numbers in the ledger.
    pub(super) declarations: BTreeMap<i64, Declaration>,
    /// The number of the one that objects are bound to when they are registered or replayed.
    pub(super) current: i64,
    pub(super) without: Option<Rule>,
    pub(crate) files: Vec<File>,
    pub(crate) queue: Vec<Message>,
    pub(crate) writers: Vec<Writer>,
    dedup: Arc<dyn Dedup>,
    pub(super) randomness: StdRng,
    backed_up: bool,
    /// The steps so far, for the message of a failed test.
    pub(crate) log: Vec<String>,
}

impl<'a> Simulation<'a> {
    /// Begins with an empty database, dedup store and queue.
    pub(crate) async fn new(
        servers: &'a Servers,
        Dataset { kind, declaration, files }: Dataset,
        without: Option<Rule>,
        seed: u64,
    ) -> Self {
        servers.clear(&kind, &declaration).await;
        let dedup = servers.store.dedup(without);
        let log = vec![format!("declaration 1 of {kind:?} is {declaration:?}")];
        let mut simulation = Self {
            servers,
            kind,
            declarations: [(1, declaration)].into(),
            current: 1,
            without,
            files,
            queue: Vec::new(),
            writers: Vec::new(),
            dedup,
            randomness: StdRng::seed_from_u64(seed),
            backed_up: false,
            log,
        };
        for _ in 0..WRITERS {
            let writer = simulation.new_writer();
            simulation.writers.push(writer);
        }
        simulation
    }

    fn new_writer(&mut self) -> Writer {
        let seed = self.randomness.random();
        Writer::start(&self.servers.ledger, &self.dedup, seed)
    }

    /// Registers a file; returns whether it is new to the ledger.
    pub(crate) async fn register(&mut self, file: usize) -> bool {
        let object = NewObject {
            is_posted: false,
            incarnation: format!("{:016x}", self.randomness.random::<u64>()),
            dataset: self.kind.table(),
            version: ObjectVersion {
                root: ROOT.to_owned(),
                key: file.to_string(),
                etag: "e".to_owned(),
                size: 1,
                last_modified: chrono::DateTime::UNIX_EPOCH,
            },
            chunk_bytes: 1,
            chunk_lines: NonZeroU32::MAX,
            max_line_bytes: 1,
        };
        let new = self.servers.ledger.objects.register(&[object]).await.unwrap() == 1;
        if new {
            let number = self.current;
            self.log.push(format!("register file {file} with declaration {number}"));
            let registered = self.objects().await.pop().unwrap();
            assert_eq!(registered.declaration, number);
        }
        new
    }

    /// Leases the oldest free object and publishes its missing chunks; with a limit, the fetcher crashes after so many
    /// chunks. Returns whether there was one.
    pub(crate) async fn read(&mut self, limit: Option<usize>) -> bool {
        let ledger = &self.servers.ledger;
        let roots = [ROOT.to_owned()];
        let leased = ledger.objects.lease(FETCHER, &roots, LEASE_TERM, ONE_OBJECT).await.unwrap();
        let Some(object) = leased.into_iter().next() else {
            return false;
        };
        let id = object.id;
        let settled = ledger.objects.settled().await.unwrap().min(id);
        let total = object.total_bytes;
        let mut gaps = ledger.objects.gaps(&[(id, total)]).await.unwrap();
        let gaps = gaps.remove(0).unwrap();
        let file: usize = object.version.key.parse().unwrap();
        self.log
            .push(format!("read file {file} as object {id}, up to {limit:?}, settled {settled}"));
        let parts = self.files[file].parts(&self.kind);
        let bytes = parts.last().unwrap().end;
        let lines = parts.iter().map(|part| u64::from(part.lines)).sum();
        let missing = parts.into_iter().enumerate().filter(|(_, part)| {
            gaps.iter()
                .any(|gap| gap.start <= part.start && gap.end.is_none_or(|end| part.start < end))
        });
        for (part, at) in missing.take(limit.unwrap_or(usize::MAX)) {
            let chunk = Chunk {
                object: id,
                incarnation: object.incarnation.clone(),
                dataset: object.dataset.clone(),
                declaration: object.declaration,
                format: self.kind.format(),
                header: self.kind.header().into(),
                modified_at: None,
                is_redacted: false,
                start: at.start,
                end: at.end,
                first_line: at.first_line,
                lines: at.lines,
                oversized: false,
                settled,
                read_attempt: String::new(),
                trace: None,
                body: at.body,
            };
            self.queue.push(Message { file, part, chunk });
        }
        if limit.is_some() {
            ledger.objects.release(&[id], FETCHER).await.unwrap();
        } else {
            let outcome = ReadOutcome::EndReached { bytes, lines, error: None };
            let finished = ledger.objects.record_outcomes(&[(id, outcome)], FETCHER).await;
            assert_eq!(finished.unwrap(), 1);
        }
        true
    }

    /// Has the loading objects read again of which no chunk is in flight.
    pub(crate) async fn reconcile(&mut self) {
        for one in self.servers.ledger.objects.loading().await.unwrap() {
            let received = self.writers.iter().flat_map(|writer| &writer.messages);
            let mut in_flight = self.queue.iter().chain(received);
            if !in_flight.any(|message| message.chunk.object == one.object) {
                self.reread(one.object).await;
            }
        }
    }

    /// Has an object read again, even if chunks of it are in flight.
    pub(crate) async fn reread(&mut self, object: ObjectId) {
        if self.servers.ledger.objects.reread(&[object]).await.unwrap() == [object] {
            self.log.push(format!("have object {object} read again"));
        }
    }

    pub(crate) async fn settle(&mut self) {
        let next = EpochId::random(&mut self.randomness);
        let ended = self.servers.ledger.objects.settle(next, None).await.unwrap();
        if !ended.is_empty() {
            self.log.push(format!("settle {ended:?}"));
        }
    }

    /// Declares the dataset with another declaration.
    pub(crate) async fn declare(&mut self, declaration: Declaration) {
        let file = self.kind.file(&declaration);
        self.servers.ledger.database().declare(&[file]).await.unwrap();
        self.current = self.last_declaration().await;
        self.log.push(format!("declaration {} is {declaration:?}", self.current));
        self.declarations.insert(self.current, declaration);
    }

    async fn last_declaration(&self) -> i64 {
        let datasets = self.servers.ledger.database().datasets().await.unwrap();
        datasets.get(&self.kind.table()).unwrap().declaration
    }

    /// A writer receives a message, unless those that it has are of another declaration.
    pub(crate) fn receive(&mut self, writer: usize, message: usize) {
        let declaration = self.queue[message].chunk.declaration;
        let mut received = self.writers[writer].messages.iter();
        if received.any(|other| other.chunk.declaration != declaration) {
            return;
        }
        let message = self.queue.remove(message);
        self.log.push(format!(
            "writer {writer} receives chunk {} of file {}, object {}",
            message.part, message.file, message.chunk.object
        ));
        let messages = &mut self.writers[writer].messages;
        let is_same = |other: &Message| other.chunk.range() == message.chunk.range();
        if !messages.iter().any(is_same) {
            messages.push(message);
        }
    }

    pub(crate) async fn advance(&mut self, writer: usize) {
        let one = &mut self.writers[writer];
        let before = one.stage();
        one.advance(self.servers, self.without).await;
        self.undo_forget().await;
        self.undo_deletes().await;
        let after = self.writers[writer].stage();
        self.log.push(format!("writer {writer}: {before} to {after}"));
    }

    /// A writer receives a chunk of a file and claims it, in a new epoch where needed.
    pub(crate) async fn claim(&mut self, writer: usize, file: usize, part: usize) {
        let mut messages = self.queue.iter();
        let message = messages.position(|message| (message.file, message.part) == (file, part));
        self.receive(writer, message.unwrap());
        while self.writers[writer].stage() == "received" {
            self.advance(writer).await;
        }
    }

    /// A writer commits what it has claimed, or finds that it has to claim again.
    pub(crate) async fn commit(&mut self, writer: usize) {
        while self.writers[writer].stage() == "claimed" {
            self.advance(writer).await;
        }
        if self.writers[writer].stage() == "committed" {
            self.advance(writer).await;
        }
    }

    /// A writer receives a chunk of a file and takes it through all steps.
    pub(crate) async fn load(&mut self, writer: usize, file: usize, part: usize) {
        self.claim(writer, file, part).await;
        while !self.writers[writer].is_idle() {
            self.advance(writer).await;
        }
    }

    /// Loads everything that is left, in order and without faults.
    pub(crate) async fn finish(&mut self) {
        for file in 0..self.files.len() {
            self.register(file).await;
        }
        loop {
            for writer in 0..WRITERS {
                while !self.writers[writer].is_idle() {
                    self.advance(writer).await;
                }
            }
            if !self.queue.is_empty() {
                self.receive(0, 0);
                continue;
            }
            self.settle().await;
            self.reconcile().await;
            if !self.read(None).await {
                return;
            }
        }
    }

    /// A writer crashes: its messages in flight are redelivered.
    pub(crate) fn crash(&mut self, writer: usize) {
        self.log.push(format!("writer {writer} crashes"));
        let new = self.new_writer();
        let dead = std::mem::replace(&mut self.writers[writer], new);
        self.queue.extend(dead.messages);
    }

    /// The messages in flight of a writer are redelivered to others.
    pub(crate) fn duplicate(&mut self, writer: usize) {
        self.log.push(format!("the messages of writer {writer} are redelivered"));
        let messages = self.writers[writer].messages.clone();
        self.queue.extend(messages);
    }

    pub(crate) fn wipe_dedup(&mut self) {
        self.log.push("the dedup store is wiped".to_owned());
        self.servers.store.lose();
    }

    pub(crate) fn wipe_queue(&mut self) {
        self.log.push("the queue is wiped".to_owned());
        self.queue.clear();
    }

    pub(crate) async fn back_up(&mut self) {
        self.log.push("the database is backed up".to_owned());
        self.servers.back_up().await;
        self.backed_up = true;
    }

    pub(crate) async fn restore(&mut self) {
        if self.backed_up {
            self.log.push("the database is restored".to_owned());
            let hidden = self.without == Some(Rule::Restart);
            self.servers.restore(hidden).await;
            self.current = self.last_declaration().await;
        }
    }

    /// Without [`Rule::Forget`], takes back that a new epoch forgets chunks.
    async fn undo_forget(&self) {
        if self.without == Some(Rule::Forget) {
            let sql = "UPDATE chunks SET state = 'committed' WHERE state = 'forgotten'";
            self.servers.sql(sql).await;
        }
    }

    /// Without [`Rule::Tombstone`], a delete removes the row.
    async fn undo_deletes(&self) {
        if self.without == Some(Rule::Tombstone) {
            let sql = format!("DELETE FROM {} WHERE jetline_deleted", self.kind.table());
            self.servers.sql(&sql).await;
        }
    }

    pub(crate) async fn objects(&self) -> Vec<objects::Model> {
        let db = self.servers.ledger.database().connection();
        let all = objects::Entity::find().order_by_asc(objects::Column::Id);
        all.all(db).await.unwrap()
    }
}
