//! The trait of a dataset's record type.

use poem_openapi::types::{ParseFromJSON, ToJSON};
use sea_orm::{EntityTrait, FromQueryResult, IntoActiveModel, ModelTrait};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Reason, Rejection, key::RecordId};

/// A record of one dataset: serde parses it, sea-orm stores it, poem-openapi documents it.
///
/// The struct holds the record's own columns. Its table has three more, which are Jetline's:
/// `fingerprint`, `position` and `updated_at`.
pub trait Record:
    ModelTrait<Entity = <Self as Record>::Table>
    + IntoActiveModel<<Self::Table as EntityTrait>::ActiveModel>
    + FromQueryResult
    + Serialize
    + DeserializeOwned
    + ParseFromJSON
    + ToJSON
    + Send
    + Sync
    + 'static
{
    /// The sea-orm entity of the dataset's table.
    type Table: EntityTrait<Model = Self>;

    /// `i64` or `String`.
    type Id: RecordId;

    /// The dataset's name: of its table, in paths of the API, and in settings.
    const NAME: &'static str;

    /// The column of the id.
    const ID_COLUMN: &'static str = "id";

    /// The column of the version, in datasets that have one: a higher version wins over a later line.
    const VERSION_COLUMN: Option<&'static str> = None;

    /// The record's id.
    fn id(&self) -> Self::Id;

    /// The record's version; used only if `VERSION_COLUMN` is set.
    fn version(&self) -> i64 {
        0
    }

    /// Checks the values beyond their types.
    fn validate(&self) -> Result<(), Violation>;
}

/// A field with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    reason: Reason,
    field: &'static str,
    rule: &'static str,
}

impl From<Violation> for Rejection {
    fn from(violation: Violation) -> Self {
        let Violation { reason, field, rule } = violation;
        Self::new(reason, format!("{field} {rule}"))
    }
}

/// Rules for [`Record::validate`].
pub mod check {
    use super::{Reason, Violation};
    use crate::Decimal;

    /// A whole number above zero.
    pub const fn positive(field: &'static str, value: i64) -> Result<(), Violation> {
        rule(value > 0, Reason::OutOfRange, field, "must be above 0")
    }

    /// A decimal of zero or more.
    pub fn not_negative(field: &'static str, value: Decimal) -> Result<(), Violation> {
        let holds = !value.is_negative();
        rule(holds, Reason::OutOfRange, field, "must not be below 0")
    }

    /// A text that is not blank.
    pub fn not_empty(field: &'static str, value: &str) -> Result<(), Violation> {
        let holds = !value.trim().is_empty();
        rule(holds, Reason::InvalidValue, field, "must not be empty")
    }

    /// Any other rule: `message` follows the field's name, as in "must not be below 0".
    pub const fn rule(
        holds: bool,
        reason: Reason,
        field: &'static str,
        message: &'static str,
    ) -> Result<(), Violation> {
        if holds {
            return Ok(());
        }
        Err(Violation { reason, field, rule: message })
    }
}
