//! JSON whose numbers keep their digits and whose objects keep fields that occur twice.

use std::fmt::Write as _;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{Reason, decimal::Decimal};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    /// As it is spelled.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
    /// A field of CSV, whose column decides what it is.
    Csv(String),
}

impl Json {
    /// Reads a text.
    pub(crate) fn read(text: &str) -> Result<Self, Reason> {
        // It limits the depth.
        serde_json::from_str::<serde_json::Value>(text).map_err(|_| "invalid_json")?;
        Self::of(text.trim_ascii()).map_err(|_| "invalid_json")
    }

    fn of(text: &str) -> serde_json::Result<Self> {
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let Fields(fields) = serde_json::from_str(text)?;
                let fields =
                    fields.into_iter().map(|(name, value)| Ok((name, Self::of(value.get())?)));
                Self::Object(fields.collect::<serde_json::Result<_>>()?)
            }
            Some(b'[') => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(text)?;
                let items = items.iter().map(|item| Self::of(item.get()));
                Self::Array(items.collect::<serde_json::Result<_>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b't' | b'f') => Self::Boolean(text == "true"),
            Some(b'n') => Self::Null,
            _ => Self::Number(text.to_owned()),
        })
    }

    /// Whether an object in it has a field twice.
    pub(crate) fn has_duplicates(&self) -> bool {
        match self {
            Self::Array(items) => items.iter().any(Self::has_duplicates),
            Self::Object(fields) => {
                let is_twice = |(at, (name, _)): (usize, &(String, Self))| {
                    fields[..at].iter().any(|(other, _)| other == name)
                };
                fields.iter().enumerate().any(is_twice)
                    || fields.iter().any(|(_, value)| value.has_duplicates())
            }
            _ => false,
        }
    }

    /// The form that all equal values have: sorted fields, plain numbers, no white space.
    pub(crate) fn form(&self) -> Result<String, Reason> {
        let mut form = String::new();
        self.append(&mut form)?;
        Ok(form)
    }

    fn append(&self, form: &mut String) -> Result<(), Reason> {
        match self {
            Self::Null => form.push_str("null"),
            Self::Boolean(boolean) => form.push_str(if *boolean { "true" } else { "false" }),
            Self::Number(token) => {
                form.push_str(&Decimal::read(token).ok_or("invalid_json")?.plain()?);
            }
            Self::Text(text) | Self::Csv(text) => append_text(text, form)?,
            Self::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    form.push(if number == 0 { '[' } else { ',' });
                    item.append(form)?;
                }
                form.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Self::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(name, _)| name);
                for (number, (name, value)) in fields.iter().enumerate() {
                    form.push(if number == 0 { '{' } else { ',' });
                    append_text(name, form)?;
                    form.push(':');
                    value.append(form)?;
                }
                form.push_str(if fields.is_empty() { "{}" } else { "}" });
            }
        }
        Ok(())
    }
}

fn append_text(text: &str, form: &mut String) -> Result<(), Reason> {
    if text.contains('\0') {
        return Err("nul_character");
    }
    // Writing to a string does not fail.
    let _ = write!(form, "{}", serde_json::Value::from(text));
    Ok(())
}

/// The fields of an object with their raw values, including duplicates.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[test]
fn equal_values_have_one_form() {
    let form = |text| Json::read(text).and_then(|json| json.form());
    let expected = r#"{"a":"A","b":[1.5,100,{},[]]}"#;
    assert_eq!(form(r#"{ "b" : [ 1.50, 1e2, {}, []], "a":"\u0041" }"#).as_deref(), Ok(expected));
    assert_eq!(form(r#"["\u0000"]"#), Err("nul_character"));
    assert!(Json::read(r#"[{"a":1,"\u0061":1}]"#).unwrap().has_duplicates());
}
