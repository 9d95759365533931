//! Tests of the testkit on real servers.

#[cfg(test)]
mod disk;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod s3_stopped;
#[cfg(test)]
mod statements;
