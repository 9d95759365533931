//! Users and their hashed passwords.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, ensure};
use argon2::{
    Argon2, PasswordHash, PasswordVerifier,
    password_hash::{PasswordHasher, SaltString},
};
use rand::RngCore;

use super::caller::Rights;

/// The users by name.
#[derive(Clone)]
pub struct Users(BTreeMap<String, User>);

#[derive(Clone)]
struct User {
    /// Argon2.
    hash: String,
    rights: Rights,
}

impl Users {
    /// Reads a file of lines `name:hash`, `name:hash:role` or `name:hash:role:dataset,dataset`; empty lines and those that start
    /// with `#` are skipped. Without a role, a user may read; without datasets, with all of them.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {} (USERS_FILE)", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} (USERS_FILE)", file.display()))
    }

    /// Reads the lines of such a file.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, user) = user(line).with_context(|| format!("line {}", index + 1))?;
            let before = users.insert(name.to_owned(), user);
            ensure!(before.is_none(), "line {}: duplicate user {name}", index + 1);
        }
        ensure!(!users.is_empty(), "it has no users");
        Ok(Self(users))
    }

    /// Whether this is a user with this password. Slow on purpose, and as slow for unknown users. `decoy` is a secret
    /// number that is always the same for the name.
    pub(crate) fn verify(&self, name: &str, password: &[u8], decoy: u64) -> bool {
        let hash = self.hash(name, decoy);
        // The digests are compared in constant time, whatever the hash.
        let right = PasswordHash::new(hash)
            .and_then(|hash| Argon2::default().verify_password(password, &hash))
            .is_ok();
        right & self.0.contains_key(name)
    }

    /// What a user may do.
    pub(crate) fn rights(&self, name: &str) -> Option<&Rights> {
        self.0.get(name).map(|user| &user.rights)
    }

    /// The hash to verify a password with: for an unknown user, that of some user, always the same one. Hashes may
    /// differ in their cost parameters, so that a time that no user has, or that varies, would reveal that there is no
    /// such user.
    fn hash(&self, name: &str, decoy: u64) -> &str {
        let index = usize::try_from(decoy % self.0.len() as u64).unwrap_or_default();
        let other = self.0.values().nth(index);
        self.0.get(name).or(other).map_or("", |user| &user.hash)
    }
}

fn user(line: &str) -> anyhow::Result<(&str, User)> {
    let (name, rest) = line
        .split_once(':')
        .context("is not `name:hash`; `jetline-api hash-password NAME` prints such a line")?;
    let mut parts = rest.splitn(3, ':');
    let hash = parts.next().unwrap_or_default();
    ensure!(!name.is_empty(), "has no name");
    let parsed = PasswordHash::new(hash).ok();
    let argon2 = parsed.is_some_and(|hash| hash.algorithm.as_str().starts_with("argon2"));
    ensure!(
        argon2,
        "the hash of {name} is not an Argon2 hash; `jetline-api hash-password {name}` prints one"
    );
    let (role, datasets) = (parts.next(), parts.next());
    let rights = Rights::parse(role, datasets).with_context(|| format!("the user {name}"))?;
    Ok((name, User { hash: hash.to_owned(), rights }))
}

/// Creates the line of a user for the file.
pub fn hash_password(
    name: &str,
    password: &str,
    rights: &Rights,
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
    Ok(format!("{name}:{hash}{rights}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;

    fn line(name: &str, password: &str) -> String {
        hash_password(name, password, &Rights::default(), &mut rand::rng()).unwrap()
    }

    #[test]
    fn user_has_the_rights_of_the_line() {
        let datasets = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        for rights in [
            Rights::default(),
            Rights { role: Role::Write, datasets: None },
            Rights { role: Role::Read, datasets: datasets(&["orders"]) },
            Rights { role: Role::Admin, datasets: datasets(&["customers", "orders"]) },
        ] {
            let line = hash_password("ann", "one", &rights, &mut rand::rng()).unwrap();
            let users = Users::parse(&line).unwrap();
            assert!(users.verify("ann", b"one", 0), "{line}");
            assert_eq!(users.rights("ann"), Some(&rights));
        }
        for (rights, expected) in [
            (":root", "there are: read, write, admin"),
            (":read:", "\"\" cannot be"),
            (":read:a b", "a b"),
        ] {
            let text = format!("{}{rights}", line("ann", "one"));
            let error = format!("{:#}", Users::parse(&text).err().unwrap());
            assert!(error.contains(expected) && error.contains("the user ann"), "{error}");
        }
    }

    #[test]
    fn only_the_password_of_the_user_is_accepted() {
        let text = format!("# readers\n\n{}\n{}\n", line("ann", "one"), line("bob", "two:2"));
        let users = Users::parse(&text).unwrap();
        assert!(users.verify("ann", b"one", 0));
        assert!(users.verify("bob", b"two:2", 0));
        for (name, password) in [("ann", "two:2"), ("ann", ""), ("eve", "one"), ("", "one")] {
            for decoy in 0..2 {
                let right = users.verify(name, password.as_bytes(), decoy);
                assert!(!right, "{name} {password}");
            }
        }
    }

    #[test]
    fn unknown_user_takes_as_long_as_some_user_and_always_as_the_same() {
        let cheap = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
        let users = Users::parse(&format!("{}\nbob:{cheap}\n", line("ann", "one"))).unwrap();
        let expensive = users.hash("ann", 1).to_owned();
        assert!(expensive.contains("$m=19456,"), "{expensive}");
        assert_eq!(users.hash("bob", 0), cheap);
        assert_eq!(users.hash("eve", 6), expensive);
        assert_eq!(users.hash("eve", 7), cheap);
    }

    #[test]
    fn error_for_an_invalid_line_does_not_show_it() {
        let twice = format!("{}\n{}", line("ann", "one"), line("ann", "two"));
        for (text, words) in [
            ("", "no users"),
            ("hunter2", "line 1"),
            ("# x\nann:hunter2", "line 2"),
            (":hunter2", "no name"),
            (twice.as_str(), "duplicate user ann"),
        ] {
            let error = format!("{:#}", Users::parse(text).err().unwrap());
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
