//! The objects in the ledger: registered, leased, read, and ended.

mod dismiss;
mod gaps;
mod lease;
mod listed;
mod loading;
mod no_accepted_lines;
mod posts;
mod refusals;
mod register;
mod reject_limit;
mod replay;
mod replay_requests;
mod retention;
mod settle;
mod superseded;

pub use dismiss::Dismissal;
pub use gaps::Gap;
use jetline_core::ObjectId;
pub use lease::{LeaseLimits, LeasedObject, ReadOutcome};
pub use listed::ListedObjects;
pub use loading::LoadingObject;
pub use posts::{NewPost, Post, PostOutcome, PostsOutcome};
pub use refusals::{OpenObject, Refusal};
pub use register::{NewObject, Split};
pub use reject_limit::{InvalidRejectLimit, RejectLimit};
pub use replay::{ExistingVersion, Replay, ReplayOutcome, Replayed};
pub use replay_requests::ReplayRequest;
pub use retention::{STORED_REJECTS, SettledVersion};
use sea_orm::DatabaseConnection;
pub use settle::EndedObject;
pub use superseded::{Blocked, Blocker};

use crate::{
    Database, Error,
    ledger::Clock,
    watermark::{next_object, settled},
};

/// The objects: registered, leased, read, and ended.
#[derive(Clone, Debug)]
pub struct ObjectLedger {
    pub(crate) db: DatabaseConnection,
    now: Clock,
}

impl ObjectLedger {
    /// The ledger of a database.
    pub(crate) fn new(database: &Database, now: Clock) -> Self {
        Self { db: database.connection().clone(), now }
    }

    /// The settled watermark: the first object that is not settled. Every object below it is done or failed, and stays
    /// so unless it is replayed.
    pub async fn settled(&self) -> Result<ObjectId, Error> {
        settled(&self.db).await
    }

    /// The number of the next object to be registered.
    pub async fn next(&self) -> Result<ObjectId, Error> {
        next_object(&self.db).await
    }
}
