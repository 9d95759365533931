//! The store on real databases.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod commits;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod datasets;
mod declarations;
#[cfg(test)]
mod deletes;
#[cfg(test)]
mod dismiss;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod history;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod no_accepted_lines;
#[cfg(test)]
mod origin;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod pooler;
#[cfg(test)]
mod posts;
#[cfg(test)]
mod queries;
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
mod reject_limit;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod superseded;
#[cfg(test)]
mod suspects;
#[cfg(test)]
mod unknown_fields;
