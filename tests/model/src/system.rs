//! The states of a scenario, and the steps between them.

use std::{mem, sync::LazyLock};

use futures::FutureExt;
use jetline_core::{
    ChunkRange, Entry, Epoch as CoreEpoch, EpochId, Key, Mode as CoreMode, ObjectId, Rank,
};
use jetline_datasets::{Dataset, Row as DatasetRow, UnknownFields};
use jetline_dedup::{Dedup, WithoutStore};
use jetline_store::{ChunkRows, RejectedLine, UpsertRow};
use jetline_writer::{
    claim::claim,
    parse::{Parsed, ParsedRecord},
};
use stateright::{Model, Property};

use crate::{
    Mode, Rules,
    expected::check,
    input::{Content, Fault, Scenario, first_line, rank},
    ledger::{
        By, ClaimedChunk, Commit, Epoch, Ledger, Message, NewRow, Object, ObjectState, new_row,
    },
    rule::Rule,
    store::{Claiming, Record, Snapshot, Store, number},
};

/// A scenario and the rules that are in force.
#[derive(Clone, Debug)]
pub struct System {
    /// The scenario.
    pub scenario: Scenario,
    /// The rules.
    pub rules: Rules,
}

/// A state of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    ledger: Ledger,
    backup: Option<Box<Ledger>>,
    store: Store,
    snapshot: Option<Snapshot>,
    /// What the stream has and no writer.
    queue: Vec<Message>,
    writers: Vec<Writer>,
    /// The next id of an epoch, and the next incarnation of objects.
    next: u8,
    /// How many events may still happen.
    faults: u8,
    /// A line that was found unchanged was committed, and the table has not its content.
    trusted_uncommitted: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Writer {
    epoch: Option<Epoch>,
    messages: Vec<Held>,
    stage: Stage,
    /// The objects whose chunks it admitted in its epoch.
    admitted: Vec<(u8, u8)>,
    /// Its next commit rejects what the database refuses, where nothing is claimed.
    rejects: bool,
    /// In order: the chunks that it has read, and has not begun to commit.
    read: Vec<Message>,
    /// In order: how many epochs it began, up to two.
    begun: u8,
}

/// A message of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Held {
    message: Message,
    /// The stream has it as well.
    in_stream: bool,
    /// Lines that the database refused, as bits; used without [`Rule::Refusal`].
    refused: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Stage {
    #[default]
    Received,
    Admitted,
    /// Claimed, with entries that are not stored yet, and the lines that are unchanged.
    Claimed(Vec<ClaimedChunk>, Vec<(u8, Entry)>, Vec<(u8, Rank, Content)>),
    /// The rows are written, and the entries in the ledger are not.
    Written(Vec<ClaimedChunk>),
}

impl PartialOrd for Stage {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Stage {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.number().cmp(&other.number())
    }
}

impl Stage {
    fn number(&self) -> u8 {
        match self {
            Self::Received => 0,
            Self::Admitted => 1,
            Self::Claimed(..) => 2,
            Self::Written(_) => 3,
        }
    }
}

/// A step, or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A file is registered.
    Register(u8),
    /// The missing chunks of an object are published.
    Read(u8),
    /// An object of which the stream has nothing is to be read again.
    Reread(u8),
    /// Objects that are complete end.
    Settle,
    /// An object that cannot be read ends.
    Fail(u8),
    /// A writer receives a message of the queue.
    Receive(u8, u8),
    /// A writer receives two.
    ReceiveTwo(u8, u8, u8),
    /// A writer takes its next step.
    Step(u8),
    /// In order: a process begins.
    Start(u8),
    /// In order: a process publishes the missing chunks of an object.
    ReadOwn(u8, u8),
    /// A writer crashes.
    Crash(u8),
    /// The messages of a writer are delivered again.
    Redeliver(u8),
    /// The stream loses everything.
    LoseStream,
    /// The store loses everything.
    Flush,
    /// A snapshot of the store is taken, or its replica falls behind.
    Snapshot,
    /// The store restarts from the snapshot.
    Restart,
    /// The store fails over.
    FailOver,
    /// The database is backed up, or its replica falls behind, or what follows is not on the disk.
    BackUp,
    /// The database goes back to that.
    Restore,
    /// A writer begins an epoch in the store and crashes.
    CrashInBegin(u8),
    /// A chunk is tried alone.
    Suspect(u8),
    /// A chunk is dead.
    Dead(u8),
    /// What is missing of an object is gone.
    Vanish(u8),
    /// An object is replayed.
    Replay(u8),
}

static DATASETS: LazyLock<[Dataset; 2]> = LazyLock::new(|| {
    let text = "key = \"id\"\n[columns]\nid = \"bigint\"\n";
    ["records", "others"].map(|name| {
        jetline_datasets::parse(name, "a declaration", text)
            .unwrap_or_else(|error| panic!("{error}"))
    })
});

impl System {
    /// A scenario with some rules.
    #[must_use]
    pub fn new(scenario: Scenario, rules: Rules) -> Self {
        let rules = rules.with_mode(scenario.mode);
        Self { scenario, rules }
    }

    /// The state in which nothing is registered.
    #[must_use]
    pub fn initial(&self) -> State {
        let lines = self.scenario.files.iter().flatten().flatten();
        let keys = lines.map(|line| line.key + 1).max().unwrap_or_default();
        State {
            ledger: Ledger::new(keys.into()),
            backup: None,
            store: Store::default(),
            snapshot: None,
            queue: Vec::new(),
            writers: vec![Writer::default(); self.scenario.writers],
            next: 1,
            faults: self.scenario.limit,
            trusted_uncommitted: false,
        }
    }

    /// What may happen next.
    pub fn enabled(&self, state: &State, actions: &mut Vec<Action>) {
        self.fetcher_steps(state, actions);
        if self.rules.mode == Mode::InOrder {
            self.process_steps(state, actions);
        } else {
            self.writer_steps(state, actions);
        }
        if state.faults > 0 {
            self.faults(state, actions);
        }
    }

    fn fetcher_steps(&self, state: &State, actions: &mut Vec<Action>) {
        let State { ledger, .. } = state;
        let unregistered = (0..self.scenario.files.len() as u8)
            .filter(|file| ledger.objects.iter().all(|object| object.file != *file));
        let limit = if self.scenario.any_order { usize::MAX } else { 1 };
        actions.extend(unregistered.take(limit).map(Action::Register));
        for (number, object) in (1..).zip(&ledger.objects) {
            let is_shared_queue = self.rules.mode != Mode::InOrder;
            match object.state {
                ObjectState::Registered if is_shared_queue => actions.push(Action::Read(number)),
                ObjectState::Loading if self.has_lost(state, number) => {
                    if ledger.is_complete(number) {
                        // It waits for others.
                    } else if object.unreadable {
                        actions.push(Action::Fail(number));
                    } else {
                        actions.push(Action::Reread(number));
                    }
                }
                _ => {}
            }
        }
        actions.push(Action::Settle);
    }

    /// Whether a queue has nothing of an object whose chunks are missing.
    fn has_lost(&self, state: &State, number: u8) -> bool {
        if self.rules.mode != Mode::InOrder {
            return state.pending(number) == 0;
        }
        let file = state.ledger.object(number).map_or(0, |object| object.file);
        (0..).zip(&state.writers).any(|(at, process)| {
            process.epoch.is_some() && self.can_read(at, file) && !process.has(number)
        })
    }

    fn can_read(&self, process: u8, file: u8) -> bool {
        let own = self.scenario.own_files;
        own == 0 || (file < own) == (process == 0)
    }

    /// In order: a process begins, reads the oldest object that it can read, or commits its next chunk.
    fn process_steps(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, process) in (0..).zip(&state.writers) {
            if process.epoch.is_none() {
                actions.push(Action::Start(at));
                continue;
            }
            if process.is_busy() {
                actions.push(Action::Step(at));
            }
            actions.extend(self.next_to_read(state, at).map(|number| Action::ReadOwn(at, number)));
        }
    }

    fn next_to_read(&self, state: &State, process: u8) -> Option<u8> {
        let mut objects = (1..).zip(&state.ledger.objects);
        let next = objects.find(|(_, object)| {
            object.state == ObjectState::Registered && self.can_read(process, object.file)
        });
        // What it has read and not committed is not read once more, or there would be no end of states.
        let has_read = |number| state.writers[usize::from(process)].has(number);
        next.map(|(number, _)| number).filter(|number| !has_read(*number))
    }

    fn writer_steps(&self, state: &State, actions: &mut Vec<Action>) {
        let mut seen = Vec::new();
        for (at, writer) in (0..).zip(&state.writers) {
            if !writer.messages.is_empty() {
                actions.push(Action::Step(at));
                continue;
            }
            let kind = (writer.epoch, &writer.admitted, writer.rejects);
            if seen.contains(&kind) {
                continue;
            }
            seen.push(kind);
            for (first, message) in (0..).zip(&state.queue) {
                if first > 0 && state.queue[usize::from(first) - 1] == *message {
                    continue;
                }
                actions.push(Action::Receive(at, first));
                if self.scenario.batch > 1 {
                    let others = (first + 1..).zip(&state.queue[usize::from(first) + 1..]);
                    let others = others.filter(|(_, other)| {
                        // A chunk that is delivered twice is in a batch once.
                        (other.object, other.chunk) != (message.object, message.chunk)
                            && self.scenario.dataset(other.file)
                                == self.scenario.dataset(message.file)
                    });
                    actions.extend(others.map(|(other, _)| Action::ReceiveTwo(at, first, other)));
                }
            }
        }
    }

    fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let allows = |fault| self.scenario.allows(fault);
        for (at, writer) in (0..).zip(&state.writers) {
            let is_busy =
                writer.is_busy() || writer.epoch.is_some() && self.rules.mode == Mode::InOrder;
            if is_busy && allows(Fault::Crash) {
                actions.push(Action::Crash(at));
            }
            if is_busy && allows(Fault::Redeliver) {
                actions.push(Action::Redeliver(at));
            }
            if is_busy && allows(Fault::CrashInBegin) && writer.stage == Stage::Received {
                actions.push(Action::CrashInBegin(at));
            }
        }
        let simple = [
            (Fault::LoseStream, Action::LoseStream),
            (Fault::Flush, Action::Flush),
            (Fault::Restart, Action::Restart),
            (Fault::FailOver, Action::FailOver),
        ];
        actions
            .extend(simple.iter().filter(|(fault, _)| allows(*fault)).map(|(_, action)| *action));
        if state.snapshot.is_none() && (allows(Fault::Restart) || allows(Fault::FailOver)) {
            actions.push(Action::Snapshot);
        }
        if allows(Fault::Restore) {
            actions.push(if state.backup.is_some() { Action::Restore } else { Action::BackUp });
        }
        if allows(Fault::Dead) {
            actions.extend((0..state.queue.len() as u8).map(Action::Dead));
        }
        if allows(Fault::Suspect) {
            actions.extend((0..state.queue.len() as u8).map(Action::Suspect));
        }
        for (number, object) in (1..).zip(&state.ledger.objects) {
            let may_vanish = object.state == ObjectState::Registered && object.is_read;
            if may_vanish && allows(Fault::Vanish) {
                actions.push(Action::Vanish(number));
            }
            if allows(Fault::Replay) && state.ledger.can_replay(number) {
                actions.push(Action::Replay(number));
            }
        }
    }

    /// The state after an action.
    #[must_use]
    pub fn after(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        self.apply(&mut next, action);
        next.canonical(self.rules);
        next
    }

    fn apply(&self, state: &mut State, action: Action) {
        let (rules, scenario) = (self.rules, &self.scenario);
        if action.is_fault() {
            state.faults -= 1;
        }
        match action {
            Action::Register(file) => {
                let incarnation = state.take_next();
                let lines = scenario.files[usize::from(file)].iter().map(|chunk| chunk.len() as u8);
                state.ledger.register(file, lines, incarnation);
            }
            Action::Read(number) => state.publish(number),
            Action::Reread(number) => state.ledger.reread(number),
            Action::Settle => {
                let new = state.next_epoch(rules);
                state.ledger.settle(new, scenario.max_rejects, rules);
            }
            Action::Fail(number) => {
                let new = state.next_epoch(rules);
                state.ledger.fail(number, new, rules);
            }
            Action::Receive(writer, message) => state.receive(writer, &[message]),
            Action::ReceiveTwo(writer, first, second) => state.receive(writer, &[first, second]),
            Action::Step(writer) => self.step(state, usize::from(writer)),
            Action::Start(process) => self.begin(state, process.into(), None),
            Action::ReadOwn(process, number) => state.read_own(process, number),
            Action::Crash(writer) => {
                let writer = mem::take(&mut state.writers[usize::from(writer)]);
                let left = writer.messages.into_iter().filter(|held| held.in_stream);
                state.queue.extend(left.map(|held| held.message));
            }
            Action::Redeliver(writer) => {
                let held = state.writers[usize::from(writer)].messages.iter();
                state.queue.extend(held.map(|held| held.message));
            }
            Action::LoseStream => {
                state.queue.clear();
                for held in state.writers.iter_mut().flat_map(|writer| &mut writer.messages) {
                    held.in_stream = false;
                }
            }
            Action::Flush => state.store.flush(),
            Action::Snapshot => state.snapshot = Some(state.store.snapshot()),
            Action::Restart => state.store.restart(state.snapshot.take().unwrap_or_default()),
            Action::FailOver => state.store.fail_over(state.snapshot.take().unwrap_or_default()),
            Action::BackUp => state.backup = Some(Box::new(state.ledger.clone())),
            Action::Restore => {
                if let Some(backup) = state.backup.take() {
                    state.ledger = backup.restored(rules);
                }
            }
            Action::CrashInBegin(writer) => {
                let new = state.next_epoch(rules);
                state.store.begin(new);
                self.apply_crash(state, writer);
            }
            Action::Suspect(message) => {
                let chunk = state.queue[usize::from(message)];
                state.ledger.suspect(&chunk, rules);
            }
            Action::Dead(message) => {
                let message = usize::from(message);
                if state.ledger.dead_letter(&state.queue[message]) {
                    state.queue.remove(message);
                }
            }
            Action::Vanish(number) => state.ledger.vanish(number),
            Action::Replay(number) => {
                let incarnation = state.take_next();
                state.ledger.replay(number, incarnation, rules);
            }
        }
    }

    fn apply_crash(&self, state: &mut State, writer: u8) {
        state.faults += 1;
        self.apply(state, Action::Crash(writer));
    }

    /// A writer takes its messages a step further.
    fn step(&self, state: &mut State, at: usize) {
        let writer = &mut state.writers[at];
        if writer.messages.is_empty() && !writer.read.is_empty() {
            let message = writer.read.remove(0);
            writer.messages.push(Held { message, in_stream: false, refused: 0 });
        }
        match mem::take(&mut state.writers[at].stage) {
            Stage::Received => self.admit(state, at),
            Stage::Admitted => self.claim(state, at),
            Stage::Claimed(chunks, unstored, unchanged) if !unstored.is_empty() => {
                let epoch = state.writers[at].epoch.map_or(0, |epoch| epoch.id);
                state.store.store(epoch, unstored);
                state.writers[at].stage = Stage::Claimed(chunks, Vec::new(), unchanged);
            }
            Stage::Claimed(chunks, _, unchanged) => {
                if self.rules.has(Rule::Transaction) {
                    self.commit(state, at, &chunks, &unchanged);
                } else {
                    state.ledger.write_rows(&chunks, self.rules);
                    state.writers[at].stage = Stage::Written(chunks);
                }
            }
            Stage::Written(chunks) => self.commit(state, at, &chunks, &[]),
        }
    }

    fn admit(&self, state: &mut State, at: usize) {
        let Some(epoch) = state.writers[at].epoch else {
            return self.begin(state, at, None);
        };
        let writer = &state.writers[at];
        let messages = writer.messages.iter().map(|held| held.message);
        let new: Vec<Message> = messages
            .filter(|one| !writer.admitted.contains(&(one.object, one.incarnation)))
            .collect();
        let admitted = if new.is_empty() || !self.rules.is_shared() {
            Some(Vec::new())
        } else {
            state.ledger.admit(epoch.id, &new, self.rules)
        };
        match admitted {
            None => self.begin(state, at, Some(epoch.id)),
            Some(stale) if stale.is_empty() => {
                let writer = &mut state.writers[at];
                // Where no number can get another object and no chunk can be dead, all are admitted.
                if self.splits_admission() {
                    let stays = new.iter().filter(|one| !state.ledger.has_dead(one.object));
                    writer.admitted.extend(stays.map(|one| (one.object, one.incarnation)));
                    writer.admitted.sort_unstable();
                    writer.admitted.dedup();
                    writer.stage = Stage::Admitted;
                } else {
                    self.claim(state, at);
                }
            }
            Some(stale) => state.writers[at].discard(&stale),
        }
    }

    /// Joins the epoch in force, or begins another one.
    fn begin(&self, state: &mut State, at: usize, seen: Option<u8>) {
        let new = state.next_epoch(self.rules);
        let current = state.ledger.epoch.map(|epoch| epoch.id);
        if self.rules.mode == Mode::InOrder && seen.is_some() && seen != current {
            // Another process took over: this one ends.
            state.writers[at] = Writer::default();
            return;
        }
        let (epoch, is_new) = state.ledger.begin(seen, new, self.rules);
        if is_new && self.rules.is_shared() {
            state.store.begin(epoch.id);
        }
        state.writers[at].begun = (state.writers[at].begun + 1).min(2);
        let writer = &mut state.writers[at];
        writer.epoch = Some(epoch);
        writer.admitted.clear();
    }

    fn claim(&self, state: &mut State, at: usize) {
        let State { writers, store, .. } = state;
        let writer = &mut writers[at];
        let Some(epoch) = writer.epoch else { return };
        let parsed: Vec<Parsed> = writer.messages.iter().map(|held| self.parsed(held)).collect();
        let watermarks = writer.messages.iter().map(|held| held.message.settled);
        let settled = object(watermarks.min().unwrap_or_default());
        let core = self.core_epoch(&epoch);
        let dataset = &DATASETS[usize::from(self.dataset(writer))];
        let (claimed, Record { unchanged, unstored }) = if self.rules.is_shared() {
            let claiming = Claiming::new(store, epoch.id, self.rules);
            let claimed = claim(&claiming, &core, settled, dataset, parsed).now_or_never();
            (claimed, claiming.into_record())
        } else {
            let store = self.without_store(writer.begun);
            let claimed = claim(&store, &core, settled, dataset, parsed).now_or_never();
            (claimed, Record::default())
        };
        match claimed {
            Some(Ok(Some(rows))) => {
                let chunks = rows.into_iter().zip(&writer.messages);
                let chunks = chunks.map(|(rows, held)| claimed_chunk(rows, held.message)).collect();
                writer.stage = Stage::Claimed(chunks, unstored, unchanged);
            }
            _ => self.begin(state, at, Some(epoch.id)),
        }
    }

    /// The dataset of the messages of a writer.
    fn dataset(&self, writer: &Writer) -> u8 {
        writer.messages.first().map_or(0, |held| self.scenario.dataset(held.message.file))
    }

    fn without_store(&self, begun: u8) -> WithoutStore {
        if self.rules.mode == Mode::Off {
            return WithoutStore::off();
        }
        let store = WithoutStore::in_order();
        let begun = if self.rules.has(Rule::Restarting) { begun } else { 1 };
        for _ in 0..begun {
            let _ = store.begin(&EPOCH_ID).now_or_never();
        }
        store
    }

    /// The chunk of a message as the parser gives it.
    fn parsed(&self, held: &Held) -> Parsed {
        let message = &held.message;
        let file = &self.scenario.files[usize::from(message.file)];
        let lines = self.scenario.lines(message.file, message.chunk);
        let first = first_line(file, message.chunk);
        let mut parsed = Parsed {
            range: ChunkRange {
                object: object(message.object),
                incarnation: String::new(),
                start: first.into(),
                end: u64::from(first) + lines.len() as u64,
                first_line: first.into(),
                lines: lines.len() as u32,
            },
            records: Vec::new(),
            superseded: Vec::new(),
            rejected: Vec::new(),
            blank: 0,
            unknown: UnknownFields::default(),
        };
        for (line, of) in (0..).zip(lines) {
            if of.content == Content::Invalid || held.refused & 1 << line != 0 {
                parsed.rejected.push(rejected(first + line));
                continue;
            }
            let new = new_row(message, first + line, of, false);
            let record = ParsedRecord {
                row: DatasetRow {
                    key: Key::Int(new.key.into()),
                    version: new.rank.version,
                    fingerprint: new.content.fingerprint(new.rank.version),
                    values: Vec::new(),
                },
                position: new.rank.position,
            };
            let same = |other: &&mut ParsedRecord| other.row.key == record.row.key;
            match parsed.records.iter_mut().find(same) {
                None => parsed.records.push(record),
                Some(other) if other.rank() < record.rank() => {
                    parsed.superseded.push(mem::replace(other, record));
                }
                Some(_) => parsed.superseded.push(record),
            }
        }
        parsed
    }

    fn core_epoch(&self, epoch: &Epoch) -> CoreEpoch {
        let mark = |mark, rule| if self.rules.has(rule) { object(mark) } else { object(0) };
        let write_through = (0..2).filter(|dataset| epoch.write_through & 1 << dataset != 0);
        let write_through = write_through.map(|dataset| DATASETS[dataset].name.clone());
        CoreEpoch {
            id: *EPOCH_ID,
            base: mark(epoch.base, Rule::Base),
            recovery: mark(epoch.recovery, Rule::Recovery),
            mode: match self.rules.mode {
                Mode::Shared => CoreMode::Shared,
                Mode::Off => CoreMode::Off,
                Mode::InOrder => CoreMode::InOrder,
            },
            write_through: write_through.collect(),
        }
    }

    fn commit(
        &self,
        state: &mut State,
        at: usize,
        chunks: &[ClaimedChunk],
        unchanged: &[(u8, Rank, Content)],
    ) {
        let Some(epoch) = state.writers[at].epoch else { return };
        let dataset = self.dataset(&state.writers[at]);
        let claims = self.rules.is_shared() && epoch.write_through & 1 << dataset == 0;
        let rejects = !claims && state.writers[at].rejects;
        let outcome = state.ledger.commit(epoch.id, chunks, rejects, &self.scenario, self.rules);
        match outcome {
            Commit::Committed(any_refused) => {
                state.writers[at].rejects = any_refused;
                let rows = &state.ledger.rows;
                state.trusted_uncommitted |= unchanged.iter().any(|(key, rank, content)| {
                    rows[usize::from(*key)].is_none_or(|row| {
                        let is_other = (row.rank.version, row.content) != (rank.version, *content);
                        row.rank <= *rank && is_other
                    })
                });
                state.writers[at].messages.clear();
            }
            Commit::EpochEnded => self.begin(state, at, Some(epoch.id)),
            Commit::Repeated(repeated) => state.writers[at].discard(&repeated),
            Commit::Stale(stale) => {
                let may_have_claims = stale.iter().any(|one| one.object >= epoch.base);
                if may_have_claims {
                    let new = state.next_epoch(self.rules);
                    state.ledger.end(epoch.id, new, self.rules);
                }
                state.writers[at].discard(&stale);
            }
            Commit::Refused(_) if !claims => state.writers[at].rejects = true,
            Commit::Refused(_) if self.rules.has(Rule::Refusal) => {
                state.writers[at].rejects = true;
                let new = state.next_epoch(self.rules);
                state.ledger.write_through(dataset, new, self.rules);
            }
            Commit::Refused(refused) => self.reject(&mut state.writers[at], &refused),
        }
    }

    fn reject(&self, writer: &mut Writer, refused: &[(u8, Rank)]) {
        for held in &mut writer.messages {
            let Message { object, chunk, file, .. } = held.message;
            let first = first_line(&self.scenario.files[usize::from(file)], chunk);
            for (line, of) in (0..).zip(self.scenario.lines(file, chunk)) {
                let of_line = (of.key, rank(object, first + line, of.version));
                if refused.contains(&of_line) {
                    held.refused |= 1 << line;
                }
            }
        }
    }

    /// Whether a state is right: it can end, and ends with the fold.
    pub fn verify(&self, state: &State) -> Result<(), String> {
        if state.trusted_uncommitted {
            return Err("a line counts as unchanged, and the table has another content".to_owned());
        }
        let ended = self.finish(state.clone()).ok_or("it does not end")?;
        if ended.trusted_uncommitted {
            return Err("a line counts as unchanged, and the table has another content".to_owned());
        }
        check(&ended.ledger, &self.scenario, self.rules)
    }

    /// Takes every step that is left, in order and without further events; `None` if it does not end.
    #[must_use]
    pub fn finish(&self, mut state: State) -> Option<State> {
        if self.rules.mode == Mode::InOrder {
            return self.finish_in_order(state);
        }
        for _ in 0..200 {
            if let Some(busy) = state.writers.iter().position(|one| !one.messages.is_empty()) {
                self.apply(&mut state, Action::Step(busy as u8));
            } else if !state.queue.is_empty() {
                state.receive(0, &[0]);
            } else if !self.fetch(&mut state) {
                let all = state.ledger.objects.iter().all(Object::has_ended);
                return all.then_some(state);
            }
        }
        None
    }

    /// One process after the other takes all steps that are left to it, twice.
    fn finish_in_order(&self, mut state: State) -> Option<State> {
        for at in (0..state.writers.len()).cycle().take(2 * state.writers.len()) {
            for _ in 0..100 {
                let process = at as u8;
                let step = if state.writers[at].epoch.is_none() {
                    Some(Action::Start(process))
                } else if state.writers[at].is_busy() {
                    Some(Action::Step(process))
                } else {
                    self.next_to_read(&state, process).map(|next| Action::ReadOwn(process, next))
                };
                match step {
                    Some(step) => self.apply(&mut state, step),
                    None if self.fetch(&mut state) => {}
                    None => break,
                }
            }
        }
        let all = state.ledger.objects.len() == self.scenario.files.len()
            && state.ledger.objects.iter().all(Object::has_ended);
        all.then_some(state)
    }

    /// A step of the fetcher where nothing is in flight; `false` where nothing is left to do.
    fn fetch(&self, state: &mut State) -> bool {
        let new = state.next_epoch(self.rules);
        if state.ledger.settle(new, self.scenario.max_rejects, self.rules) {
            return true;
        }
        let mut actions = Vec::new();
        self.fetcher_steps(state, &mut actions);
        let next = actions.into_iter().find(|action| match action {
            Action::Settle => false,
            Action::Fail(number) => state.ledger.settled() == *number,
            _ => true,
        });
        let Some(next) = next else { return false };
        let before = (state.ledger.clone(), state.queue.len());
        self.apply(state, next);
        before != (state.ledger.clone(), state.queue.len())
    }

    /// What an action does, in words.
    #[must_use]
    pub fn describe(&self, state: &State, action: Action) -> String {
        let of = |messages: &mut dyn Iterator<Item = &Message>| {
            let names = messages.map(|one| format!("{}.{}", one.object, one.chunk + 1));
            names.collect::<Vec<_>>().join(" and ")
        };
        let held = |writer: u8| {
            let Writer { messages, read, .. } = &state.writers[usize::from(writer)];
            let next = read.iter().filter(|_| messages.is_empty()).take(1);
            of(&mut messages.iter().map(|held| &held.message).chain(next))
        };
        let queued = |message: u8| of(&mut state.queue.get(usize::from(message)).into_iter());
        match action {
            Action::Register(file) => {
                let lines = self.scenario.files[usize::from(file)].iter();
                let lines: Vec<_> = lines.map(|chunk| format!("{chunk:?}")).collect();
                format!("register {}: {}", state.ledger.next_object(), lines.join(" "))
            }
            Action::Read(number) => format!("read {number}"),
            Action::Reread(number) => format!("read {number} again"),
            Action::Settle => "settle".to_owned(),
            Action::Fail(number) => format!("fail {number}"),
            Action::Receive(_, message) => format!("receive {}", queued(message)),
            Action::ReceiveTwo(_, first, second) => {
                format!("receive {} and {}", queued(first), queued(second))
            }
            Action::Start(process) => format!("process {} begins", process + 1),
            Action::ReadOwn(process, number) => format!("process {} reads {number}", process + 1),
            Action::Step(writer) => {
                let verb = match state.writers[usize::from(writer)].stage {
                    Stage::Received if state.writers[usize::from(writer)].epoch.is_none() => {
                        "begin or join the epoch for"
                    }
                    Stage::Received if self.splits_admission() => "admit",
                    Stage::Received | Stage::Admitted => "claim",
                    Stage::Claimed(_, ref unstored, _) if !unstored.is_empty() => "store",
                    Stage::Claimed(..) if !self.rules.has(Rule::Transaction) => "write",
                    _ => "commit",
                };
                let process = match self.rules.mode {
                    Mode::InOrder => format!("process {}: ", writer + 1),
                    _ => String::new(),
                };
                format!("{process}{verb} {}", held(writer))
            }
            Action::Crash(writer) => format!("crash with {}", held(writer)),
            Action::Redeliver(writer) => format!("redeliver {}", held(writer)),
            Action::LoseStream => "the stream is lost".to_owned(),
            Action::Flush => "Redis is flushed".to_owned(),
            Action::Snapshot => "snapshot of Redis".to_owned(),
            Action::Restart => "Redis restarts".to_owned(),
            Action::FailOver => "Redis fails over".to_owned(),
            Action::BackUp => "backup".to_owned(),
            Action::Restore => "restore".to_owned(),
            Action::CrashInBegin(writer) => {
                format!("crash beginning an epoch with {}", held(writer))
            }
            Action::Suspect(message) => format!("{} is tried alone", queued(message)),
            Action::Dead(message) => format!("{} is dead", queued(message)),
            Action::Vanish(number) => format!("{number} is overwritten"),
            Action::Replay(number) => format!("replay {number}"),
        }
    }

    fn splits_admission(&self) -> bool {
        let faults = [Fault::Restore, Fault::Replay, Fault::Dead];
        faults.into_iter().any(|fault| self.scenario.allows(fault))
    }
}

static EPOCH_ID: LazyLock<EpochId> =
    LazyLock::new(|| "0000000000000001".parse().unwrap_or_else(|error| panic!("{error}")));

fn object(number: u8) -> ObjectId {
    ObjectId::new(number.into()).unwrap_or_default()
}

fn rejected(line: u8) -> RejectedLine {
    let rejection =
        jetline_datasets::Rejection::new(jetline_datasets::Reason::InvalidJson, String::new());
    RejectedLine { line: line.into(), offset: 0, rejection, raw: Vec::new() }
}

fn claimed_chunk(rows: ChunkRows, message: Message) -> ClaimedChunk {
    let new = |row: UpsertRow| NewRow {
        key: number(&row.row.key),
        rank: Rank { version: row.row.version, position: row.position },
        content: Content::of(row.row.fingerprint),
        if_changed: row.if_changed,
    };
    let first = rows.range.first_line;
    let rejected = rows.rejected.iter().fold(0, |bits, line| bits | 1 << (line.line - first));
    let mut written: Vec<NewRow> = rows.rows.into_iter().map(new).collect();
    written.sort_unstable_by_key(|row| row.key);
    ClaimedChunk {
        message,
        rows: written,
        replacements: rows.replacements.into_iter().map(new).collect(),
        unchanged: rows.unchanged as u8,
        superseded: rows.superseded as u8,
        superseded_by: rows
            .superseded_by
            .iter()
            .map(|by| By {
                object: by.object.get() as u8,
                first: by.first_line as u8,
                last: by.last_line as u8,
            })
            .collect(),
        rejected,
    }
}

impl Action {
    /// Whether it is an event of a limited number.
    #[must_use]
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Crash(_)
                | Self::Redeliver(_)
                | Self::LoseStream
                | Self::Flush
                | Self::Restart
                | Self::FailOver
                | Self::Restore
                | Self::CrashInBegin(_)
                | Self::Suspect(_)
                | Self::Dead(_)
                | Self::Vanish(_)
                | Self::Replay(_)
        )
    }
}

impl Action {
    /// Whether it is an event, or prepares one.
    #[must_use]
    pub fn is_event(self) -> bool {
        self.is_fault() || matches!(self, Self::Snapshot | Self::BackUp)
    }
}

impl Writer {
    /// In order: whether it has chunks of an object.
    fn has(&self, number: u8) -> bool {
        let held = self.messages.iter().map(|held| &held.message);
        self.read.iter().chain(held).any(|message| message.object == number)
    }

    fn is_busy(&self) -> bool {
        !self.messages.is_empty() || !self.read.is_empty()
    }

    fn discard(&mut self, stale: &[Message]) {
        self.messages.retain(|held| !stale.contains(&held.message));
    }
}

impl State {
    fn take_next(&mut self) -> u8 {
        self.next += 1;
        self.next - 1
    }

    /// An id for an epoch that may begin now.
    fn next_epoch(&mut self, rules: Rules) -> u8 {
        if rules.has(Rule::Unique) {
            self.take_next()
        } else {
            // Far from incarnations.
            self.ledger.epoch.map_or(100, |epoch| epoch.id + 1)
        }
    }

    /// How many messages of an object the stream has.
    fn pending(&self, number: u8) -> usize {
        let held = self.writers.iter().flat_map(|writer| &writer.messages);
        let held = held.filter(|held| held.in_stream).map(|held| &held.message);
        self.queue.iter().chain(held).filter(|message| message.object == number).count()
    }

    fn publish(&mut self, number: u8) {
        let settled = self.ledger.settled().min(number);
        let Some(object) = self.ledger.object(number) else { return };
        let (file, incarnation) = (object.file, object.incarnation);
        for chunk in self.ledger.gaps(number) {
            self.queue.push(Message { object: number, chunk, file, incarnation, settled });
        }
        self.ledger.finish_reading(number);
    }

    fn read_own(&mut self, process: u8, number: u8) {
        let queue = mem::take(&mut self.queue);
        self.publish(number);
        let read = mem::replace(&mut self.queue, queue);
        self.writers[usize::from(process)].read.extend(read);
    }

    fn receive(&mut self, writer: u8, messages: &[u8]) {
        let writer = &mut self.writers[usize::from(writer)];
        for message in messages.iter().rev() {
            let message = self.queue.remove(usize::from(*message));
            writer.messages.push(Held { message, in_stream: true, refused: 0 });
        }
        writer.messages.sort_unstable();
    }

    /// Brings states together that differ only in the names of epochs and incarnations, and in which writer is which.
    fn canonical(&mut self, rules: Rules) {
        self.queue.sort_unstable();
        self.store.scripts.sort_unstable();
        if rules.has(Rule::Unique) {
            self.rename();
        }
        if rules.mode != Mode::InOrder {
            self.writers.sort();
        }
    }

    fn rename(&mut self) {
        let mut names = Names::default();
        self.store.scripts.retain(|script| {
            // Scripts of epochs that nothing names any more are of no use.
            [self.store.key, self.store.of].contains(script)
                || self.ledger.epoch.is_some_and(|epoch| epoch.id == *script)
                || self
                    .backup
                    .as_ref()
                    .is_some_and(|one| one.epoch.is_some_and(|epoch| epoch.id == *script))
                || self.snapshot.as_ref().is_some_and(|one| one.key == *script)
                || self.writers.iter().any(|one| one.epoch.is_some_and(|epoch| epoch.id == *script))
        });
        let ledgers = [Some(&mut self.ledger), self.backup.as_deref_mut()];
        for ledger in ledgers.into_iter().flatten() {
            ledger.epoch.iter_mut().for_each(|epoch| names.rename(&mut epoch.id));
            ledger.objects.iter_mut().for_each(|object| names.rename(&mut object.incarnation));
        }
        names.rename(&mut self.store.key);
        names.rename(&mut self.store.of);
        if let Some(snapshot) = &mut self.snapshot {
            names.rename(&mut snapshot.key);
            names.rename(&mut snapshot.of);
        }
        self.store.scripts.iter_mut().for_each(|script| names.rename(script));
        self.store.scripts.sort_unstable();
        self.queue.iter_mut().for_each(|message| names.rename(&mut message.incarnation));
        for writer in &mut self.writers {
            writer.epoch.iter_mut().for_each(|epoch| names.rename(&mut epoch.id));
            writer.admitted.iter_mut().for_each(|(_, incarnation)| names.rename(incarnation));
            writer.read.iter_mut().for_each(|message| names.rename(&mut message.incarnation));
            let held = writer.messages.iter_mut();
            held.for_each(|held| names.rename(&mut held.message.incarnation));
            if let Stage::Claimed(chunks, ..) | Stage::Written(chunks) = &mut writer.stage {
                let messages = chunks.iter_mut().map(|chunk| &mut chunk.message);
                messages.for_each(|message| names.rename(&mut message.incarnation));
            }
        }
        self.queue.sort_unstable();
        self.next = names.0.len() as u8 + 1;
    }
}

/// New names in the order in which the old ones are met.
#[derive(Default)]
struct Names(Vec<u8>);

impl Names {
    fn rename(&mut self, name: &mut u8) {
        if *name == 0 {
            return;
        }
        let at = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(*name);
            self.0.len() - 1
        });
        *name = at as u8 + 1;
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.enabled(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let next = self.after(last, action);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("ends with the fold", |system: &Self, state: &State| {
            system.verify(state).is_ok()
        })]
    }
}
