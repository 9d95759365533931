//! The test kit's own promises, on real servers.

#[cfg(test)]
mod postgres;
