//! The store against real databases.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod base;
#[cfg(test)]
mod commits;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod datasets;
#[cfg(test)]
mod dismiss;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod hopeless;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod nothing_taken;
#[cfg(test)]
mod outdone;
#[cfg(test)]
mod pooler;
#[cfg(test)]
mod races;
mod read;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod refused_rows;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod suspects;
