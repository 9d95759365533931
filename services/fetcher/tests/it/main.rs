//! The fetcher with an S3 endpoint, a queue and a ledger.

#[cfg(test)]
mod faults;
mod formats;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod open;
mod outcomes;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod replay_requests;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod scene;
