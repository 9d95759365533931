//! The store against real databases.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod base;
#[cfg(test)]
mod commits;
#[cfg(test)]
mod datasets;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod hopeless;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod races;
mod read;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod suspects;
