//! Who sends a request, and what he may do.

use std::{collections::BTreeSet, fmt};

use anyhow::{bail, ensure};
use clap::ValueEnum;
use jetline_datasets::is_name;

/// What somebody may do. Each role includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Read.
    #[default]
    Read,
    /// Post records.
    Write,
    /// Change the state of objects and deliveries.
    Admin,
}

/// What somebody may do, and with which datasets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// What.
    pub role: Role,
    /// With which datasets; with all of them without any.
    pub datasets: Option<BTreeSet<String>>,
}

/// The sender of a request, in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user or the key; none where nobody has to authenticate.
    pub(crate) name: Option<String>,
    pub(crate) rights: Rights,
}

impl Caller {
    /// Somebody in an installation without users and keys, who may read everything.
    pub(crate) fn anonymous() -> Self {
        Self { name: None, rights: Rights::default() }
    }

    /// Whether a dataset, its objects, rejects and deliveries may be read.
    pub(crate) fn may_read(&self, dataset: &str) -> bool {
        self.rights.datasets.as_ref().is_none_or(|datasets| datasets.contains(dataset))
    }

    /// The datasets to which the caller is limited, if that is so.
    pub(crate) fn datasets(&self) -> Option<Vec<String>> {
        Some(self.rights.datasets.as_ref()?.iter().cloned().collect())
    }
}

impl Role {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl Rights {
    /// Rights from their texts: the name of a role, and names of datasets with commas between them.
    pub(crate) fn parse(role: Option<&str>, datasets: Option<&str>) -> anyhow::Result<Self> {
        let role = match role {
            None => Role::default(),
            Some(name) => match Role::from_str(name, false) {
                Ok(role) => role,
                Err(_) => bail!("{name:?} is no role; there are: read, write, admin"),
            },
        };
        let datasets = match datasets {
            None => None,
            Some(names) => Some(Self::checked(names.split(','))?),
        };
        Ok(Self { role, datasets })
    }

    /// Names of datasets.
    pub(crate) fn checked<'a>(
        names: impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<BTreeSet<String>> {
        names
            .map(|name| {
                ensure!(is_name(name), "{name:?} cannot be the name of a dataset");
                Ok(name.to_owned())
            })
            .collect()
    }
}

/// As in the file of users, without the role of those who read everything.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        write!(f, ":{}", self.role.name())?;
        match &self.datasets {
            None => Ok(()),
            Some(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                write!(f, ":{}", names.join(","))
            }
        }
    }
}
