//! What must hold for any input at all, as functions of bytes that panic where it does not.
//!
//! A fuzzer calls them with what it makes up (`fuzz/`), and a test of this crate with what is worth keeping of that
//! (`fuzz/corpus`). The first bytes of an input choose limits and sizes of blocks, the rest is content.

mod blocks;
pub mod decode;
pub mod line;
pub mod message;
pub mod secrets;
pub mod settings;
pub mod split;

/// Something that must hold for all bytes; it panics for those for which it does not.
pub type Property = fn(&[u8]);

/// Every property, by the name of its fuzz target and of the folder of its corpus.
pub const ALL: [(&str, Property); 6] = [
    ("decode", decode::holds),
    ("line", line::holds),
    ("message", message::holds),
    ("secrets", secrets::holds),
    ("settings", settings::holds),
    ("split", split::holds),
];
