//! Exact decimals: a JSON number is stored and returned without conversion to a binary float.

use std::{borrow::Cow, fmt, str::FromStr};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use sea_orm::{
    ColIdx, DbErr, QueryResult, TryGetError, TryGetable, Value,
    sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

use crate::number::Number;

/// An exact decimal: an integer below 2^96 (28 digits, and some of 29), divided by up to 10^28.
///
/// The spelling does not matter: 7072.10 and 70721e-1 are 7072.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(rust_decimal::Decimal);

impl Decimal {
    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Decimal {
    type Err = rust_decimal::Error;

    /// Parses a JSON number in any spelling; a number that cannot be represented exactly is an error, never rounded.
    fn from_str(token: &str) -> Result<Self, Self::Err> {
        // The usual spelling first, which is the fastest to parse.
        rust_decimal::Decimal::from_str_exact(token)
            .or_else(|error| Number::read(token).map_or(Err(error), exact))
            .map(Self::from)
    }
}

/// A number in unusual spelling: with an exponent, or with superfluous digits.
fn exact(number: Number) -> Result<rust_decimal::Decimal, rust_decimal::Error> {
    let (coefficient, scale) =
        number.scaled(rust_decimal::Decimal::MAX_SCALE).ok_or(if number.has_fraction() {
            rust_decimal::Error::Underflow
        } else {
            rust_decimal::Error::ExceedsMaximumPossibleValue
        })?;
    rust_decimal::Decimal::try_from_i128_with_scale(coefficient, scale)
}

impl From<rust_decimal::Decimal> for Decimal {
    fn from(decimal: rust_decimal::Decimal) -> Self {
        Self(decimal.normalize())
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let token = <&RawValue>::deserialize(deserializer)?.get();
        if !token.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Err(de::Error::custom(format_args!(
                "invalid type: {}, expected a number",
                kind(token)
            )));
        }
        token.parse().map_err(|error| {
            de::Error::custom(format_args!("number out of range: {token}: {error}"))
        })
    }
}

fn kind(token: &str) -> &'static str {
    match token.as_bytes().first() {
        Some(b'"') => "string",
        Some(b'{') => "map",
        Some(b'[') => "sequence",
        Some(b'n') => "null",
        _ => "boolean",
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = RawValue::from_string(self.to_string()).map_err(ser::Error::custom)?;
        number.serialize(serializer)
    }
}

impl From<Decimal> for Value {
    fn from(decimal: Decimal) -> Self {
        decimal.0.into()
    }
}

impl ValueType for Decimal {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        <rust_decimal::Decimal as ValueType>::try_from(value).map(Self)
    }

    fn type_name() -> String {
        "Decimal".to_owned()
    }

    fn array_type() -> ArrayType {
        ArrayType::Decimal
    }

    fn column_type() -> ColumnType {
        ColumnType::Decimal(None)
    }
}

impl Nullable for Decimal {
    fn null() -> Value {
        Value::Decimal(None)
    }
}

impl TryGetable for Decimal {
    /// PostgreSQL stores `numeric`; SQLite, whose numbers are floats, stores the digits as text.
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        if row.try_as_sqlite_row().is_none() {
            return rust_decimal::Decimal::try_get_by(row, index).map(Self::from);
        }
        let digits = String::try_get_by(row, index)?;
        digits
            .parse()
            .map_err(|error| TryGetError::DbErr(DbErr::Type(format!("{digits:?}: {error}"))))
    }
}

impl Type for Decimal {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "number_decimal".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("number", "decimal")))
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        Some(self)
    }

    fn raw_element_iter<'a>(
        &'a self,
    ) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromJSON for Decimal {
    fn parse_from_json(value: Option<serde_json::Value>) -> ParseResult<Self> {
        match value {
            Some(serde_json::Value::Number(number)) => {
                number.to_string().parse().map_err(ParseError::custom)
            }
            value => Err(ParseError::expected_type(value.unwrap_or_default())),
        }
    }
}

impl ToJSON for Decimal {
    /// Through a float: exact up to 15 digits. The record endpoints do not use this, but serde.
    fn to_json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.to_string()).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    fn through_serde(token: &str) -> Result<String, String> {
        let decimal: Decimal = serde_json::from_str(token).map_err(|error| error.to_string())?;
        serde_json::to_string(&decimal).map_err(|error| error.to_string())
    }

    #[test]
    fn number_survives_the_round_trip() {
        for token in ["7072.16", "0", "-0.5", "12345678901234567890.12345678"] {
            assert_eq!(through_serde(token).as_deref(), Ok(token));
        }
    }

    #[test]
    fn equal_numbers_have_one_form() {
        for token in ["7072.10", "7072.1", "7.0721e3", "70721E-1"] {
            assert_eq!(through_serde(token).as_deref(), Ok("7072.1"));
        }
        assert_eq!(through_serde("-0.0").as_deref(), Ok("0"));
    }

    #[test]
    fn exact_number_is_accepted_in_every_spelling() {
        let zeros = "0".repeat(100_000);
        let largest = rust_decimal::Decimal::MAX.to_string();
        let smallest = format!("0.{}1", "0".repeat(27));
        for (token, form) in [
            (&*format!("19.99{zeros}"), "19.99"),
            (&format!("-1.{zeros}"), "-1"),
            ("0e999999999999999999999", "0"),
            ("0.0e-40", "0"),
            (&format!("0.{zeros}"), "0"),
            (&format!("1{zeros}e-100000"), "1"),
            (&format!("0.{zeros}1e100000"), "0.1"),
            ("1.0E-0000000000000000000000028", &smallest),
            ("10e-29", &smallest),
            ("1e28", "10000000000000000000000000000"),
            (&format!("{largest}.{zeros}"), &largest),
            (&format!("0.{largest}e29"), &largest),
        ] {
            let read = through_serde(token);
            assert_eq!(read.as_deref(), Ok(form), "{token:.40}");
        }
    }

    #[test]
    fn number_that_does_not_fit_is_refused_not_rounded() {
        let nines = "9".repeat(100_000);
        for token in [
            "1e40",
            "1e-40",
            "1e29",
            "1e-29",
            "15e-29",
            "1e999999999999999999999",
            "1e-999999999999999999999",
            "0.12345678901234567890123456789012345",
            "79228162514264337593543950336",
            "79228162514264337593543950335.1",
            "-79228162514264337593543950336",
            &nines,
            &format!("0.{nines}"),
        ] {
            let error = through_serde(token).unwrap_err();
            assert!(error.contains("out of range"), "{token:.40}: {error:.99}");
        }
    }

    proptest! {
        #[test]
        fn spelling_does_not_change_the_number(
            coefficient in -(1_i128 << 96) + 1..1_i128 << 96,
            scale in 0_u32..29,
            count in 0_usize..60,
        ) {
            let plain = Decimal::from(rust_decimal::Decimal::from_i128_with_scale(coefficient, scale));
            let zeros = "0".repeat(count);
            for spelling in [
                format!("{coefficient}{zeros}e-{}", count + scale as usize),
                format!("{coefficient}.0{zeros}E-{scale}"),
                format!("{plain}e0"),
            ] {
                prop_assert_eq!(spelling.parse(), Ok(plain), "{}", spelling);
            }
        }
    }

    #[test]
    fn only_numbers_are_numbers() {
        for token in ["\"1\"", "null", "true", "[1]", "{}"] {
            let error = through_serde(token).unwrap_err();
            assert!(error.contains("invalid type"), "{token}: {error}");
        }
    }
}
