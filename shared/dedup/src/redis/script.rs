//! Calls of the claim script: arguments and result.

use jetline_core::{EpochId, ObjectId, Position, Verdict};
use redis::{Cmd, ErrorKind, RedisError, Script};

use super::layout::{Bucket, Keys, entry, field};
use crate::Claim;

/// The most claims of one hash in one command: Lua's stack holds a few thousand values.
const MAX_GROUP_SIZE: usize = 1_000;

/// The claim script of one epoch.
pub(super) struct ClaimScript {
    epoch: EpochId,
    text: String,
    digest: String,
}

impl ClaimScript {
    pub(super) fn of(epoch: EpochId) -> Self {
        let text = include_str!("claim.lua").replace("EPOCH_ID", &epoch.to_string());
        let digest = Script::new(&text).get_hash().to_owned();
        Self { epoch, text, digest }
    }

    /// The script. It is loaded only when the epoch begins.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The call that begins the epoch.
    pub(super) fn begin(&self, keys: &Keys) -> Cmd {
        let mut command = self.call(2);
        command.arg(keys.epoch()).arg(keys.epochs());
        command
    }

    /// The call that claims, and the index of the claim of each verdict.
    pub(super) fn claim(
        &self,
        keys: &Keys,
        trusted: ObjectId,
        dataset: &str,
        claims: &[Claim],
    ) -> (Cmd, Vec<usize>) {
        let mut placed: Vec<(Bucket, usize)> = claims
            .iter()
            .enumerate()
            .map(|(index, claim)| (Bucket::of(&claim.key), index))
            .collect();
        placed.sort_unstable();
        let groups: Vec<&[(Bucket, usize)]> = placed
            .chunk_by(|(one, _), (other, _)| one == other)
            .flat_map(|bucket| bucket.chunks(MAX_GROUP_SIZE))
            .collect();

        let mut command = self.call(1 + groups.len());
        command.arg(keys.epoch());
        for group in &groups {
            command.arg(keys.bucket(self.epoch, dataset, group[0].0));
        }
        let sizes: Vec<u8> = groups
            .iter()
            .filter_map(|group| u16::try_from(group.len()).ok())
            .flat_map(u16::to_be_bytes)
            .collect();
        command.arg(trusted.get()).arg(sizes);
        for group in groups {
            let claims = || group.iter().map(|(_, index)| &claims[*index]);
            for claim in claims() {
                command.arg(field(&claim.key));
            }
            for claim in claims() {
                command.arg(entry(claim));
            }
        }
        (command, placed.into_iter().map(|(_, index)| index).collect())
    }

    fn call(&self, keys: usize) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.digest).arg(keys);
        command
    }
}

/// Parses the verdicts of a response, in the order of the claims.
pub(super) fn verdicts(response: &[u8], order: &[usize]) -> Result<Vec<Verdict>, RedisError> {
    let mut verdicts = vec![Verdict::Write; order.len()];
    let Some((letters, positions)) = response.split_at_checked(order.len()) else {
        return Err(unexpected("fewer verdicts than claims"));
    };
    let (positions, rest) = positions.as_chunks::<8>();
    let mut above = positions.iter().map(|bytes| i64::from_be_bytes(*bytes));
    for (letter, index) in letters.iter().zip(order) {
        verdicts[*index] = match letter {
            b'w' => Verdict::Write,
            b'c' => Verdict::WriteIfChanged,
            b'u' => Verdict::Unchanged,
            b's' => {
                let position = above.next().and_then(Position::from_number);
                Verdict::Superseded(position.ok_or_else(|| unexpected("no position"))?)
            }
            _ => return Err(unexpected("an unknown verdict")),
        };
    }
    if above.next().is_some() || !rest.is_empty() {
        return Err(unexpected("more positions than superseded claims"));
    }
    Ok(verdicts)
}

fn unexpected(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, what))
}
