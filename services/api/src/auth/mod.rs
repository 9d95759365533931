//! HTTP Basic authentication against a file of users.

mod authenticator;
mod users;

pub(crate) use authenticator::{Authenticator, authenticated};
pub use users::{Users, hash_password};
