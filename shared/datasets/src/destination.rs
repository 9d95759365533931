//! Destinations: where the changes of a dataset are delivered to.

use std::{fmt, num::NonZeroU32, time::Duration};

use serde::Deserialize;

use crate::{names::is_name, value::Value};

/// The longest delay of a delivery.
const MAX_DELAY: Duration = Duration::from_hours(10 * 365 * 24);

/// A change of a record, as destinations see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// There was no record, or it was deleted.
    Inserted,
    /// Its content is another one.
    Updated,
    /// It was deleted.
    Deleted,
}

impl ChangeKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inserted, Self::Updated, Self::Deleted];

    /// Its name, in declarations, in the database and in deliveries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inserted => "inserted",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// A URL with the changes that are delivered to it.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its number in the ledger; 0 if it is in none.
    pub id: i64,
    /// Its name, unique in the dataset.
    pub name: String,
    /// Its URL.
    pub url: Template,
    /// The key of the signatures, as in Standard Webhooks.
    pub secret: Option<Template>,
    /// The changes that are delivered.
    pub on: Vec<ChangeKind>,
    /// How long after the commit a change is delivered.
    pub delay: Option<Delay>,
    /// Maximum number of requests of one process at a time.
    pub concurrency: NonZeroU32,
    /// Maximum number of requests of one process in a second.
    pub rate: Option<NonZeroU32>,
}

impl Destination {
    /// Whether changes of this kind are delivered.
    #[must_use]
    pub fn wants(&self, kind: ChangeKind) -> bool {
        self.on.contains(&kind)
    }
}

/// A delay that each record has in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The name of the column.
    pub column: String,
    /// The unit of its values.
    pub unit: Unit,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Unit {
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Minutes.
    #[serde(rename = "min")]
    Minutes,
    /// Hours.
    #[serde(rename = "h")]
    Hours,
    /// Days of 24 hours.
    #[serde(rename = "d")]
    Days,
}

impl Unit {
    const fn milliseconds(self) -> i64 {
        match self {
            Self::Milliseconds => 1,
            Self::Seconds => 1_000,
            Self::Minutes => 60_000,
            Self::Hours => 3_600_000,
            Self::Days => 86_400_000,
        }
    }
}

impl Delay {
    /// The delay that a value of the column means: none without a value. An error says why it is no delay.
    pub fn of(&self, value: &Value) -> Result<Duration, String> {
        let Value::Bigint(value) = value else {
            return Ok(Duration::ZERO);
        };
        let column = &self.column;
        let milliseconds = value.checked_mul(self.unit.milliseconds());
        let delay = milliseconds.and_then(|delay| u64::try_from(delay).ok());
        match delay.map(Duration::from_millis) {
            _ if *value < 0 => Err(format!("{column}: the delay {value} is negative")),
            Some(delay) if delay <= MAX_DELAY => Ok(delay),
            _ => Err(format!("{column}: the delay {value} is longer than ten years")),
        }
    }
}

/// A text with variables of the environment, as in `${CRM_URL}/customers`. Their values are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

impl Template {
    /// Parses a text with variables.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .filter(|(name, _)| is_name(name))
                .ok_or("${ must be followed by the name of a variable and }, as in ${CRM_URL}")?;
            parts.extend([Part::Text(before.to_owned()), Part::Variable(name.to_owned())]);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }

    /// Whether it is a variable alone.
    pub(crate) fn is_variable(&self) -> bool {
        matches!(&self.0[..], [Part::Variable(_)])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text before the first variable.
    pub(crate) fn beginning(&self) -> Option<&str> {
        match self.0.first() {
            Some(Part::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The text with the values of its variables, or the name of one that has none.
    pub fn expand(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, &str> {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => Ok(text.clone()),
            Part::Variable(name) => value(name).ok_or(&**name),
        });
        parts.collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(name) => write!(f, "${{{name}}}"),
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}
