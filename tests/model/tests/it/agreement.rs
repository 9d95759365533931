//! The ledger of the model does what that of the project does, on both databases.
//!
//! The same random calls are made on both, and after each call both have the same objects, chunks, rows and epoch. The dedup
//! store's side is compared in `shared/dedup/tests/it/model.rs`.

use std::{collections::HashSet, num::NonZeroU32, time::Duration};

use chrono::{DateTime, Utc};
use jetline_core::{
    ChunkRange, EpochId, Key, Mode as CoreMode, ObjectId, ObjectVersion, Position, Rank,
};
use jetline_datasets::{Dataset, Reason, Rejection, Row as DatasetRow, UnknownFields, Value};
use jetline_model::{
    Content, Mode, Rules, Scenario,
    ledger::{By, ChunkState, ClaimedChunk, Commit, Ledger, Message, NewRow, ObjectState},
};
use jetline_store::{
    ChunkRows, CommitOutcome, Database, DeclarationFile, KeyClaim, Ledger as RealLedger,
    RejectedLine, SupersededBy, UpsertRow,
    chunks::{Admission, RefusedRow, SuspectAction},
    entities::{chunks, objects},
    objects::{
        ExistingVersion, LeaseLimits, NewObject, ReadOutcome, RejectLimit, Replay, ReplayOutcome,
    },
};
use jetline_testkit::postgres::TemporaryDatabase;
use rand::{Rng, SeedableRng, rngs::StdRng};
use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder, Statement};

const ROOT: &str = "file:///files";
const LINE_BYTES: u64 = 10;
const CHUNKS: u8 = 3;
const STEPS: usize = 60;
const DECLARATION: &str = "key = \"id\"\nversion = \"at\"\nunknown = \"ignore\"\n[columns]\nid = \"bigint\"\n\
                           text = \"text\"\nat = \"bigint\"\n";

#[tokio::test]
async fn ledger_of_the_model_agrees_on_sqlite() {
    let db = Database::connect("sqlite::memory:", 1).await.unwrap();
    agree(db, 0..120, false).await;
}

#[tokio::test]
async fn ledger_of_the_model_agrees_on_postgres() {
    let database = TemporaryDatabase::create("model").await;
    let db = Database::connect(&database.url(), 2).await.unwrap();
    agree(db, 1_000..1_060, true).await;
}

/// With `refuses`, the database refuses rows with [`Content::Refused`].
async fn agree(db: Database, seeds: std::ops::Range<u64>, refuses: bool) {
    jetline_migrations::migrate(db.connection()).await.unwrap();
    let declared = DeclarationFile::new("records", "records.toml", DECLARATION).unwrap();
    db.declare(std::slice::from_ref(&declared)).await.unwrap();
    if refuses {
        let check = "ALTER TABLE records ADD CHECK (text <> 'Refused')";
        db.connection().execute_unprepared(check).await.unwrap();
    }
    for seed in seeds {
        let tables = ["chunks", "rejected_lines", "objects", "epoch", "records"];
        for table in tables {
            db.connection().execute_unprepared(&format!("DELETE FROM {table}")).await.unwrap();
        }
        let mut random = StdRng::seed_from_u64(seed);
        let limit = random.random_bool(0.3).then_some(0);
        let mode = if random.random() { Mode::Shared } else { Mode::InOrder };
        let mut pair = Pair {
            real: RealLedger::new(&db, Utc::now),
            dataset: declared.dataset.clone(),
            model: Ledger::new(2),
            scenario: Scenario {
                counts: true,
                ..Scenario::new("agreement", &["xA xA xA"], &[], 0)
            },
            rules: Rules::all().with_mode(mode),
            refuses,
            random,
            next: 0,
            limit,
            log: Vec::new(),
        };
        for _ in 0..STEPS {
            pair.step().await;
            let (real, model) = (pair.real_state().await, pair.model_state());
            assert_eq!(real, model, "seed {seed}: {:#?}", pair.log);
        }
    }
}

struct Pair {
    real: RealLedger,
    dataset: Dataset,
    model: Ledger,
    scenario: Scenario,
    rules: Rules,
    refuses: bool,
    random: StdRng,
    /// The last id of an epoch or an incarnation.
    next: u8,
    limit: Option<u8>,
    log: Vec<String>,
}

impl Pair {
    async fn step(&mut self) {
        let step = self.random.random_range(0..26);
        self.log.push(format!("{step}"));
        match step {
            0..2 => self.register().await,
            2..6 => self.read(false).await,
            6 => self.read(true).await,
            7 => self.reread().await,
            8..10 => self.begin().await,
            10 => self.end().await,
            11 => self.admit().await,
            12 => self.dead_letter().await,
            13..16 => self.settle().await,
            16 => self.fail().await,
            17 => self.replay().await,
            18 => self.restore().await,
            19 => self.write_through().await,
            _ => self.commit().await,
        }
    }

    fn take_next(&mut self) -> u8 {
        self.next += 1;
        self.next
    }

    fn number(&mut self) -> u8 {
        self.random.random_range(1..=self.model.next_object())
    }

    async fn register(&mut self) {
        if self.model.objects.len() == 4 {
            return;
        }
        let incarnation = self.take_next();
        let object = NewObject {
            is_posted: false,
            incarnation: incarnation.to_string(),
            dataset: "records".to_owned(),
            version: ObjectVersion {
                root: ROOT.to_owned(),
                key: self.model.next_object().to_string(),
                etag: "e".to_owned(),
                size: 1,
                last_modified: DateTime::UNIX_EPOCH,
            },
            chunk_bytes: 1,
            chunk_lines: NonZeroU32::MAX,
            max_line_bytes: 1,
        };
        assert_eq!(self.real.objects.register(&[object]).await.unwrap(), 1);
        self.model.register(0, [1; CHUNKS as usize].into_iter(), incarnation);
    }

    /// Reads the oldest object that is to be read; its gaps are the same.
    async fn read(&mut self, vanishes: bool) {
        let limits = LeaseLimits { objects: 1, bytes: 0 };
        let hour = Duration::from_hours(1);
        let next = self.model.objects.iter().position(|one| one.state == ObjectState::Registered);
        let Some(next) = next.filter(|next| !vanishes || self.model.objects[*next].is_read) else {
            return;
        };
        let number = next as u8 + 1;
        let leased = self.real.objects.lease("me", &[ROOT.to_owned()], hour, limits).await.unwrap();
        assert_eq!(leased[0].id, id(number));
        let total = self.model.objects[next].is_read.then_some(u64::from(CHUNKS) * LINE_BYTES);
        let gaps = self.real.objects.gaps(&[(id(number), total)]).await.unwrap().remove(0).unwrap();
        let in_gap = |chunk: &u8| {
            let start = u64::from(*chunk) * LINE_BYTES;
            gaps.iter().any(|gap| gap.start <= start && gap.end.is_none_or(|end| start < end))
        };
        assert_eq!((0..CHUNKS).filter(in_gap).collect::<Vec<_>>(), self.model.gaps(number));
        let outcome = if vanishes {
            self.model.vanish(number);
            ReadOutcome::Unreadable { error: "it was overwritten".to_owned() }
        } else {
            self.model.finish_reading(number);
            let lines = u64::from(CHUNKS);
            ReadOutcome::EndReached { bytes: lines * LINE_BYTES, lines, error: None }
        };
        assert_eq!(
            self.real.objects.record_outcomes(&[(id(number), outcome)], "me").await.unwrap(),
            1
        );
    }

    async fn reread(&mut self) {
        let number = self.number();
        let object = self.model.object(number);
        if object.is_some_and(|one| one.state == ObjectState::Loading && !one.unreadable) {
            self.real.objects.reread(&[id(number)]).await.unwrap();
            self.model.reread(number);
        }
    }

    async fn begin(&mut self) {
        let seen = self.model.epoch.map(|epoch| epoch.id).filter(|_| self.random.random());
        let new = self.take_next();
        let ready = async { Ok::<(), std::convert::Infallible>(()) };
        let mode = if self.rules.is_shared() { CoreMode::Shared } else { CoreMode::InOrder };
        let begun = self.real.epochs.begin(mode, seen.map(epoch), epoch(new), ready).await.unwrap();
        let (expected, _) = self.model.begin(seen, new, self.rules);
        assert_eq!(begun.id, epoch(expected.id));
    }

    async fn end(&mut self) {
        let current = self.model.epoch.map_or(0, |epoch| epoch.id);
        let seen = if self.random.random() { current } else { 99 };
        let new = self.take_next();
        self.real.epochs.end(epoch(seen), epoch(new)).await.unwrap();
        self.model.end(seen, new, self.rules);
    }

    async fn write_through(&mut self) {
        if !self.rules.is_shared() {
            return;
        }
        let new = self.take_next();
        self.real.epochs.write_through("records", epoch(new)).await.unwrap();
        self.model.write_through(0, new, self.rules);
    }

    async fn admit(&mut self) {
        let (message, current) = (self.message(), self.model.epoch.map_or(0, |epoch| epoch.id));
        let expected = self.model.admit(current, &[message], self.rules);
        match self.real.chunks.admit(epoch(current), &[&range(message)]).await.unwrap() {
            Admission::All | Admission::AllNow => assert_eq!(expected, Some(Vec::new())),
            Admission::Except(_) => assert_eq!(expected, Some(vec![message])),
            Admission::EpochEnded => assert_eq!(expected, None),
        }
    }

    async fn dead_letter(&mut self) {
        let message = self.message();
        if self.random.random() {
            // An attempt alone changes nothing that counts.
            self.real.chunks.suspect(&range(message), 9).await.unwrap();
            return;
        }
        let mut action = SuspectAction::Retry;
        for _ in 0..2 {
            action = self.real.chunks.suspect(&range(message), 1).await.unwrap();
        }
        let is_dead =
            self.model.object(message.object).is_some() && self.model.dead_letter(&message);
        assert_eq!(action == SuspectAction::DeadLetter, is_dead);
    }

    async fn settle(&mut self) {
        let new = self.take_next();
        let limit = self.limit.map(|limit| RejectLimit::Lines(limit.into()));
        self.real.objects.settle(epoch(new), limit).await.unwrap();
        self.model.settle(new, self.limit, self.rules);
    }

    async fn fail(&mut self) {
        let (number, new) = (self.number(), self.take_next());
        let failed = self.real.objects.fail(id(number), epoch(new)).await.unwrap();
        assert_eq!(failed, self.model.fail(number, new, self.rules));
    }

    async fn replay(&mut self) {
        let number = self.number();
        let stored: HashSet<ExistingVersion> = self
            .model
            .numbers()
            .filter(|number| !self.model.object(*number).unwrap().unreadable)
            .map(|number| ExistingVersion {
                root: ROOT.to_owned(),
                key: number.to_string(),
                etag: "e".to_owned(),
            })
            .collect();
        let incarnation = self.take_next();
        let replay = Replay {
            from: id(number),
            stored: &stored,
            incarnation: &incarnation.to_string(),
            chunk_bytes: 1,
            chunk_lines: NonZeroU32::MAX,
            max_line_bytes: 1,
            rewrite: false,
        };
        match self.real.objects.replay(&replay).await.unwrap() {
            ReplayOutcome::Opened(_) => {
                assert!(self.model.can_replay(number));
                self.model.replay(number, incarnation, self.rules);
            }
            ReplayOutcome::Missing(_) => assert!(!self.model.can_replay(number)),
            outcome => {
                assert_eq!((outcome, number), (ReplayOutcome::Unknown, self.model.next_object()));
            }
        }
    }

    /// The database's server has another start time.
    async fn restore(&mut self) {
        let sql = "UPDATE epoch SET server_started_at = 'before the restore'";
        self.real.database().connection().execute_unprepared(sql).await.unwrap();
        self.model = self.model.restored(self.rules);
    }

    /// A chunk, sometimes of another incarnation of its object.
    fn message(&mut self) -> Message {
        let object = self.number();
        let incarnation = self.model.object(object).map_or(99, |object| object.incarnation);
        let incarnation = if self.random.random_bool(0.1) { 98 } else { incarnation };
        let chunk = self.random.random_range(0..CHUNKS);
        Message { object, chunk, file: 0, incarnation, settled: 0 }
    }

    /// Commits one or two chunks of an object.
    async fn commit(&mut self) {
        let Some(current) = self.model.epoch.map(|epoch| epoch.id) else { return };
        let under = if self.random.random_bool(0.1) { 97 } else { current };
        let first = self.message();
        let mut chunks = vec![self.claimed(first, 0)];
        if self.random.random() {
            let second = Message { chunk: (first.chunk + 1) % CHUNKS, ..first };
            chunks.push(self.claimed(second, 1));
        }
        let rows = || chunks.iter().map(real_rows).collect::<Vec<_>>();
        let (ledger, dataset) = (self.real.chunks.clone(), self.dataset.clone());
        let real = ledger.commit(epoch(under), &dataset, rows()).await;
        let model = self.model.commit(under, &chunks, false, &self.scenario, self.rules);
        self.log.push(format!("{chunks:?} under {under}: {model:?}"));
        if let Commit::Refused(_) = model {
            assert!(real.unwrap_err().may_be_caused_by_row(), "{:?}", self.log);
            let mut reject = |refused: Vec<RefusedRow>| rejected(&chunks, &refused);
            let real = ledger.commit_and_reject(epoch(under), &dataset, rows(), &mut reject).await;
            let model = self.model.commit(under, &chunks, true, &self.scenario, self.rules);
            assert_eq!(model, Commit::Committed(true));
            assert!(matches!(real.unwrap(), CommitOutcome::Committed(_)));
            return;
        }
        let ranges = |of: &[Message]| of.iter().copied().map(range).collect::<Vec<_>>();
        let agrees = match (&real, &model) {
            (Ok(CommitOutcome::Committed(_)), Commit::Committed(false))
            | (Ok(CommitOutcome::EpochEnded), Commit::EpochEnded) => true,
            (Ok(CommitOutcome::Stale(real)), Commit::Stale(model))
            | (Ok(CommitOutcome::Repeated(real)), Commit::Repeated(model)) => {
                *real == ranges(model)
            }
            _ => false,
        };
        assert!(agrees, "{real:?}: {:#?}", self.log);
    }

    /// A chunk of one line, of which something was found: a commit has a row of each id once.
    fn claimed(&mut self, message: Message, key: u8) -> ClaimedChunk {
        let mut chunk = ClaimedChunk {
            message,
            rows: Vec::new(),
            replacements: Vec::new(),
            unchanged: 0,
            superseded: 0,
            superseded_by: Vec::new(),
            rejected: 0,
        };
        match self.random.random_range(0..8) {
            0 => chunk.unchanged = 1,
            1 | 2 => {
                chunk.superseded = 1;
                let object = self.number();
                let first = self.random.random_range(1..=CHUNKS);
                let last = self.random.random_range(first..=CHUNKS);
                chunk.superseded_by.push(By { object, first, last });
            }
            3 => chunk.rejected = 1,
            _ => {
                let contents = [Content::A, Content::B, Content::Refused];
                let some = if self.refuses { &contents[..] } else { &contents[..2] };
                let content = some[self.random.random_range(0..some.len())];
                let version = self.random.random_range(0..2);
                let rank = Rank { version, position: position(message) };
                let if_changed = self.random.random();
                chunk.rows.push(NewRow { key, rank, content, if_changed });
            }
        }
        chunk
    }

    /// The state of the real ledger, as lines of text.
    async fn real_state(&self) -> Vec<String> {
        let db = self.real.database().connection();
        let mut lines = Vec::new();
        let objects =
            objects::Entity::find().order_by_asc(objects::Column::Id).all(db).await.unwrap();
        for one in objects {
            let counts = [
                one.inserted,
                one.updated,
                one.deleted,
                one.unchanged,
                one.superseded,
                one.rejected,
            ];
            let state = format!("{:?}", one.state);
            lines.push(format!(
                "object {} of {}: {state}, unreadable: {}, folded: {counts:?}",
                one.id, one.incarnation, one.unreadable
            ));
        }
        let order = (chunks::Column::ObjectId, chunks::Column::StartOffset);
        let found = chunks::Entity::find().order_by_asc(order.0).order_by_asc(order.1);
        for one in found.all(db).await.unwrap() {
            if one.state == chunks::State::Suspect {
                continue;
            }
            let counts = [
                one.inserted,
                one.updated,
                one.deleted,
                one.unchanged,
                one.superseded,
                one.rejected,
            ];
            let by = one.outdone_by.filter(|_| one.state == chunks::State::Committed);
            let unclaimed = one.unclaimed && one.state == chunks::State::Dead;
            lines.push(format!(
                "chunk {}.{}: {:?}, {unclaimed}, {counts:?}, by {by:?}",
                one.object_id, one.first_line, one.state
            ));
        }
        let sql = "SELECT id, text, at, jetline_position FROM records ORDER BY id";
        let rows = Statement::from_string(db.get_database_backend(), sql);
        for row in db.query_all_raw(rows).await.unwrap() {
            let numbers = ["id", "at", "jetline_position"];
            let [id, version, position]: [i64; 3] =
                numbers.map(|name| row.try_get("", name).unwrap());
            let text: String = row.try_get("", "text").unwrap();
            lines.push(format!("row {id}: {text} of {version}, {position}"));
        }
        if let Some(current) = self.real.epochs.current().await.unwrap() {
            let one = current.epoch;
            lines.push(format!(
                "epoch {}: {}, {}, {}, {}",
                one.id,
                one.base,
                one.recovery,
                current.in_force,
                !one.write_through.is_empty()
            ));
        }
        lines
    }

    fn model_state(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, one) in (1..).zip(&self.model.objects) {
            lines.push(format!(
                "object {number} of {}: {:?}, unreadable: {}, folded: {:?}",
                one.incarnation, one.state, one.unreadable, one.folded_counts
            ));
        }
        for (number, one) in (1..).zip(&self.model.objects) {
            for (line, chunk) in (1..).zip(&one.chunks) {
                if one.folded || chunk.state == ChunkState::Missing {
                    continue;
                }
                let by: Vec<_> = chunk.superseded_by.iter().collect();
                let by = by.first().map(|by| format!("[[{},{},{}]]", by.object, by.first, by.last));
                let by = by.filter(|_| chunk.state == ChunkState::Committed);
                let unclaimed = chunk.unclaimed && chunk.state == ChunkState::Dead;
                lines.push(format!(
                    "chunk {number}.{line}: {:?}, {unclaimed}, {:?}, by {by:?}",
                    chunk.state, chunk.counts
                ));
            }
        }
        for (key, row) in self.model.rows.iter().enumerate() {
            if let Some(row) = row {
                let Rank { version, position } = row.rank;
                lines.push(format!(
                    "row {key}: {:?} of {version}, {}",
                    row.content,
                    position.get()
                ));
            }
        }
        if let Some(one) = self.model.epoch {
            lines.push(format!(
                "epoch {}: {}, {}, {}, {}",
                epoch(one.id),
                one.base,
                one.recovery,
                one.in_force,
                one.write_through != 0
            ));
        }
        lines
    }
}

fn real_rows(chunk: &ClaimedChunk) -> ChunkRows {
    let rows = chunk.rows.iter().map(|new| UpsertRow {
        row: DatasetRow {
            key: Key::Int(new.key.into()),
            version: new.rank.version,
            fingerprint: new.content.fingerprint(new.rank.version),
            values: vec![
                Value::Bigint(new.key.into()),
                Value::Text(format!("{:?}", new.content)),
                Value::Bigint(new.rank.version),
            ],
        },
        position: new.rank.position,
        if_changed: new.if_changed,
        claim: if new.if_changed { KeyClaim::First } else { KeyClaim::None },
    });
    let rejected = (chunk.rejected == 1).then(|| rejected_line(chunk));
    let superseded_by = chunk.superseded_by.iter().map(|by| SupersededBy {
        object: id(by.object),
        first_line: by.first.into(),
        last_line: by.last.into(),
    });
    ChunkRows {
        range: range(chunk.message),
        rows: rows.collect(),
        unchanged: chunk.unchanged.into(),
        superseded: chunk.superseded.into(),
        replacements: Vec::new(),
        history: Vec::new(),
        rejected: rejected.into_iter().collect(),
        blank: 0,
        superseded_by: superseded_by.collect(),
        unknown: UnknownFields::default(),
    }
}

/// The rejected lines of each chunk, with those of its refused rows.
fn rejected(chunks: &[ClaimedChunk], refused: &[RefusedRow]) -> Vec<Vec<RejectedLine>> {
    let of = |chunk: &ClaimedChunk| {
        let is_refused = refused.iter().any(|row| row.position == position(chunk.message));
        let is_rejected = chunk.rejected == 1 || is_refused;
        is_rejected.then(|| rejected_line(chunk)).into_iter().collect()
    };
    chunks.iter().map(of).collect()
}

fn rejected_line(chunk: &ClaimedChunk) -> RejectedLine {
    RejectedLine {
        line: u32::from(chunk.message.chunk) + 1,
        offset: 0,
        rejection: Rejection::new(Reason::InvalidJson, String::new()),
        raw: Vec::new(),
    }
}

fn range(message: Message) -> ChunkRange {
    let start = u64::from(message.chunk) * LINE_BYTES;
    ChunkRange {
        object: id(message.object),
        incarnation: message.incarnation.to_string(),
        start,
        end: start + LINE_BYTES,
        first_line: u32::from(message.chunk) + 1,
        lines: 1,
    }
}

fn position(message: Message) -> Position {
    Position::new(id(message.object), u32::from(message.chunk) + 1)
}

fn id(number: u8) -> ObjectId {
    ObjectId::new(number.into()).unwrap()
}

fn epoch(number: u8) -> EpochId {
    format!("{number:016x}").parse().unwrap()
}
