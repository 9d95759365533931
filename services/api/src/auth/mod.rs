//! Who may do what: users with passwords (HTTP Basic), and API keys (bearer tokens).

mod authenticator;
mod caller;
mod commands;
mod failures;
mod keys;
mod users;

pub(crate) use authenticator::{Authenticator, PUBLIC_PATHS, authenticated, network};
pub(crate) use caller::Caller;
pub use caller::{Rights, Role};
pub use commands::{KeyCommand, RightsArgs};
pub(crate) use keys::Keys;
pub use users::{Users, hash_password};
