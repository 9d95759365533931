//! Properties that hold for any input, as functions of bytes that panic if violated.
//!
//! Fuzz targets (`fuzz/`) call them with generated inputs, and a test of this crate with the corpus (`fuzz/corpus`). The
//! first bytes of an input select limits and block sizes, the rest is content.

mod blocks;
pub mod decode;
pub mod line;
pub mod message;
pub mod secrets;
pub mod settings;
pub mod split;

/// A property of all inputs; panics if violated.
pub type Property = fn(&[u8]);

/// Every property, by the name of its fuzz target and corpus directory.
pub const ALL: [(&str, Property); 6] = [
    ("decode", decode::holds),
    ("line", line::holds),
    ("message", message::holds),
    ("secrets", secrets::holds),
    ("settings", settings::holds),
    ("split", split::holds),
];
