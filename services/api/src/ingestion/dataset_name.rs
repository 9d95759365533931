//! The name of a dataset as a parameter, documented with the names in the registry.

use std::borrow::Cow;

use jetline_records::registry::datasets;
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromParameter, ParseResult, Type},
};

/// The name of a dataset in the registry.
pub(crate) struct DatasetName(pub(crate) String);

fn names() -> Vec<&'static str> {
    datasets().iter().map(|dataset| dataset.name).collect()
}

impl Type for DatasetName {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "dataset".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            enum_items: names().into_iter().map(Into::into).collect(),
            ..MetaSchema::new("string")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromParameter for DatasetName {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        let names = names();
        if names.contains(&value) {
            return Ok(Self(value.to_owned()));
        }
        let reason = format!("names no dataset; there is {}", names.join(", "));
        Err(ParseError::custom(reason))
    }
}
