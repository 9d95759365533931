//! HTTP Basic authentication against a file of users.

mod authenticator;
mod failures;
mod users;

pub(crate) use authenticator::{Authenticator, Caller, PUBLIC_PATHS, authenticated, network};
pub use users::{Users, hash_password};
