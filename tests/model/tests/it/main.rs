//! Tests of the model, and of its agreement with what it is a model of.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![expect(clippy::cast_possible_truncation, reason = "the sizes of a model are small")]

mod agreement;
mod states;
