//! The test kit's own promises, on real servers.

#[cfg(test)]
mod disk;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod s3_away;
#[cfg(test)]
mod statements;
