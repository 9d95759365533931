//! Posts: records that clients sent over HTTP, each by its lines in the object into which it was written.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use jetline_core::ObjectId;
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::{
    NewObject, ObjectLedger,
    register::{current_declarations, find, insert},
};
use crate::{
    Error,
    dialect::{self, Lock},
    entities::objects::State,
    statement::{execute, placeholders, query},
    transaction::Transaction,
};

/// Parameters of a row of `intake`.
const COLUMNS: usize = 8;

/// Maximum number of posts in a statement: PostgreSQL takes 65,535 parameters, SQLite 32,766.
const BATCH: usize = 1_000;

/// A post that is to be registered.
#[derive(Clone, Debug)]
pub struct NewPost {
    /// Who sent it; empty where nobody has to authenticate.
    pub caller: String,
    /// Identifies it among those of the caller for the dataset.
    pub idempotency_key: Option<String>,
    /// A hash of what was sent.
    pub body_hash: [u8; 32],
    /// Its first line in the object, from 1.
    pub first_line: u32,
    /// How many lines it has there, at least one.
    pub lines: u32,
}

impl NewPost {
    /// The post, when it is registered as lines of an object.
    #[must_use]
    pub fn registered(&self, object: ObjectId, dataset: &str) -> Post {
        Post {
            object,
            first_line: self.first_line.into(),
            lines: self.lines.into(),
            dataset: dataset.to_owned(),
            caller: self.caller.clone(),
            body_hash: self.body_hash.to_vec(),
        }
    }
}

/// A post that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The object.
    pub object: ObjectId,
    /// Its first line in the object, from 1.
    pub first_line: i64,
    /// How many lines it has there.
    pub lines: i64,
    /// The dataset.
    pub dataset: String,
    /// Who sent it; empty where nobody had to authenticate.
    pub caller: String,
    /// A hash of what was sent.
    pub body_hash: Vec<u8>,
}

/// What became of a post so far.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct PostOutcome {
    /// The state of its object.
    pub state: State,
    /// Why the object failed.
    pub error: Option<String>,
    /// How many of the post's lines are rejected.
    pub rejected: i64,
}

#[derive(FromQueryResult)]
struct SettledRow {
    object_id: i64,
}

/// The result of registering posts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostsOutcome {
    /// They are registered as lines of this object.
    Registered(ObjectId),
    /// Nothing is registered: the dataset has another declaration, or none.
    Outdated,
    /// Nothing is registered: these posts have been before, by their places among those that were to be registered.
    Known(HashMap<usize, Post>),
}

#[derive(FromQueryResult)]
struct PostRow {
    object_id: i64,
    first_line: i64,
    lines: i64,
    dataset: String,
    caller: String,
    idempotency_key: Option<String>,
    body_hash: Vec<u8>,
}

const SELECT: &str =
    "SELECT object_id, first_line, lines, dataset, caller, idempotency_key, body_hash FROM intake";

impl ObjectLedger {
    /// Registers an object and the posts whose lines it has, unless one of them is registered, or the records were validated and
    /// redacted by another declaration than the current one.
    pub async fn register_posts(
        &self,
        object: &NewObject,
        declaration: i64,
        posts: &[NewPost],
    ) -> Result<PostsOutcome, Error> {
        let tx = Transaction::begin(&self.db).await?;
        dialect::of(&tx).lock(&tx, Lock::Registration).await?;
        if let Some(sql) = dialect::of(&tx).commit_durably() {
            execute(&tx, "commit posts durably", sql, []).await?;
        }
        let current = current_declarations(&tx).await?.get(&object.dataset).copied();
        if current != Some(declaration) {
            return Ok(PostsOutcome::Outdated);
        }
        let known = known(&tx, &object.dataset, posts).await?;
        if !known.is_empty() {
            return Ok(PostsOutcome::Known(known));
        }
        // A listing may have found it meanwhile.
        let id = match find(&tx, object).await? {
            Some(id) => id,
            None => insert(&tx, &[object], (self.now)()).await?,
        };
        for batch in posts.chunks(BATCH) {
            insert_posts(&tx, id, &object.dataset, batch, (self.now)()).await?;
        }
        tx.commit("register posts").await?;
        Ok(PostsOutcome::Registered(id))
    }

    /// The post with this first line of an object.
    pub async fn post(&self, object: ObjectId, first_line: u32) -> Result<Option<Post>, Error> {
        let sql = format!("{SELECT} WHERE object_id = $1 AND first_line = $2");
        let values = [object.get().into(), i64::from(first_line).into()];
        let rows: Vec<PostRow> = query(&self.db, "read a post", &sql, values).await?;
        rows.into_iter().next().map(Post::try_from).transpose()
    }

    /// The post of a caller with this key.
    pub async fn post_with_key(
        &self,
        caller: &str,
        dataset: &str,
        key: &str,
    ) -> Result<Option<Post>, Error> {
        let sql = format!("{SELECT} WHERE caller = $1 AND dataset = $2 AND idempotency_key = $3");
        let values = [caller.into(), dataset.into(), key.into()];
        let rows: Vec<PostRow> = query(&self.db, "read a post", &sql, values).await?;
        rows.into_iter().next().map(Post::try_from).transpose()
    }

    /// The state of a post's object, and how many of its lines are rejected.
    pub async fn post_outcome(&self, post: &Post) -> Result<PostOutcome, Error> {
        let sql = "SELECT state, error,
                (SELECT COUNT(*) FROM rejected_lines WHERE object_id = id AND line BETWEEN $2 AND $3) AS rejected
             FROM objects WHERE id = $1";
        let last = post.first_line + post.lines - 1;
        let values = [post.object.get().into(), post.first_line.into(), last.into()];
        let rows: Vec<PostOutcome> = query(&self.db, "read a post's outcome", sql, values).await?;
        let gone = || Error::Corrupt(format!("there is no object {}", post.object));
        rows.into_iter().next().ok_or_else(gone)
    }

    /// Those of the objects that have ended.
    pub async fn settled_among(&self, objects: &[ObjectId]) -> Result<Vec<ObjectId>, Error> {
        let mut ended = Vec::new();
        for batch in objects.chunks(BATCH) {
            let of = placeholders(1, batch.len());
            let sql = format!(
                "SELECT id AS object_id FROM objects WHERE id IN ({of}) AND state IN ('done', 'failed')"
            );
            let values = batch.iter().map(|object| object.get().into());
            let rows: Vec<SettledRow> = query(&self.db, "find ended objects", &sql, values).await?;
            ended.extend(rows.into_iter().filter_map(|row| ObjectId::new(row.object_id)));
        }
        Ok(ended)
    }

    /// Forgets the posts that were registered before this time, with their keys. Their objects stay.
    pub async fn forget_posts(&self, before: DateTime<Utc>) -> Result<u64, Error> {
        let sql = "DELETE FROM intake WHERE created_at < $1";
        execute(&self.db, "forget posts", sql, [before.timestamp_micros().into()]).await
    }
}

/// The posts whose keys are registered.
async fn known(
    db: &impl ConnectionTrait,
    dataset: &str,
    posts: &[NewPost],
) -> Result<HashMap<usize, Post>, Error> {
    let mut keys: HashMap<(&str, &str), usize> = HashMap::new();
    for (place, post) in posts.iter().enumerate() {
        if let Some(key) = &post.idempotency_key {
            keys.insert((&post.caller, key), place);
        }
    }
    let all: Vec<(&str, &str)> = keys.keys().copied().collect();
    let mut known = HashMap::new();
    for batch in all.chunks(BATCH) {
        let mut values: Vec<Value> = vec![dataset.into()];
        values.extend(batch.iter().map(|(_, key)| Value::from(*key)));
        let of = placeholders(2, batch.len());
        let sql = format!("{SELECT} WHERE dataset = $1 AND idempotency_key IN ({of})");
        let rows: Vec<PostRow> = query(db, "find known posts", &sql, values).await?;
        for row in rows {
            let key = row.idempotency_key.clone().unwrap_or_default();
            let place = keys.get(&(&*row.caller, &*key)).copied();
            if let Some(place) = place {
                known.insert(place, Post::try_from(row)?);
            }
        }
    }
    Ok(known)
}

async fn insert_posts(
    db: &impl ConnectionTrait,
    object: ObjectId,
    dataset: &str,
    posts: &[NewPost],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut values: Vec<Value> = Vec::with_capacity(posts.len() * COLUMNS);
    let mut rows = Vec::with_capacity(posts.len());
    for post in posts {
        rows.push(format!("({})", placeholders(values.len() + 1, COLUMNS)));
        values.extend([
            object.get().into(),
            i64::from(post.first_line).into(),
            i64::from(post.lines).into(),
            dataset.into(),
            post.caller.as_str().into(),
            post.idempotency_key.clone().into(),
            post.body_hash.to_vec().into(),
            now.timestamp_micros().into(),
        ]);
    }
    let sql = format!(
        "INSERT INTO intake (object_id, first_line, lines, dataset, caller, idempotency_key, body_hash, created_at)
         VALUES {}",
        rows.join(", ")
    );
    execute(db, "register posts", &sql, values).await.map(drop)
}

impl TryFrom<PostRow> for Post {
    type Error = Error;

    fn try_from(row: PostRow) -> Result<Self, Error> {
        let object = ObjectId::new(row.object_id)
            .ok_or_else(|| Error::Corrupt(format!("a post is in object {}", row.object_id)))?;
        Ok(Self {
            object,
            first_line: row.first_line,
            lines: row.lines,
            dataset: row.dataset,
            caller: row.caller,
            body_hash: row.body_hash,
        })
    }
}
