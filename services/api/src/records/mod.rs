//! Records by id: loaded many at a time, cached, serialized once.

mod cache;
mod datasets;
mod endpoints;
mod loader;
mod rendered;
mod stream;

pub(crate) use datasets::Datasets;
