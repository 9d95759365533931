//! The exact value of a JSON number, however it is spelled.
//!
//! Work is bounded by the length of the token, not by the value: `1e999999999` is not expanded.

/// The most digits of a `u128`: a number with more significant digits fits no column.
const MAX_DIGITS: u32 = 38;

/// A number as `± digits × 10^exponent`, with digits that do not end in a zero; zero is `0 × 10^0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    is_negative: bool,
    /// `None` if there are more than [`MAX_DIGITS`].
    digits: Option<u128>,
    exponent: i64,
}

/// Why a number is not an integer of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAnInteger {
    HasFraction,
    OutOfRange,
}

impl Number {
    /// Parses a JSON number; `None` if it is not one.
    pub(crate) fn read(token: &str) -> Option<Self> {
        let (is_negative, unsigned) = match token.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, token),
        };
        let (decimal, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((decimal, exponent)) => (decimal, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, "0"));
        if ![whole, fraction].into_iter().all(is_digits) {
            return None;
        }
        let mut significand = Significand::default();
        significand.read(whole);
        significand.read(fraction);
        let scale = i64::try_from(fraction.len()).ok()?;
        Some(Self {
            is_negative: is_negative && !significand.is_zero(),
            digits: significand.digits(),
            exponent: if significand.is_zero() {
                0
            } else {
                exponent.saturating_add(significand.trailing_zeros - scale)
            },
        })
    }

    /// Whether the fraction is not zero.
    pub(crate) const fn has_fraction(self) -> bool {
        self.exponent < 0
    }

    /// The number as an integer of 64 bits, with a sign or without.
    pub(crate) fn integer(self) -> Result<i128, NotAnInteger> {
        if self.has_fraction() {
            return Err(NotAnInteger::HasFraction);
        }
        let signed = self.coefficient(0).and_then(|digits| self.signed(digits));
        signed
            .filter(|integer| (i64::MIN.into()..=u64::MAX.into()).contains(integer))
            .ok_or(NotAnInteger::OutOfRange)
    }

    /// The number as `coefficient × 10^-scale`, with the smallest possible scale; `None` if the coefficient exceeds 127
    /// bits or the scale `max_scale`.
    pub(crate) fn scaled(self, max_scale: u32) -> Option<(i128, u32)> {
        let scale = u32::try_from(self.exponent.min(0).unsigned_abs()).ok()?;
        if scale > max_scale {
            return None;
        }
        Some((self.signed(self.coefficient(scale)?)?, scale))
    }

    /// The number × 10^scale without its sign, if that is an integer.
    fn coefficient(self, scale: u32) -> Option<u128> {
        let zeros = u32::try_from(self.exponent.checked_add(scale.into())?).ok()?;
        self.digits?.checked_mul(10_u128.checked_pow(zeros)?)
    }

    fn signed(self, digits: u128) -> Option<i128> {
        let digits = i128::try_from(digits).ok()?;
        Some(if self.is_negative { -digits } else { digits })
    }
}

/// A number without an exponent and superfluous zeros; `None` if it has more digits than `max` then, or is no number.
pub(crate) fn plain(token: &str, max: usize) -> Option<String> {
    let (sign, unsigned) = match token.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", token),
    };
    let (decimal, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((decimal, exponent)) => (decimal, read_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, "0"));
    if ![whole, fraction].into_iter().all(is_digits) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    // The number of digits before the point.
    let zeros = digits.len() - significant.len();
    let point = i64::try_from(whole.len()).ok()? + exponent - i64::try_from(zeros).ok()?;
    let significant = significant.trim_end_matches('0');
    let length = significant.len();
    let fraction = i64::try_from(length).ok()?.saturating_sub(point).max(0);
    if point.max(1) + fraction > i64::try_from(max).ok()? {
        return None;
    }
    let plain = match usize::try_from(point) {
        Ok(0) => format!("{sign}0.{significant}"),
        Ok(point) if point >= length => {
            format!("{sign}{significant}{}", "0".repeat(point - length))
        }
        Ok(point) => format!("{sign}{}.{}", &significant[..point], &significant[point..]),
        Err(_) => {
            let zeros = usize::try_from(-point).ok()?;
            format!("{sign}0.{}{significant}", "0".repeat(zeros))
        }
    };
    Some(plain)
}

/// Parses the exponent, clamped to a range beyond all valid ones.
fn read_exponent(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if !is_digits(digits) {
        return None;
    }
    // Clamped far below the limits of i64, so that later additions do not overflow.
    let size = digits
        .bytes()
        .fold(0_i64, |size, digit| (size * 10 + i64::from(digit - b'0')).min(i64::MAX / 16));
    Some(sign * size)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Digits without leading and trailing zeros.
#[derive(Default)]
struct Significand {
    value: u128,
    count: u32,
    trailing_zeros: i64,
}

impl Significand {
    fn read(&mut self, digits: &str) {
        for digit in digits.bytes().map(|digit| digit - b'0') {
            if digit > 0 {
                self.push_zeros();
                self.push(digit);
            } else if !self.is_zero() {
                self.trailing_zeros += 1;
            }
        }
    }

    /// Adds the zeros, because another digit follows.
    fn push_zeros(&mut self) {
        for _ in 0..std::mem::take(&mut self.trailing_zeros) {
            self.push(0);
        }
    }

    fn push(&mut self, digit: u8) {
        self.count = self.count.saturating_add(1);
        if self.count <= MAX_DIGITS {
            self.value = self.value * 10 + u128::from(digit);
        }
    }

    const fn is_zero(&self) -> bool {
        self.count == 0
    }

    fn digits(&self) -> Option<u128> {
        (self.count <= MAX_DIGITS).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(token: &str) -> Result<i128, NotAnInteger> {
        Number::read(token).unwrap().integer()
    }

    #[test]
    fn integer_is_read_in_every_spelling() {
        let zeros = "0".repeat(100_000);
        for (token, value) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0", 0),
            ("0e999999999999999999999999", 0),
            ("0.0e-5", 0),
            ("1.0", 1),
            ("1e2", 100),
            ("1E+2", 100),
            ("-1.50e1", -15),
            ("100e-2", 1),
            ("18446744073709551615.0", u64::MAX.into()),
            ("-9223372036854775808", i64::MIN.into()),
            ("-922337203685477580.8e1", i64::MIN.into()),
            (&format!("1{zeros}e-100000"), 1),
            (&format!("0.{zeros}1e100001"), 1),
            (&format!("1e{zeros}3"), 1000),
        ] {
            assert_eq!(integer(token), Ok(value), "{token:.40}");
        }
    }

    #[test]
    fn error_says_why_a_number_is_not_an_integer() {
        use NotAnInteger::{HasFraction, OutOfRange};
        let nines = "9".repeat(100_000);
        for (token, why) in [
            ("1.5", HasFraction),
            ("15e-1", HasFraction),
            ("1e-999999999999999999999", HasFraction),
            ("1.00000000000000000000000000000000000000000001", HasFraction),
            (&format!("{nines}.5"), HasFraction),
            ("-9223372036854775809", OutOfRange),
            ("18446744073709551616", OutOfRange),
            ("1e400", OutOfRange),
            ("1e999999999999999999999999", OutOfRange),
            ("-0.5e999999999", OutOfRange),
            (&nines, OutOfRange),
        ] {
            assert_eq!(integer(token), Err(why), "{token:.40}");
        }
    }

    #[test]
    fn plain_form_has_neither_exponent_nor_superfluous_zeros() {
        for (token, form) in [
            ("-0.0e7", "0"),
            ("1e2", "100"),
            ("10.50", "10.5"),
            ("0.001", "0.001"),
            ("105e-1", "10.5"),
            ("-1.5e-3", "-0.0015"),
            ("0.00120e3", "1.2"),
            ("1e-1", "0.1"),
            ("9007199254740993", "9007199254740993"),
        ] {
            assert_eq!(plain(token, 30).as_deref(), Some(form), "{token}");
        }
        for token in ["1e30", "1e-30", "1e999999999999999999999", &"9".repeat(31), "x", "1."] {
            assert_eq!(plain(token, 30), None, "{token}");
        }
    }

    #[test]
    fn invalid_number_is_not_parsed() {
        for token in [
            "", "-", "1.", ".5", "1e", "1e+", "e5", "+1", "1_0", "1.5.5", "1e5e5", "0x1", "NaN",
            "١",
        ] {
            assert_eq!(Number::read(token), None, "{token}");
        }
    }
}
