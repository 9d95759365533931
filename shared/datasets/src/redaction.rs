//! Redaction: what is stored of the values of a column instead of them.
//!
//! A row is parsed with its clear values, which are checked, and redacted before anything is stored. What is written of
//! it is parsed again by [`Dataset::redacted`], and gives the same row.

use std::fmt::{self, Write as _};

use blake2::{
    Blake2bMac,
    digest::{FixedOutput, KeyInit, Update, consts::U32},
};
use serde::Deserialize;

use crate::{Dataset, Row, Value};

/// Minimum number of bytes of a key.
const MIN_KEY_BYTES: usize = 32;

/// Maximum number of bytes of a key of `BLAKE2b`.
const MAX_KEY_BYTES: usize = 64;

/// How many characters `last4` keeps.
const KEPT: usize = 4;

/// What `last4` stores of a text with fewer than twice as many characters as it keeps.
const NOTHING_KEPT: &str = "****";

/// What is stored of the texts of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Redaction {
    /// The last four characters; `****` of a text with fewer than eight.
    Last4,
    /// The BLAKE2b-MAC of 256 bits, in lower-case hexadecimal digits. Equal texts have equal hashes under a key.
    Hash,
    /// Nothing: the table has no such column.
    Drop,
}

/// The key of the hashes. With it, a value of few possible ones can be found from its hash by trial.
#[derive(Clone)]
pub struct RedactionKey(Blake2bMac<U32>);

/// A key of the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a redaction key has {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes; this one has {bytes}"
)]
pub struct RedactionKeyError {
    bytes: usize,
}

impl RedactionKey {
    /// The key of these bytes: 32 to 64 random ones.
    pub fn new(bytes: &[u8]) -> Result<Self, RedactionKeyError> {
        let error = RedactionKeyError { bytes: bytes.len() };
        if bytes.len() < MIN_KEY_BYTES {
            return Err(error);
        }
        Blake2bMac::new_from_slice(bytes).map(Self).map_err(|_| error)
    }

    /// The MAC of bytes, from which they cannot be found by trial without the key.
    #[must_use]
    pub fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        self.0.clone().chain(bytes).finalize_fixed().into()
    }

    fn hash(&self, text: &str) -> String {
        let mut digits = String::with_capacity(64);
        for byte in self.mac(text.as_bytes()) {
            // Writing to a string does not fail.
            let _ = write!(digits, "{byte:02x}");
        }
        digits
    }
}

impl fmt::Debug for RedactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedactionKey(…)")
    }
}

impl Redaction {
    fn of(self, text: &str, key: &RedactionKey) -> Value {
        match self {
            Self::Last4 => Value::Text(last4(text)),
            Self::Hash => Value::Text(key.hash(text)),
            Self::Drop => Value::Null,
        }
    }
}

/// The last characters. They would be more than half of a shorter text.
fn last4(text: &str) -> String {
    let count = text.chars().count();
    if count < 2 * KEPT {
        return NOTHING_KEPT.to_owned();
    }
    text.chars().skip(count - KEPT).collect()
}

impl Dataset {
    /// Whether a row of this dataset must be redacted before it is stored.
    #[must_use]
    pub const fn has_redaction(&self) -> bool {
        self.has_redaction
    }

    /// This dataset for objects whose values were redacted before they were written. Table and fingerprints are the
    /// same; redacted columns have no constraints, dropped ones are optional, and [`Dataset::redact`] changes nothing.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut dataset = self.clone();
        for column in dataset.columns.iter_mut().chain(&mut dataset.dropped) {
            if let Some(redaction) = column.redact.take() {
                column.constraints.clear();
                column.optional |= redaction == Redaction::Drop;
            }
        }
        dataset.has_redaction = false;
        dataset
    }

    /// Replaces the clear values of a row, which this dataset parsed, and its fingerprint. To be called once.
    #[must_use]
    pub fn redact(&self, mut row: Row, key: &RedactionKey) -> Row {
        if !self.has_redaction || self.is_delete(&row) {
            return row;
        }
        for (column, value) in self.columns.iter().zip(&mut row.values) {
            if let (Some(redaction), Value::Text(text)) = (column.redact, &*value) {
                *value = redaction.of(text, key);
            }
        }
        // There are no fields that no column takes: none are kept where a column is redacted.
        row.fingerprint = self.fingerprint_with(&row.values, None, |_| true);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Origin, Reason, Rejection, UnknownFields, parse};

    const CARDS: &str = r#"
key = "id"
unknown = "reject"
one_of = ["number", "iban"]
deleted = { column = "op", equals = "D" }

[columns]
id = "text"
number = { type = "text", format = "luhn", pattern = '^[0-9]{13,19}$', maxLength = 16, redact = "last4", optional = true }
cvv = { type = "text", pattern = '^[0-9]{3,4}$', path = "/code/cvv", redact = "drop" }
iban = { type = "text", minLength = 15, redact = "hash", index = true, optional = true }
expiry = { type = "text", format = "card-expiry", redact = "hash" }
amount = { type = "bigint", optional = true }
"#;

    const CARD: &str = r#"{"id":"a","number":"4929130218797004","code":{"cvv":"8365"},"expiry":"11/2026","amount":1}"#;

    fn cards() -> Dataset {
        parse("cards", "cards.toml", CARDS).unwrap()
    }

    fn key(byte: u8) -> RedactionKey {
        RedactionKey::new(&[byte; 32]).unwrap()
    }

    fn at(moment: &str) -> Origin {
        Origin { modified_at: moment.parse().unwrap(), ..Origin::default() }
    }

    fn read(record: &str) -> Result<Row, Rejection> {
        let origin = at("2026-11-30T23:59:59.999999Z");
        cards().parse_json_counting(record.as_bytes(), origin, &mut UnknownFields::default())
    }

    #[test]
    fn hash_is_that_of_blake2b_with_a_key() {
        let key: Vec<u8> = (0..64).collect();
        // Python: hashlib.blake2b(b"4111111111111111", key=bytes(range(64)), digest_size=32).hexdigest()
        let expected = "2371ca96bf00077c6cee5d6f2ef94d74df30c95bf904d0a9ed99b87e084404e2";
        assert_eq!(RedactionKey::new(&key).unwrap().hash("4111111111111111"), expected);
    }

    #[test]
    fn key_has_enough_bytes_and_is_not_shown() {
        for (bytes, is_key) in [(0, false), (31, false), (32, true), (64, true), (65, false)] {
            assert_eq!(RedactionKey::new(&vec![7; bytes]).is_ok(), is_key, "{bytes}");
        }
        assert_eq!(format!("{:?}", key(7)), "RedactionKey(…)");
        let error = RedactionKey::new(b"short").unwrap_err();
        let message = "a redaction key has 32 to 64 random bytes; this one has 5";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn last_four_characters_are_at_most_half_of_the_text() {
        for (text, kept) in [
            ("4929130218797004", "7004"),
            ("12345678", "5678"),
            ("1234567", "****"),
            ("", "****"),
            ("ääääöööö", "öööö"),
            ("ääääööö", "****"),
        ] {
            assert_eq!(last4(text), kept, "{text}");
        }
    }

    #[test]
    fn row_has_no_clear_value_after_its_redaction() {
        let row = cards().redact(read(CARD).unwrap(), &key(1));
        let texts: Vec<String> = row.values.iter().map(Value::to_text).collect();
        assert_eq!(texts[..3], ["a", "7004", ""]);
        assert_eq!(texts[3].len(), 64);
        assert_eq!(texts[4..], ["1", "false"]);
        let mut json = Vec::new();
        cards().write_record(&row, &mut json).unwrap();
        let json = String::from_utf8(json).unwrap();
        assert!(!["4929", "8365", "code", "2026"].iter().any(|part| json.contains(part)), "{json}");
        assert_eq!(cards().redacted().parse_json(json.as_bytes()), Ok(row));
    }

    #[test]
    fn field_that_was_kept_before_it_was_redacted_is_not_rendered() {
        let (cards, mut json) = (cards(), Vec::new());
        let row = cards.parse_json(br#"{"id":"a","op":"D"}"#).unwrap();
        let kept = r#"{"number":"4929130218797004","code":{"cvv":"8365","more":1}}"#;
        cards.write_json(&row.values, Some(kept), &mut json).unwrap();
        let expected =
            r#"{"id":"a","number":null,"iban":null,"expiry":null,"amount":null,"code":{"more":1}}"#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }

    #[test]
    fn index_of_hashes_does_not_limit_the_clear_text() {
        let iban = format!("\"iban\":\"{}\"", "x".repeat(2_000));
        let row = read(&CARD.replace("\"number\":\"4929130218797004\"", &iban)).unwrap();
        let row = cards().redact(row, &key(1));
        assert_eq!(row.values[2].to_text().len(), 64);
    }

    #[test]
    fn fingerprint_is_that_of_the_redacted_values() {
        let (cards, clear) = (cards(), read(CARD).unwrap());
        let changed = |from: &str, to: &str| read(&CARD.replace(from, to)).unwrap();
        let redacted = |row: &Row| cards.redact(row.clone(), &key(1)).fingerprint;
        for (from, to) in [("8365", "8366"), ("4929130218797004", "4111111111187004")] {
            assert_eq!(redacted(&changed(from, to)), redacted(&clear), "{to}");
        }
        let later = changed("11/2026", "12/2026");
        assert_ne!(redacted(&later), redacted(&clear));
        assert_ne!(cards.redact(clear.clone(), &key(2)).fingerprint, redacted(&clear));
        // A clear row has no hash of a clear value either.
        assert_eq!(later.fingerprint, clear.fingerprint);
        assert_ne!(changed("\"amount\":1", "\"amount\":2").fingerprint, clear.fingerprint);
    }

    #[test]
    fn redacted_object_needs_no_dropped_field_and_is_not_checked_again() {
        let redacted = cards().redacted();
        assert!(cards().has_redaction() && !redacted.has_redaction());
        let row = redacted.parse_json(br#"{"id":"a","number":"****","expiry":"e"}"#).unwrap();
        assert_eq!(redacted.redact(row.clone(), &key(1)), row);
        let names = |dataset: &Dataset| -> Vec<String> {
            dataset.stored().map(|column| column.name.clone()).collect()
        };
        assert_eq!(names(&redacted), names(&cards()));
        assert!(redacted.parse_json(br#"{"id":"a","number":"****"}"#).is_err());
        let deleted = cards().parse_json(br#"{"id":"a","op":"D","number":7}"#).unwrap();
        assert_eq!(cards().redact(deleted.clone(), &key(1)), deleted);
    }

    #[test]
    fn field_of_a_dropped_column_is_checked_and_not_unknown() {
        let (cards, mut unknown) = (cards(), UnknownFields::default());
        let parsed = cards.parse_json_counting(CARD.as_bytes(), Origin::default(), &mut unknown);
        assert!(parsed.is_ok() && unknown.is_empty());
        for (to, reason) in [
            (r#"{"cvv":"83"}"#, Reason::InvalidValue),
            (r#"{"cvv":null}"#, Reason::WrongType),
            ("{}", Reason::MissingField),
            (r#"{"cvv":"836","cvv":"836"}"#, Reason::DuplicateField),
        ] {
            let rejection = read(&CARD.replace(r#"{"cvv":"8365"}"#, to)).unwrap_err();
            assert_eq!(rejection.reason, reason, "{rejection}");
        }
    }

    #[test]
    fn expiry_is_judged_at_the_time_of_the_object() {
        let (cards, mut unknown) = (cards(), UnknownFields::default());
        let mut read = |moment: &str| {
            cards.parse_json_counting(CARD.as_bytes(), at(moment), &mut unknown).map(|_| ())
        };
        assert_eq!(read("2026-11-30T23:59:59.999999Z"), Ok(()));
        let rejection = read("2026-12-01T00:00:00Z").unwrap_err();
        assert_eq!(rejection.to_string(), "invalid_value: expiry says that the card is expired");
    }

    /// Asserts that a message has no four characters of a text one after another.
    fn assert_hidden(text: &str, rejection: &Rejection) {
        let Rejection { message, .. } = rejection;
        let characters: Vec<char> = text.chars().collect();
        for part in characters.windows(4) {
            let part: String = part.iter().collect();
            assert!(!message.contains(&part), "{message}: {part}");
        }
    }

    #[test]
    fn rejection_does_not_show_a_clear_value() {
        const NUMBER: &str = "4929130218797004";
        for (record, message) in [
            // The wrong type.
            (CARD.replace("\"4929130218797004\"", "4929130218797004"), "a number is not a text"),
            (CARD.replace("\"8365\"", "[\"4929130218797004\"]"), "an array is not a text"),
            (CARD.replace("{\"cvv\":\"8365\"}", "\"4929130218797004\""), "is not an object"),
            (CARD.replace("\"8365\"", "null"), "not optional"),
            (CARD.replace("7004", "7004\\u0000"), "U+0000"),
            (CARD.replace("7004", "7004\\ud800"), "hex escape"),
            // Constraints.
            (CARD.replace("7004", "7005"), "check digit"),
            (CARD.replace("7004", "70x4"), "must match the pattern"),
            (CARD.replace("7004", "700400"), "at most 16 characters"),
            (CARD.replace("8365", NUMBER), "must match the pattern"),
            (CARD.replace("11/2026", NUMBER), "expiry must be a month"),
            (CARD.replace("11/2026", "4929/1302"), "expiry must be a month"),
            (CARD.replace("11/2026", "10/2026"), "expired"),
            (
                CARD.replace("\"number\":", "\"iban\":\"DE8937040044053\",\"number\":"),
                "exactly one",
            ),
            (CARD.replace("\"number\":", "\"iban\":\"DE893704\",\"number\":"), "iban must have"),
            // Fields.
            (CARD.replace("\"id\"", "\"number\":\"4929130218797004\",\"id\""), "occurs twice"),
            (CARD.replace("\"number\"", "\"nmuber\""), "no column takes the field nmuber"),
            (CARD.replace("\"number\"", "\"4929130218797004\""), "no column takes the field …"),
            (CARD.replace("\"cvv\"", "\"4929130218797004\""), "no column takes the field …"),
            // The value of another column.
            (
                CARD.replace(":1}", ":4929130218797004.5}"),
                "amount: the value is not a valid bigint",
            ),
            (
                CARD.replace(":1}", ":49291302187970044929}"),
                "amount: the value is not a valid bigint",
            ),
            (
                CARD.replace(":1}", ":\"4929130218797004\"}"),
                "amount: the value is not a valid bigint",
            ),
            // The record is no JSON, or no object.
            (CARD.replace("7004\"", "7004"), "at line 1 column"),
            (CARD.replace("\"4929130218797004\"", "4929130218797004x"), "at line 1 column"),
            (CARD.replace("7004\"", "7004\\x\""), "invalid escape"),
            (CARD.replace("7004\"", "7004\u{1}\""), "control character"),
            ("\"4929130218797004\"".to_owned(), "a string is not an object"),
            ("\"4929130218797004\" x".to_owned(), "trailing characters"),
            ("4929130218797004 4929".to_owned(), "trailing characters"),
            ("4929130218797004,8365,11/2026".to_owned(), "trailing characters"),
        ] {
            let rejection = read(&record).unwrap_err();
            assert!(rejection.message.contains(message), "{record}: {rejection}");
            for value in [NUMBER, "8365", "11/2026", "DE8937040044053", "10/2026", "4929/1302"] {
                assert_hidden(value, &rejection);
            }
        }
    }

    #[test]
    fn rejection_of_a_list_of_texts_does_not_show_a_clear_value() {
        let (cards, mut unknown) = (cards(), UnknownFields::default());
        let number = "4929130218797004";
        for (names, texts, message) in [
            (["id", "number", "expiry"], ["a", number, "11/2026"], "the column cvv is missing"),
            (["id", "amount", "number"], ["a", "49291302187970044929", "0"], "not a valid bigint"),
            (["id", "number", "amount"], ["a", "0", "0x4929130218797004"], "not a valid bigint"),
            (["id", "number", "amount"], ["a", "0", "04929130218797004"], "not a valid bigint"),
            (["id", "number", "code"], ["a", "0", number], "code: a text is not an object"),
            (["id", "number", "4929130218797004"], ["a", "0", number], "takes the field …"),
            (["id", "number", "iban"], ["a", "4929130218797004\0", ""], "U+0000"),
        ] {
            let header = cards.header(names.map(str::to_owned).into());
            let texts = texts.into_iter().map(Ok);
            let parsed = cards.parse_fields(&header, texts, Origin::default(), &mut unknown);
            let rejection = parsed.unwrap_err();
            assert!(rejection.message.contains(message), "{names:?}: {rejection}");
            assert_hidden(number, &rejection);
        }
        // In CSV without a header, the names of fields are values.
        let paths: Vec<&str> = unknown.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, [""]);
    }
}
