//! Users and their hashed passwords.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, bail, ensure};
use argon2::{
    Argon2, PasswordHash, PasswordVerifier,
    password_hash::{PasswordHasher, SaltString},
};
use rand::RngCore;

/// Who may read: names and Argon2 hashes.
#[derive(Clone)]
pub struct Users {
    hashes: HashMap<String, String>,
    /// What the password of an unknown user is compared with, so that it takes as long.
    decoy: String,
}

impl Users {
    /// Reads a file of `name:hash` lines; empty lines and those that start with `#` are skipped.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {} (USERS_FILE)", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} (USERS_FILE)", file.display()))
    }

    /// Reads the lines of such a file.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut hashes = HashMap::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = user(line).with_context(|| format!("line {}", index + 1))?;
            let before = hashes.insert(name.to_owned(), hash.to_owned());
            ensure!(
                before.is_none(),
                "line {}: user {name} stands twice",
                index + 1
            );
        }
        let Some(decoy) = hashes.values().next().cloned() else {
            bail!("no users in it: nobody could read");
        };
        Ok(Self { hashes, decoy })
    }

    /// Whether this is a user with this password. Slow on purpose, and as slow for unknown users.
    pub(crate) fn verify(&self, name: &str, password: &[u8]) -> bool {
        let known = self.hashes.get(name);
        let hash = known.unwrap_or(&self.decoy);
        let right = PasswordHash::new(hash)
            .and_then(|hash| Argon2::default().verify_password(password, &hash))
            .is_ok();
        right && known.is_some()
    }
}

fn user(line: &str) -> anyhow::Result<(&str, &str)> {
    let (name, hash) = line
        .split_once(':')
        .context("is not `name:hash`; `jetline-api hash-password NAME` prints such a line")?;
    ensure!(!name.is_empty(), "has no name");
    let parsed = PasswordHash::new(hash).ok();
    let argon2 = parsed.is_some_and(|hash| hash.algorithm.as_str().starts_with("argon2"));
    ensure!(
        argon2,
        "the hash of {name} is not one of Argon2; `jetline-api hash-password {name}` makes one"
    );
    Ok((name, hash))
}

/// The line of a user for the file.
pub fn hash_password(
    name: &str,
    password: &str,
    randomness: &mut impl RngCore,
) -> anyhow::Result<String> {
    ensure!(
        !name.is_empty() && !name.contains([':', '\n']),
        "a name is not empty and has no colon"
    );
    ensure!(!password.is_empty(), "the password is empty");
    let mut salt = [0; 16];
    randomness.fill_bytes(&mut salt);
    let salt = SaltString::encode_b64(&salt).map_err(|error| anyhow::anyhow!("salt: {error}"))?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?;
    Ok(format!("{name}:{hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, password: &str) -> String {
        hash_password(name, password, &mut rand::rng()).unwrap()
    }

    #[test]
    fn only_the_right_password_of_the_right_user_is_right() {
        let text = format!(
            "# readers\n\n{}\n{}\n",
            line("ann", "one"),
            line("bob", "two:2")
        );
        let users = Users::parse(&text).unwrap();
        assert!(users.verify("ann", b"one"));
        assert!(users.verify("bob", b"two:2"));
        for (name, password) in [("ann", "two:2"), ("ann", ""), ("eve", "one"), ("", "one")] {
            assert!(
                !users.verify(name, password.as_bytes()),
                "{name} {password}"
            );
        }
    }

    #[test]
    fn line_that_is_no_user_is_told_without_showing_what_it_says() {
        let twice = format!("{}\n{}", line("ann", "one"), line("ann", "two"));
        for (text, words) in [
            ("", "no users"),
            ("geheim", "line 1"),
            ("# x\nann:geheim", "line 2"),
            (":geheim", "no name"),
            (twice.as_str(), "ann stands twice"),
        ] {
            let error = format!("{:#}", Users::parse(text).err().unwrap());
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
