//! Numbers with all their digits.

use std::cmp::Ordering;

use serde_json::value::RawValue;

use crate::Reason;

/// The most digits of a number in a JSON value, written without an exponent.
const MAX_DIGITS: i64 = 1_000;

/// `0.digits × 10^point`, with digits that neither begin nor end with a zero; zero has none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    is_negative: bool,
    digits: String,
    point: i64,
}

impl Decimal {
    /// Reads a number in any spelling of JSON.
    pub(crate) fn read(token: &str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(token).ok()?;
        let begins = token.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if raw.get() != token || !begins {
            return None;
        }
        let (number, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
        let (is_negative, number) =
            number.strip_prefix('-').map_or((false, number), |number| (true, number));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let leading = i64::try_from(all.len() - significant.len()).ok()?;
        let point = i64::try_from(whole.len()).ok()? - leading + exponent.parse().unwrap_or(far);
        let digits = significant.trim_end_matches('0').to_owned();
        let is_zero = digits.is_empty();
        Some(Self {
            is_negative: is_negative && !is_zero,
            digits,
            point: if is_zero { 0 } else { point },
        })
    }

    /// The digits behind the point.
    fn scale(&self) -> i64 {
        (i64::try_from(self.digits.len()).unwrap_or(i64::MAX) - self.point).max(0)
    }

    /// Without an exponent and superfluous zeros.
    pub(crate) fn plain(&self) -> Result<String, Reason> {
        if self.point.max(1).saturating_add(self.scale()) > MAX_DIGITS {
            return Err("out_of_range");
        }
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
        let sign = if self.is_negative { "-" } else { "" };
        let (whole, fraction) = match usize::try_from(self.point) {
            Ok(point) if point > 0 => self.digits.split_at(point.min(self.digits.len())),
            _ => ("0", self.digits.as_str()),
        };
        let (before, behind) = (
            zeros(self.point - i64::try_from(self.digits.len()).unwrap_or_default()),
            zeros(-self.point),
        );
        Ok(match fraction {
            _ if self.digits.is_empty() => "0".to_owned(),
            "" => format!("{sign}{whole}{before}"),
            fraction => format!("{sign}{whole}.{behind}{fraction}"),
        })
    }

    /// As an integer of 64 bits.
    pub(crate) fn bigint(&self) -> Result<i64, Reason> {
        if self.scale() > 0 {
            return Err("wrong_type");
        }
        self.plain()?.parse().map_err(|_| "out_of_range")
    }

    /// As an integer below 2^96, divided by up to 10^28.
    pub(crate) fn numeric(&self) -> Result<String, Reason> {
        let plain = self.plain()?;
        let coefficient = plain.replace(['-', '.'], "").parse::<u128>();
        let fits = self.scale() <= 28 && coefficient.is_ok_and(|number| number < 1 << 96);
        if fits { Ok(plain) } else { Err("out_of_range") }
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let sign = |one: &Self| match one {
            _ if one.digits.is_empty() => 0,
            one if one.is_negative => -1,
            _ => 1,
        };
        let size = (self.point, &self.digits).cmp(&(other.point, &other.digits));
        let size = if self.is_negative { size.reverse() } else { size };
        sign(self).cmp(&sign(other)).then(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(token: &str) -> Decimal {
        Decimal::read(token).unwrap()
    }

    #[test]
    fn integer_is_accepted_in_every_spelling() {
        for (token, number) in [
            ("1", Ok(1)),
            ("-0", Ok(0)),
            ("0e99999999999999999999", Ok(0)),
            ("0.12e2", Ok(12)),
            ("-1200E-2", Ok(-12)),
            ("9223372036854775807.0", Ok(i64::MAX)),
            ("9223372036854775808", Err("out_of_range")),
            ("1e99999999999999999999", Err("out_of_range")),
            ("1e-99999999999999999999", Err("wrong_type")),
            ("1.00000000000000000001", Err("wrong_type")),
        ] {
            assert_eq!(read(token).bigint(), number, "{token}");
        }
    }

    #[test]
    fn number_is_plain_without_superfluous_zeros() {
        for (token, plain) in [
            ("-0.0", "0"),
            ("7072.160", "7072.16"),
            ("1e2", "100"),
            ("-1.5e-3", "-0.0015"),
            ("0.1", "0.1"),
            ("105e-1", "10.5"),
            ("79228162514264337593543950335", "79228162514264337593543950335"),
        ] {
            assert_eq!(read(token).numeric().as_deref(), Ok(plain), "{token}");
        }
        for token in ["79228162514264337593543950336", "1e-29", "1e30", "1e99999999999999999999"] {
            assert_eq!(read(token).numeric(), Err("out_of_range"), "{token}");
        }
        for token in ["", "+1", "007", "1.", "x", "true", "\"1\"", "1 2"] {
            assert_eq!(Decimal::read(token), None, "{token}");
        }
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let sorted = ["-10", "-9.5", "-0.01", "0", "0.009", "0.01", "9", "9.5", "10"];
        for pair in sorted.windows(2) {
            assert_eq!(read(pair[0]).compare(&read(pair[1])), Ordering::Less, "{pair:?}");
        }
        assert_eq!(read("1.0").compare(&read("10e-1")), Ordering::Equal);
    }
}
