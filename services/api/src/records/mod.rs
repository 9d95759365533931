//! Records by id: loaded many at a time, cached, serialized once.

mod cache;
pub(crate) mod document;
mod endpoints;
mod loader;
mod rendered;
mod stream;

pub(crate) use endpoints::RecordApi;
