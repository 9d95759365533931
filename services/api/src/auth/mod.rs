//! HTTP Basic authentication against a file of users.

mod gate;
mod users;

pub(crate) use gate::{Gate, guarded};
pub use users::{Users, hash_password};
