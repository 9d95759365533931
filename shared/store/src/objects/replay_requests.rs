//! Replays that an api asks for and a fetcher makes: only fetchers reach the sources. A request expires when nobody waits for its
//! answer any more.

use std::time::Duration;

use sea_orm::FromQueryResult;

use super::ObjectLedger;
use crate::{
    Error,
    statement::{execute, query},
};

/// A replay that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct ReplayRequest {
    /// Its number, which is random.
    pub id: i64,
    /// The first object to read again.
    pub object_id: i64,
    /// Whether only to say what would be done.
    pub dry_run: bool,
}

#[derive(FromQueryResult)]
struct Answer {
    answer: Option<String>,
    is_refused: bool,
}

impl ObjectLedger {
    /// Asks the fetchers for a replay, which one of them begins within this time or not at all.
    pub async fn request_replay(
        &self,
        request: &ReplayRequest,
        within: Duration,
    ) -> Result<(), Error> {
        let now = (self.now)();
        let sql = "DELETE FROM replay_requests WHERE expires_at < $1";
        execute(&self.db, "forget replay requests", sql, [now.into()]).await?;
        let sql = "INSERT INTO replay_requests (id, object_id, dry_run, expires_at) VALUES ($1, $2, $3, $4)";
        let ReplayRequest { id, object_id, dry_run } = *request;
        let values = [id.into(), object_id.into(), dry_run.into(), (now + within).into()];
        execute(&self.db, "request a replay", sql, values).await.map(drop)
    }

    /// Takes the oldest request that no fetcher has taken.
    pub async fn take_replay_request(&self) -> Result<Option<ReplayRequest>, Error> {
        let sql = "UPDATE replay_requests SET is_taken = TRUE
             WHERE id = (SELECT id FROM replay_requests WHERE NOT is_taken AND expires_at > $1 ORDER BY expires_at, id LIMIT 1)
                 AND NOT is_taken
             RETURNING id, object_id, dry_run";
        let taken = query(&self.db, "take a replay request", sql, [(self.now)().into()]).await?;
        Ok(taken.into_iter().next())
    }

    /// Answers a request with what was done, or with why it was not.
    pub async fn answer_replay_request(
        &self,
        id: i64,
        answer: Result<String, String>,
    ) -> Result<(), Error> {
        let sql = "UPDATE replay_requests SET answer = $1, is_refused = $2 WHERE id = $3";
        let is_refused = answer.is_err();
        let answer = answer.unwrap_or_else(|reason| reason);
        let values = [answer.into(), is_refused.into(), id.into()];
        execute(&self.db, "answer a replay request", sql, values).await.map(drop)
    }

    /// The answer to a request, if a fetcher gave it.
    pub async fn replay_answer(&self, id: i64) -> Result<Option<Result<String, String>>, Error> {
        let sql = "SELECT answer, is_refused FROM replay_requests WHERE id = $1";
        let found: Vec<Answer> =
            query(&self.db, "read a replay's answer", sql, [id.into()]).await?;
        Ok(found.into_iter().find_map(|Answer { answer, is_refused }| {
            answer.map(|answer| if is_refused { Err(answer) } else { Ok(answer) })
        }))
    }

    /// Withdraws a request; returns whether no fetcher had taken it.
    pub async fn withdraw_replay_request(&self, id: i64) -> Result<bool, Error> {
        let sql = "DELETE FROM replay_requests WHERE id = $1 AND NOT is_taken";
        Ok(execute(&self.db, "withdraw a replay request", sql, [id.into()]).await? == 1)
    }
}
