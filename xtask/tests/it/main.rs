//! What the repository holds, against what is built from it.

#[cfg(test)]
mod image;
