//! The store against real databases.

mod read;
