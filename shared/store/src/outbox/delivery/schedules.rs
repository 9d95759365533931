//! Random schedules of commits, folds, attempts and crashes for one record, against a receiver that remembers all calls.

use std::{collections::HashMap, time::Duration};

use jetline_core::{Fingerprint, ObjectId, Position, Rank};
use jetline_datasets::{ChangeKind, Destination, parse};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Attempt, AttemptOutcome, Change, Delivery, DeliveryState};

const SCHEDULES: u64 = 20_000;
const STEPS: usize = 40;
const TERM: Duration = Duration::from_millis(100);
/// How long a request takes at most.
const REQUEST: i64 = 40;

/// A content of the record; none if it is deleted.
type Content = Option<u8>;

/// A call that arrived.
struct Call {
    content: Content,
    kind: ChangeKind,
    rank: Rank,
    id: i64,
}

struct World {
    random: StdRng,
    destination: Destination,
    now: i64,
    /// The record in the table: its content and the rank of it.
    table: Option<(Content, Rank)>,
    /// The changes that are not folded.
    appended: Vec<Change>,
    changes: i64,
    delivery: Option<Delivery>,
    /// Attempts under way, and until when each may send.
    attempts: Vec<(Attempt, i64)>,
    calls: Vec<Call>,
}

fn fingerprint(content: Content) -> Fingerprint {
    Fingerprint::of(&[content.unwrap_or(u8::MAX)])
}

fn destination(deliver: &str) -> Destination {
    let text = format!(
        "key = 'id'\ndeleted = {{ column = 'op', equals = 'D' }}\ncolumns = {{ id = 'bigint' }}
         [[deliver]]\nname = 'crm'\nurl = 'http://crm'\n{deliver}"
    );
    parse("customers", "customers.toml", &text).unwrap().destinations.remove(0)
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            destination: destination(""),
            now: 1_000,
            table: None,
            appended: Vec::new(),
            changes: 0,
            delivery: None,
            attempts: Vec::new(),
            calls: Vec::new(),
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.now += self.random.random_range(0..30);
            match self.random.random_range(0..10) {
                0..=2 => self.commit(),
                3 | 4 => self.fold(false),
                5 | 6 => self.lease(),
                _ => self.end_any(),
            }
        }
    }

    /// A line with the next rank; it changes nothing if it has the content of the row.
    fn commit(&mut self) {
        let content = Some(self.random.random_range(0..3)).filter(|content| *content < 2);
        let line = u32::try_from(self.now).unwrap();
        let rank = Rank { version: 0, position: Position::new(ObjectId::new(1).unwrap(), line) };
        let before = self.table.map(|(before, _)| before);
        if before == Some(content) {
            return;
        }
        self.table = Some((content, rank));
        self.changes += 1;
        self.appended.push(Change {
            id: self.changes,
            key: "1".to_owned(),
            kind: match (before, content) {
                (_, None) => ChangeKind::Deleted,
                (None, _) => ChangeKind::Inserted,
                _ => ChangeKind::Updated,
            },
            was_absent: before.is_none() && content.is_none(),
            rank,
            fingerprint: fingerprint(content),
            due_at: self.now,
            error: None,
        });
    }

    /// Folds some of the changes, in any order, or all of them.
    fn fold(&mut self, all: bool) {
        while !self.appended.is_empty() {
            let change = self.appended.remove(self.random.random_range(0..self.appended.len()));
            let (delivery, _) =
                Delivery::wanted(self.delivery.as_ref(), change, &self.destination, self.now);
            self.delivery = delivery.or(self.delivery.take());
            if !all && self.random.random_bool(0.5) {
                break;
            }
        }
    }

    fn lease(&mut self) {
        let now = self.now;
        let due = self.delivery.as_mut();
        let Some(due) = due.filter(|due| due.due_at.is_some_and(|due_at| due_at <= now)) else {
            return;
        };
        let may_send = self.attempts.iter().any(|(_, until)| *until > now);
        assert!(!may_send, "two attempts at a time");
        let token = self.random.random::<u64>().to_string();
        let attempt = due.begin(&token, now, TERM);
        let until = now + super::milliseconds(TERM) - REQUEST;
        self.attempts.push((attempt, until));
    }

    /// One of the attempts ends: it is sent or not, arrives or not, and its outcome is recorded or not.
    fn end_any(&mut self) {
        if self.attempts.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.attempts.len());
        let (attempt, until) = self.attempts.remove(at);
        let has_content =
            self.table.is_some_and(|(content, _)| fingerprint(content) == attempt.fingerprint);
        let outcome = if !has_content || self.now >= until {
            Some(AttemptOutcome::Released { after: Duration::from_millis(3) })
        } else {
            self.send(&attempt)
        };
        // Otherwise the courier has crashed.
        if let (Some(outcome), Some(delivery)) = (outcome, &mut self.delivery) {
            delivery.end(&attempt, &outcome, &self.destination, self.now);
        }
    }

    fn send(&mut self, attempt: &Attempt) -> Option<AttemptOutcome> {
        let luck = self.random.random_range(0..6);
        if luck < 4 {
            let (content, _) = self.table.unwrap();
            let (kind, rank, id) = (attempt.kind, attempt.rank, attempt.revision);
            self.calls.push(Call { content, kind, rank, id });
        }
        let retry = |status| AttemptOutcome::Retry {
            after: Duration::from_millis(5),
            status,
            error: String::new(),
        };
        match luck {
            0 | 1 => Some(AttemptOutcome::Delivered { status: 200 }),
            // The answer is lost, or the request.
            2 | 4 => Some(retry(None)),
            _ if luck == 5 && self.random.random_bool(0.5) => Some(retry(Some(503))),
            _ => None,
        }
    }

    /// Everything goes well from now on.
    fn settle(&mut self) {
        self.fold(true);
        self.attempts.clear();
        for _ in 0..100 {
            let Some(due) = self.delivery.as_mut().filter(|due| due.due_at.is_some()) else {
                return;
            };
            self.now = self.now.max(due.due_at.unwrap());
            let attempt = due.begin("last", self.now, TERM);
            let (content, _) = self.table.unwrap();
            assert_eq!(attempt.fingerprint, fingerprint(content), "what is wanted is in the table");
            let (kind, rank, id) = (attempt.kind, attempt.rank, attempt.revision);
            self.calls.push(Call { content, kind, rank, id });
            let delivered = AttemptOutcome::Delivered { status: 200 };
            due.end(&attempt, &delivered, &self.destination, self.now);
        }
        panic!("it is delivered again and again");
    }
}

#[test]
fn receiver_gets_each_content_in_order_and_has_the_last_one() {
    for seed in 0..SCHEDULES {
        let mut world = World::new(seed);
        world.run();
        world.settle();
        let calls = &world.calls;
        assert!(calls.is_sorted_by_key(|call| call.rank), "seed {seed}: an older one came later");
        let mut ids: HashMap<i64, Content> = HashMap::new();
        for call in calls {
            let content = *ids.entry(call.id).or_insert(call.content);
            assert_eq!(content, call.content, "seed {seed}: two contents of one id");
            assert_eq!(call.kind == ChangeKind::Deleted, content.is_none(), "seed {seed}");
        }
        let last = calls.last().map(|call| call.content);
        match world.table {
            // Nobody knew it.
            Some((None, _)) if last.is_none() => {}
            table => assert_eq!(last, table.map(|(content, _)| content), "seed {seed}"),
        }
        let state = world.delivery.map(|delivery| delivery.state);
        let is_over =
            matches!(state, None | Some(DeliveryState::Delivered | DeliveryState::Ignored));
        assert!(is_over, "seed {seed}: {state:?}");
    }
}

/// What the destination has acknowledged is not sent again, however often the content changes before the next attempt.
#[test]
fn acknowledged_content_is_not_sent_again() {
    for seed in 0..SCHEDULES / 10 {
        let mut world = World::new(seed);
        world.run();
        world.settle();
        let known = world.table;
        let calls = world.calls.len();
        for _ in 0..10 {
            world.now += 1;
            world.commit();
            if world.random.random_bool(0.5) {
                world.fold(false);
            }
        }
        let content = |table: Option<(Content, Rank)>| table.and_then(|(content, _)| content);
        let is_same = content(known) == content(world.table);
        world.settle();
        let sent = world.calls.len() - calls;
        // A record that was inserted and deleted before anything was sent may be unknown or not.
        let is_deleted = content(world.table).is_none();
        let is_expected = sent == usize::from(!is_same) || (is_deleted && sent == 1);
        assert!(is_expected, "seed {seed}: {sent} calls");
    }
}
