//! Records that are written and parsed again.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod random;
mod written;
