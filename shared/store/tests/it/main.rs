//! The store on real databases.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod admission;
mod commits;
mod connections;
mod copies;
mod datasets;
mod declarations;
mod deletes;
mod dismiss;
mod ends;
mod epochs;
mod fixtures;
mod history;
mod identity;
mod leases;
mod no_accepted_lines;
mod origin;
mod outbox;
mod pages;
mod pooler;
mod posts;
mod queries;
mod races;
mod read;
mod refusals;
mod refused_rows;
mod registration;
mod reject_limit;
mod repeats;
mod replay;
mod retention;
mod superseded;
mod suspects;
mod unknown_fields;
