//! The database: the ledger and the table. Each method is one transaction, in Rust where the project has it in SQL; a test
//! compares both on random calls.

use std::collections::HashMap;

use jetline_core::{Change, Counts, ObjectId, Rank};
use jetline_store::{
    SupersededBy,
    objects::{Blocked, Blocker},
};

use crate::{
    Mode, Rules,
    input::{Content, Scenario, first_line, rank},
    rule::Rule,
};

/// The state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectState {
    /// It is to be read.
    Registered,
    /// All of it was published.
    Loading,
    /// It ended.
    Done,
    /// It ended, and something of it is missing or was rejected.
    Failed,
}

/// The state of a chunk in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkState {
    /// It has no entry.
    #[default]
    Missing,
    /// It is committed.
    Committed,
    /// It is to be committed again, in a new epoch.
    Forgotten,
    /// It was delivered too often, and is tried alone.
    Suspect,
    /// It crashed its writers too often.
    Dead,
}

/// A chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Number of its lines.
    pub lines: u8,
    /// Its state.
    pub state: ChunkState,
    /// It was dead before the epoch began.
    pub unclaimed: bool,
    /// The lines that superseded lines of it.
    pub superseded_by: Vec<By>,
    /// Its rejected lines, as bits.
    pub rejected: u8,
    /// It was committed at some time: the table has what it wrote.
    pub was_committed: bool,
    /// It was committed since its object was registered or replayed.
    pub has_counts: bool,
    /// Inserted, updated, deleted, unchanged, superseded, rejected.
    pub counts: [u8; 6],
}

/// Lines of an object that superseded others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct By {
    /// The object.
    pub object: u8,
    /// Number of the first line.
    pub first: u8,
    /// Number of the last line.
    pub last: u8,
}

/// An object; its number is its place, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// What it contains.
    pub file: u8,
    /// Tells it from another one with its number.
    pub incarnation: u8,
    /// Its state.
    pub state: ObjectState,
    /// It was read to its end before.
    pub is_read: bool,
    /// What is missing of it cannot be read any more.
    pub unreadable: bool,
    /// Its chunks are folded into its row.
    pub folded: bool,
    /// Its chunks.
    pub chunks: Vec<Chunk>,
    /// The counts of its folded chunks.
    pub folded_counts: [u8; 6],
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The rank of its line.
    pub rank: Rank,
    /// Its content.
    pub content: Content,
}

/// The epoch in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Its id.
    pub id: u8,
    /// Everything below it was settled when it began.
    pub base: u8,
    /// Everything that was registered when it began is below it.
    pub recovery: u8,
    /// The database was not restored, and nothing was replayed, since it began.
    pub in_force: bool,
    /// The datasets, as bits, of which nothing is claimed: the database refused a record of them.
    pub write_through: u8,
}

/// The ledger and the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// The objects.
    pub objects: Vec<Object>,
    /// The table: a row for each id.
    pub rows: Vec<Option<Row>>,
    /// The epoch.
    pub epoch: Option<Epoch>,
    /// An epoch ended because of a chunk that had no claims in it.
    pub ended_in_vain: bool,
}

/// A chunk in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// The number of its object.
    pub object: u8,
    /// Which chunk of it.
    pub chunk: u8,
    /// The content of its object.
    pub file: u8,
    /// The incarnation of its object.
    pub incarnation: u8,
    /// The settled watermark when it was published.
    pub settled: u8,
}

/// A row to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NewRow {
    /// The id.
    pub key: u8,
    /// The rank of its line.
    pub rank: Rank,
    /// Its content.
    pub content: Content,
    /// A row with the same content stays as it is.
    pub if_changed: bool,
}

/// A chunk that was claimed, or that is written without claims.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimedChunk {
    /// The chunk.
    pub message: Message,
    /// The rows to write.
    pub rows: Vec<NewRow>,
    /// Superseded lines that take the place of refused ones.
    pub replacements: Vec<NewRow>,
    /// Number of lines that were found unchanged.
    pub unchanged: u8,
    /// Number of lines that were superseded.
    pub superseded: u8,
    /// The lines that superseded them.
    pub superseded_by: Vec<By>,
    /// The rejected lines, as bits.
    pub rejected: u8,
}

/// The outcome of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The chunks are committed, or were before; and whether lines of them were refused.
    Committed(bool),
    /// Another epoch is in force.
    EpochEnded,
    /// These are of another incarnation of their object, or of one that failed without them.
    Stale(Vec<Message>),
    /// These were committed before.
    Repeated(Vec<Message>),
    /// Nothing was written: the database refuses these lines.
    Refused(Vec<(u8, Rank)>),
}

impl Object {
    /// Whether it ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, ObjectState::Done | ObjectState::Failed)
    }

    fn all_chunks(&self, states: &[ChunkState]) -> bool {
        self.chunks.iter().all(|chunk| states.contains(&chunk.state))
    }

    /// The chunks that have a row in the ledger.
    fn entries(&self) -> impl Iterator<Item = (u8, &Chunk)> {
        let chunks = if self.folded { &[][..] } else { &self.chunks };
        (0..).zip(chunks).filter(|(_, chunk)| chunk.state != ChunkState::Missing)
    }

    fn rejected(&self) -> u32 {
        self.entries().map(|(_, chunk)| chunk.rejected.count_ones()).sum()
    }
}

impl Ledger {
    /// An empty table of so many ids.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { rows: vec![None; keys], ..Self::default() }
    }

    /// The object with a number.
    #[must_use]
    pub fn object(&self, number: u8) -> Option<&Object> {
        self.objects.get(usize::from(number).wrapping_sub(1))
    }

    fn object_mut(&mut self, number: u8) -> &mut Object {
        &mut self.objects[usize::from(number) - 1]
    }

    /// The numbers of all objects.
    pub fn numbers(&self) -> impl Iterator<Item = u8> + use<> {
        1..self.next_object()
    }

    /// The number of the next object.
    #[must_use]
    pub fn next_object(&self) -> u8 {
        self.objects.len() as u8 + 1
    }

    /// The first object that is not settled.
    #[must_use]
    pub fn settled(&self) -> u8 {
        let open = self.objects.iter().position(|object| !object.has_ended());
        open.map_or(self.next_object(), |index| index as u8 + 1)
    }

    /// Registers a file with so many lines in each chunk.
    pub fn register(&mut self, file: u8, lines: impl Iterator<Item = u8>, incarnation: u8) {
        self.objects.push(Object {
            file,
            incarnation,
            state: ObjectState::Registered,
            is_read: false,
            unreadable: false,
            folded: false,
            chunks: lines.map(|lines| Chunk { lines, ..Chunk::default() }).collect(),
            folded_counts: [0; 6],
        });
    }

    /// The chunks of an object that are to be published.
    #[must_use]
    pub fn gaps(&self, number: u8) -> Vec<u8> {
        let chunks = self.object(number).map_or(&[][..], |object| &object.chunks);
        let covers = [ChunkState::Committed, ChunkState::Dead];
        (0..)
            .zip(chunks)
            .filter(|(_, one)| !covers.contains(&one.state))
            .map(|(at, _)| at)
            .collect()
    }

    /// An object was read to its end.
    pub fn finish_reading(&mut self, number: u8) {
        let object = self.object_mut(number);
        (object.state, object.is_read) = (ObjectState::Loading, true);
    }

    /// What is missing of an object cannot be read.
    pub fn vanish(&mut self, number: u8) {
        let object = self.object_mut(number);
        (object.state, object.unreadable) = (ObjectState::Loading, true);
    }

    /// Reads an object again.
    pub fn reread(&mut self, number: u8) {
        self.object_mut(number).state = ObjectState::Registered;
    }

    /// Whether its committed and dead chunks cover an object that was read.
    #[must_use]
    pub fn is_complete(&self, number: u8) -> bool {
        self.object(number).is_some_and(|object| {
            object.state == ObjectState::Loading
                && object.is_read
                && object.all_chunks(&[ChunkState::Committed, ChunkState::Dead])
        })
    }

    /// Begins an epoch unless another one began since the caller saw the epoch `seen`; returns the one in force, and
    /// whether it is the new one, for which the store has to be prepared.
    pub fn begin(&mut self, seen: Option<u8>, new: u8, rules: Rules) -> (Epoch, bool) {
        if let Some(current) = self.epoch
            && current.in_force
            && seen != Some(current.id)
            && rules.mode != Mode::InOrder
        {
            return (current, false);
        }
        let epoch = self.replace(new, rules);
        if rules.mode == Mode::InOrder {
            let loading = self
                .objects
                .iter_mut()
                .filter(|object| object.state == ObjectState::Loading && !object.unreadable);
            loading.for_each(|object| object.state = ObjectState::Registered);
        }
        (epoch, true)
    }

    /// Ends the epoch `seen`, if it is still the current one.
    pub fn end(&mut self, seen: u8, new: u8, rules: Rules) {
        if self.epoch.is_some_and(|current| current.id == seen) {
            self.end_current(new, rules);
        }
    }

    /// Writes everything of a dataset without claims from now on.
    pub fn write_through(&mut self, dataset: u8, new: u8, rules: Rules) {
        if let Some(epoch) = &mut self.epoch
            && epoch.write_through & 1 << dataset == 0
        {
            epoch.write_through |= 1 << dataset;
            self.replace(new, rules);
        }
    }

    fn replace(&mut self, new: u8, rules: Rules) -> Epoch {
        let epoch = Epoch {
            id: new,
            base: self.settled(),
            recovery: self.next_object(),
            in_force: true,
            write_through: self.epoch.map_or(0, |before| before.write_through),
        };
        if rules.has(Rule::Forget) && rules.is_shared() {
            for object in &mut self.objects[usize::from(epoch.base) - 1..] {
                for chunk in &mut object.chunks {
                    if object.folded {
                        chunk.state = ChunkState::Missing;
                    } else if chunk.state == ChunkState::Committed {
                        chunk.state = ChunkState::Forgotten;
                    }
                }
                object.folded = false;
                if object.has_ended() {
                    object.state = ObjectState::Loading;
                }
            }
        }
        let open = self.objects.iter_mut().filter(|object| !object.folded && rules.is_shared());
        for object in open {
            let dead = object.chunks.iter_mut().filter(|chunk| chunk.state == ChunkState::Dead);
            dead.for_each(|chunk| chunk.unclaimed = true);
        }
        self.epoch = Some(epoch);
        epoch
    }

    /// Which of some chunks may not be claimed; `None` where another epoch is in force.
    #[must_use]
    pub fn admit(&self, epoch: u8, chunks: &[Message], rules: Rules) -> Option<Vec<Message>> {
        self.epoch.filter(|current| current.in_force && current.id == epoch)?;
        let may_not = |chunk: &&Message| {
            (rules.has(Rule::Admission) && !self.is_current(chunk))
                || (rules.has(Rule::DeadNotClaimed) && self.is_dead(chunk))
        };
        Some(chunks.iter().filter(may_not).copied().collect())
    }

    fn is_dead(&self, chunk: &Message) -> bool {
        self.object(chunk.object).is_some_and(|object| {
            let mut entries = object.entries();
            entries.any(|(at, one)| at == chunk.chunk && one.state == ChunkState::Dead)
        })
    }

    /// Whether an object has dead chunks.
    #[must_use]
    pub fn has_dead(&self, number: u8) -> bool {
        let entries = self.object(number).into_iter().flat_map(Object::entries);
        entries.into_iter().any(|(_, chunk)| chunk.state == ChunkState::Dead)
    }

    fn is_current(&self, chunk: &Message) -> bool {
        let object = self.object(chunk.object);
        object.is_some_and(|object| object.incarnation == chunk.incarnation)
    }

    fn is_committed(&self, chunk: &Message) -> bool {
        self.object(chunk.object).is_some_and(|object| {
            let complete = object.folded && object.all_chunks(&[ChunkState::Committed]);
            let mut entries = object.entries();
            let committed = entries
                .any(|(at, entry)| at == chunk.chunk && entry.state == ChunkState::Committed);
            object.state == ObjectState::Done
                || (object.state == ObjectState::Failed && complete)
                || committed
        })
    }

    /// Commits chunks that were claimed under an epoch; with `rejects`, refused lines are rejected.
    pub fn commit(
        &mut self,
        epoch: u8,
        chunks: &[ClaimedChunk],
        rejects: bool,
        scenario: &Scenario,
        rules: Rules,
    ) -> Commit {
        let Some(current) = self.epoch else {
            return Commit::EpochEnded;
        };
        if rules.has(Rule::Epoch) && (current.id != epoch || !current.in_force) {
            return Commit::EpochEnded;
        }
        let messages = || chunks.iter().map(|chunk| chunk.message);
        let stale: Vec<_> = messages().filter(|chunk| self.is_stale(chunk, rules)).collect();
        if !stale.is_empty() {
            return Commit::Stale(stale);
        }
        let repeated: Vec<_> = messages().filter(|chunk| self.is_committed(chunk)).collect();
        let new: Vec<&ClaimedChunk>;
        if !rules.has(Rule::Once) {
            new = chunks.iter().collect();
        } else if repeated.len() == chunks.len() {
            return Commit::Committed(false);
        } else if repeated.is_empty() || !rules.has(Rule::Repeated) {
            let is_new = |chunk: &&ClaimedChunk| !repeated.contains(&chunk.message);
            new = chunks.iter().filter(is_new).collect();
        } else {
            return Commit::Repeated(repeated);
        }
        let before = self.rows.clone();
        let (counts, refused) = self.write(&new, rejects, self.unread(rules), rules);
        if !refused.is_empty() && !rejects {
            self.rows = before;
            return Commit::Refused(refused);
        }
        for (chunk, mut counts) in new.into_iter().zip(counts) {
            let message = chunk.message;
            let first = first_line(&scenario.files[usize::from(message.file)], message.chunk);
            let mut rejected = chunk.rejected;
            for (_, rank) in &refused {
                let line = rank.position.line() as u8;
                let lines = scenario.lines(message.file, message.chunk).len() as u8;
                if rank.position.object().get() == i64::from(message.object)
                    && (first..first + lines).contains(&line)
                {
                    rejected |= 1 << (line - first);
                }
            }
            counts[5] = rejected.count_ones() as u8;
            self.enter(chunk, rejected, counts, scenario, rules);
        }
        Commit::Committed(!refused.is_empty())
    }

    /// In order: the first object of which chunks may still be committed.
    fn unread(&self, rules: Rules) -> Option<u8> {
        if rules.mode != Mode::InOrder || !rules.has(Rule::OutOfOrder) {
            return None;
        }
        self.numbers().find(|number| {
            self.object(*number).is_some_and(|object| match object.state {
                ObjectState::Registered => true,
                ObjectState::Loading => object.is_read && !self.is_complete(*number),
                ObjectState::Done | ObjectState::Failed => false,
            })
        })
    }

    fn is_stale(&self, chunk: &Message, rules: Rules) -> bool {
        let current = self.is_current(chunk)
            || (!rules.has(Rule::Incarnation) && self.object(chunk.object).is_some());
        let failed = |object: &Object| object.state == ObjectState::Failed;
        !current || (self.object(chunk.object).is_some_and(failed) && !self.is_committed(chunk))
    }

    /// Writes the rows of chunks; returns their counts and the refused lines. With `rejects`, other lines of an id are
    /// tried where that with the highest rank is refused.
    fn write(
        &mut self,
        chunks: &[&ClaimedChunk],
        rejects: bool,
        unread: Option<u8>,
        rules: Rules,
    ) -> (Vec<[u8; 6]>, Vec<(u8, Rank)>) {
        let mut counts: Vec<[u8; 6]> =
            chunks.iter().map(|chunk| [0, 0, 0, chunk.unchanged, chunk.superseded, 0]).collect();
        let mut rows: Vec<(usize, NewRow, bool)> = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            rows.extend(chunk.rows.iter().map(|row| (at, *row, false)));
            if rejects {
                rows.extend(chunk.replacements.iter().map(|row| (at, *row, true)));
            }
        }
        rows.sort_by(|(_, a, _), (_, b, _)| a.key.cmp(&b.key).then(b.rank.cmp(&a.rank)));
        let (mut refused, mut taken) = (Vec::new(), None);
        for (at, new, is_replacement) in rows {
            if taken == Some(new.key) {
                // Replacements were counted as superseded by the claim.
                counts[at][4] += u8::from(!is_replacement);
                continue;
            }
            counts[at][4] -= u8::from(is_replacement);
            let mut stored = self.rows[usize::from(new.key)];
            if !rules.has(Rule::Guard)
                && let Some(stored) = &mut stored
            {
                stored.rank = stored.rank.min(new.rank);
            }
            let held = stored.map(|row| (row.rank, row.content.fingerprint(row.rank.version)));
            let fingerprint = new.content.fingerprint(new.rank.version);
            let object = new.rank.position.object().get();
            let is_out_of_order = unread.is_some_and(|unread| i64::from(unread) < object);
            let if_changed = new.if_changed && !is_out_of_order;
            let change = Change::of(held, new.rank, fingerprint, if_changed, false);
            let writes = matches!(change, Change::Insert | Change::Update | Change::Raise);
            if writes && new.content == Content::Refused {
                refused.push((new.key, new.rank));
                continue;
            }
            taken = Some(new.key);
            let is_delete = new.content == Content::Delete;
            let count = match change {
                Change::Insert | Change::Update if is_delete => 2,
                Change::Insert => 0,
                Change::Update => 1,
                Change::Raise | Change::Nothing => 3,
                Change::Superseded => 4,
            };
            counts[at][count] += 1;
            if writes {
                let row = Row { rank: new.rank, content: new.content };
                let stays = !is_delete || rules.has(Rule::Tombstone);
                self.rows[usize::from(new.key)] = stays.then_some(row);
            }
        }
        (counts, refused)
    }

    /// Writes the entry of a chunk.
    fn enter(
        &mut self,
        chunk: &ClaimedChunk,
        rejected: u8,
        counts: [u8; 6],
        scenario: &Scenario,
        rules: Rules,
    ) {
        let Some(object) = self.objects.get_mut(usize::from(chunk.message.object) - 1) else {
            return;
        };
        let Some(entry) = object.chunks.get_mut(usize::from(chunk.message.chunk)) else {
            return;
        };
        let first = to_counts(entry.counts);
        if scenario.counts {
            entry.counts = if first.lines() > 0 && entry.state != ChunkState::Committed {
                from_counts(&first.amended(to_counts(counts)))
            } else {
                counts
            };
        }
        entry.state = ChunkState::Committed;
        (entry.was_committed, entry.has_counts) = (true, true);
        entry.rejected = rejected;
        let by = if rules.has(Rule::Waiting) { &chunk.superseded_by[..] } else { &[] };
        entry.superseded_by = by.to_vec();
    }

    /// Without [`Rule::Transaction`], the rows of chunks are written first.
    pub fn write_rows(&mut self, chunks: &[ClaimedChunk], rules: Rules) {
        let chunks: Vec<&ClaimedChunk> = chunks.iter().collect();
        self.write(&chunks, false, None, rules);
    }

    /// A chunk was delivered too often, and is tried alone.
    pub fn suspect(&mut self, chunk: &Message, rules: Rules) {
        if !self.is_current(chunk) || self.object(chunk.object).is_some_and(Object::has_ended) {
            return;
        }
        let entry = &mut self.object_mut(chunk.object).chunks[usize::from(chunk.chunk)];
        match entry.state {
            ChunkState::Missing => entry.state = ChunkState::Suspect,
            ChunkState::Forgotten if !rules.has(Rule::SuspectStaysForgotten) => {
                entry.state = ChunkState::Suspect;
            }
            _ => {}
        }
    }

    /// A chunk crashed its writers too often; returns whether it is dead now.
    pub fn dead_letter(&mut self, chunk: &Message) -> bool {
        if !self.is_current(chunk) || self.object(chunk.object).is_some_and(Object::has_ended) {
            return false;
        }
        let entry = &mut self.object_mut(chunk.object).chunks[usize::from(chunk.chunk)];
        if entry.state == ChunkState::Committed {
            return false;
        }
        entry.unclaimed &= entry.state == ChunkState::Dead;
        entry.state = ChunkState::Dead;
        true
    }

    /// Which of some objects may not end.
    fn blocked(&self, numbers: &[u8], rules: Rules) -> Blocked {
        let settled = self.settled();
        let mut blocked = Blocked::default();
        let mut blockers: HashMap<u8, Blocker> = HashMap::new();
        for number in numbers {
            let Some(object) = self.object(*number) else { continue };
            let committed = object.entries().filter(|(_, one)| one.state == ChunkState::Committed);
            for by in committed.flat_map(|(_, chunk)| &chunk.superseded_by) {
                if by.object < settled {
                    continue;
                }
                let blocker = self.object(by.object).map(|other| {
                    &*blockers.entry(by.object).or_insert_with(|| Self::blocker(other, rules))
                });
                if by.object != *number || rules.has(Rule::WaitingForOwn) {
                    let by = SupersededBy {
                        object: ObjectId::new(i64::from(by.object)).unwrap_or_default(),
                        first_line: by.first.into(),
                        last_line: by.last.into(),
                    };
                    blocked.add(i64::from(*number), &by, blocker);
                }
            }
        }
        blocked
    }

    fn blocker(object: &Object, rules: Rules) -> Blocker {
        let mut line = 1;
        let mut chunks = Vec::new();
        let entries: Vec<u8> = object.entries().map(|(at, _)| at).collect();
        for (at, chunk) in (0..).zip(&object.chunks) {
            let behind = line + i64::from(chunk.lines);
            let is_dead = chunk.state == ChunkState::Dead;
            if entries.contains(&at) && (is_dead || chunk.state == ChunkState::Committed) {
                let has_claims = is_dead && !(chunk.unclaimed && rules.has(Rule::Unclaimed));
                chunks.push((line, behind, has_claims));
            }
            line = behind;
        }
        Blocker { has_ended: object.has_ended() || object.unreadable, chunks }
    }

    /// Ends every object that its chunks cover; returns whether anything changed.
    pub fn settle(&mut self, new: u8, max_rejects: Option<u8>, rules: Rules) -> bool {
        let watermark = self.settled();
        let complete: Vec<u8> = self.numbers().filter(|one| self.is_complete(*one)).collect();
        let over = self.over_reject_limit(max_rejects, rules);
        let mut numbers = complete.clone();
        let is_unreadable = self.object(watermark).is_some_and(|object| object.unreadable);
        if over.contains(&watermark) || is_unreadable {
            numbers.push(watermark);
        }
        let blocked = self.blocked(&numbers, rules);
        if blocked.needs_epoch() && !self.blocked(&numbers, Rules::default()).needs_epoch() {
            self.ended_in_vain = true;
        }
        let may_end = |number: &u8| blocked.may_end(i64::from(*number));
        let (dead, committed): (Vec<u8>, Vec<u8>) =
            complete.into_iter().filter(may_end).partition(|number| {
                let object = self.object(*number);
                object.is_some_and(|object| !object.all_chunks(&[ChunkState::Committed]))
            });
        let mut changed = !committed.is_empty();
        for number in committed {
            let is_over = over.contains(&number);
            let object = self.object_mut(number);
            let lines: u32 = object.chunks.iter().map(|chunk| u32::from(chunk.lines)).sum();
            let failed = is_over || object.unreadable || (lines > 0 && object.rejected() == lines);
            object.state = if failed { ObjectState::Failed } else { ObjectState::Done };
        }
        let mut failing = [dead, self.over_reject_limit(max_rejects, rules)].concat();
        failing.sort_unstable();
        let mut any_failed = false;
        for number in failing {
            let at_watermark = self.settled() == number || !rules.has(Rule::AtWatermark);
            let blocked = self.blocked(&[number], rules);
            if at_watermark && blocked.may_end_incomplete(i64::from(number)) {
                self.object_mut(number).state = ObjectState::Failed;
                any_failed = true;
            }
        }
        changed |= any_failed;
        if (any_failed && rules.has(Rule::FailedEndsEpoch))
            || (blocked.needs_epoch() && rules.has(Rule::LostClaim))
        {
            changed = true;
            self.end_current(new, rules);
        }
        self.fold();
        changed
    }

    fn end_current(&mut self, new: u8, rules: Rules) {
        if self.epoch.is_some() && rules.is_shared() {
            self.replace(new, rules);
        }
    }

    fn over_reject_limit(&self, limit: Option<u8>, rules: Rules) -> Vec<u8> {
        let Some(limit) = limit else {
            return Vec::new();
        };
        let over = self.numbers().filter(|number| {
            self.object(*number).is_some_and(|object| {
                let mut entries = object.entries();
                !object.has_ended()
                    && object.rejected() > u32::from(limit)
                    && (!rules.has(Rule::ForgottenStays)
                        || entries.all(|(_, chunk)| chunk.state != ChunkState::Forgotten))
            })
        });
        over.collect()
    }

    /// Fails an object that cannot be read any more, if everything below it is settled.
    pub fn fail(&mut self, number: u8, new: u8, rules: Rules) -> bool {
        let object = self.object(number);
        let may_fail = object
            .is_some_and(|object| object.state == ObjectState::Loading && object.unreadable)
            && (self.settled() == number || !rules.has(Rule::AtWatermark))
            && self.blocked(&[number], rules).may_end(i64::from(number));
        if may_fail {
            self.object_mut(number).state = ObjectState::Failed;
            if rules.has(Rule::FailedEndsEpoch) {
                self.end_current(new, rules);
            }
            self.fold();
        }
        may_fail
    }

    fn fold(&mut self) {
        let settled = usize::from(self.settled()) - 1;
        for object in &mut self.objects[..settled] {
            object.folded = true;
            for chunk in &mut object.chunks {
                let counts = std::mem::take(&mut chunk.counts);
                object.folded_counts.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                chunk.superseded_by.clear();
                chunk.unclaimed = false;
            }
        }
    }

    /// Whether an object can be replayed: everything from it on can still be read, or has nothing in the table.
    #[must_use]
    pub fn can_replay(&self, number: u8) -> bool {
        let has_content = |object: &Object| {
            let committed = [ChunkState::Committed, ChunkState::Forgotten];
            object.chunks.iter().any(|chunk| committed.contains(&chunk.state) || chunk.has_counts)
        };
        (number..self.next_object()).all(|at| {
            let object = self.object(at);
            object.is_some_and(|one| !one.unreadable || (at != number && !has_content(one)))
        })
    }

    /// Replays an object and all that were registered after it.
    pub fn replay(&mut self, number: u8, incarnation: u8, rules: Rules) {
        let last = if rules.has(Rule::Later) { self.next_object() } else { number + 1 };
        for at in number..last {
            let object = self.object_mut(at);
            if object.unreadable {
                continue;
            }
            object.incarnation = incarnation;
            object.state = ObjectState::Registered;
            (object.is_read, object.folded) = (false, false);
            object.folded_counts = [0; 6];
            for chunk in &mut object.chunks {
                let Chunk { lines, was_committed, .. } = *chunk;
                *chunk = Chunk { lines, was_committed, ..Chunk::default() };
            }
        }
        if let Some(epoch) = &mut self.epoch {
            epoch.in_force &= !rules.has(Rule::ReplayEndsEpoch);
            epoch.write_through = 0;
        }
    }

    /// The database goes back to this state, which its server's start time tells.
    #[must_use]
    pub fn restored(&self, rules: Rules) -> Self {
        let mut restored = self.clone();
        if let Some(epoch) = &mut restored.epoch
            && rules.has(Rule::Restored)
        {
            epoch.in_force = false;
        }
        restored
    }
}

fn to_counts(counts: [u8; 6]) -> Counts {
    let [inserted, updated, deleted, unchanged, superseded, rejected] = counts.map(u64::from);
    Counts { inserted, updated, deleted, unchanged, superseded, rejected, blank: 0 }
}

fn from_counts(counts: &Counts) -> [u8; 6] {
    let Counts { inserted, updated, deleted, unchanged, superseded, rejected, .. } = *counts;
    [inserted, updated, deleted, unchanged, superseded, rejected].map(|count| count as u8)
}

/// The row that a line would write.
pub(crate) fn new_row(
    message: &Message,
    line: u8,
    of: &crate::input::Line,
    if_changed: bool,
) -> NewRow {
    let rank = rank(message.object, line, of.version);
    NewRow { key: of.key, rank, content: of.content, if_changed }
}
