//! JSON texts: the fields of an object as raw texts, and the canonical form of a value.
//!
//! A value's text is kept until its column's type is known: numbers keep all their digits, and what is not needed is not
//! parsed.

use std::{borrow::Cow, fmt};

use memchr::memchr;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{Reason, Rejection, number::plain};

/// The maximum depth of nested arrays and objects.
const MAX_DEPTH: usize = 128;

/// Maximum number of digits of a number in a JSON value, written without an exponent.
const MAX_PLAIN_DIGITS: usize = 1_000;

/// The fields of an object in their order, with the raw texts of their values.
pub(crate) struct Fields<'a>(pub(crate) Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, map.next_value::<&'de RawValue>()?.get()));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// A field's name, borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JsonType {
    /// `{…}`.
    Object,
    /// `[…]`.
    Array,
    /// `"…"`; a text of CSV too.
    String,
    /// `1`.
    Number,
    /// `true` or `false`.
    Boolean,
    /// `null`.
    Null,
}

impl JsonType {
    /// The type of a valid JSON text.
    pub(crate) fn of(text: &str) -> Self {
        match text.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// The word that JSON Schema has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }
}

/// The value of a JSON string.
pub(crate) fn string(text: &str) -> Result<Cow<'_, str>, Rejection> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let string = match inner {
        Some(inner) if memchr(b'\\', inner.as_bytes()).is_none() => Cow::Borrowed(inner),
        _ => {
            serde_json::from_str::<String>(text).map(Cow::Owned).map_err(|error| invalid(&error))?
        }
    };
    if memchr(0, string.as_bytes()).is_some() {
        return Err(Rejection::new(Reason::NulCharacter, "a text holds the character U+0000"));
    }
    Ok(string)
}

/// The message has a place, and nothing of the text: only errors of syntax are reported.
pub(crate) fn invalid(error: &serde_json::Error) -> Rejection {
    Rejection::new(Reason::InvalidJson, error.to_string())
}

/// Appends the canonical form of a value: without white space, fields sorted by name, numbers without exponents and
/// superfluous zeros. Equal values have equal forms.
pub(crate) fn canonical(text: &str, form: &mut String) -> Result<(), Rejection> {
    append(text, form, 0)
}

fn append(text: &str, form: &mut String, depth: usize) -> Result<(), Rejection> {
    if depth > MAX_DEPTH {
        let message = format!("more than {MAX_DEPTH} nested arrays and objects");
        return Err(Rejection::new(Reason::InvalidJson, message));
    }
    match JsonType::of(text) {
        JsonType::Object => {
            let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| invalid(&error))?;
            append_object(fields.0, form, depth)
        }
        JsonType::Array => {
            let items: Vec<&RawValue> =
                serde_json::from_str(text).map_err(|error| invalid(&error))?;
            form.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    form.push(',');
                }
                append(item.get(), form, depth + 1)?;
            }
            form.push(']');
            Ok(())
        }
        JsonType::String => append_string(&string(text)?, form),
        JsonType::Number => append_number(text, form),
        JsonType::Boolean | JsonType::Null => {
            form.push_str(text);
            Ok(())
        }
    }
}

/// Appends the canonical form of an object with these fields.
pub(crate) fn append_object(
    mut fields: Vec<(Cow<'_, str>, &str)>,
    form: &mut String,
    depth: usize,
) -> Result<(), Rejection> {
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    if let Some(twice) = fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(duplicate(&twice[0].0));
    }
    form.push('{');
    for (number, (name, value)) in fields.iter().enumerate() {
        if number > 0 {
            form.push(',');
        }
        if name.contains('\0') {
            let message = "the name of a field holds the character U+0000";
            return Err(Rejection::new(Reason::NulCharacter, message));
        }
        append_string(name, form)?;
        form.push(':');
        append(value, form, depth + 1)?;
    }
    form.push('}');
    Ok(())
}

pub(crate) fn duplicate(name: &str) -> Rejection {
    Rejection::new(Reason::DuplicateField, format!("the field {name:?} occurs twice"))
}

fn append_string(text: &str, form: &mut String) -> Result<(), Rejection> {
    let quoted = serde_json::to_string(text).map_err(|error| invalid(&error))?;
    form.push_str(&quoted);
    Ok(())
}

/// Appends a text as a JSON string.
pub(crate) fn write_string(text: &str, json: &mut Vec<u8>) {
    // Writing a text to a vector does not fail.
    let _ = serde_json::to_writer(json, text);
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn append_number(text: &str, form: &mut String) -> Result<(), Rejection> {
    let plain = plain(text, MAX_PLAIN_DIGITS).ok_or_else(|| {
        let message = format!("the number {text} has more than {MAX_PLAIN_DIGITS} digits");
        Rejection::new(Reason::OutOfRange, message)
    })?;
    form.push_str(&plain);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Result<String, Reason> {
        let mut form = String::new();
        canonical(text, &mut form).map(|()| form).map_err(|rejection| rejection.reason)
    }

    #[test]
    fn equal_values_have_one_form() {
        for (text, expected) in [
            (r#"{ "b" : [ 1.50, 1e2, -0 ], "a":"\u0041" }"#, r#"{"a":"A","b":[1.5,100,0]}"#),
            (
                "12345678901234567890123456789012345678901234567890.10",
                "12345678901234567890123456789012345678901234567890.1",
            ),
            ("[true,null,false]", "[true,null,false]"),
            (r#""é\n\"""#, r#""é\n\"""#),
            ("1e-5", "0.00001"),
        ] {
            assert_eq!(form(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn value_that_cannot_be_stored_is_rejected() {
        let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(form(&deep(MAX_DEPTH)).is_ok());
        for (text, reason) in [
            (&*deep(200), Reason::InvalidJson),
            (r#"{"a":1,"\u0061":2}"#, Reason::DuplicateField),
            (r#"["\u0000"]"#, Reason::NulCharacter),
            (r#"{"\u0000":1}"#, Reason::NulCharacter),
            (r#"["\ud800"]"#, Reason::InvalidJson),
            ("1e400000", Reason::OutOfRange),
        ] {
            assert_eq!(form(text), Err(reason), "{text:.40}");
        }
    }
}
