//! The fingerprint of a row: what it covers, and its form.

use jetline_core::Fingerprint;

use crate::{
    dataset::{Column, Dataset},
    value::Value,
};

/// The initial capacity of the buffer for the form.
const INITIAL_CAPACITY: usize = 1024;

/// The tag of the fields that no column takes, behind those of the types.
const EXTRA_TAG: u8 = 9;

impl Dataset {
    /// The hash of the content: of the values that are not null, with the names of their columns. It depends neither on
    /// the order of the columns nor on columns without a value, so that two declarations that give the same row give
    /// the same fingerprint. Stored fingerprints must stay valid. It covers no column that is to be redacted: a hash of a
    /// clear value can be searched by trial.
    pub(crate) fn fingerprint(&self, values: &[Value], extra: Option<&str>) -> Fingerprint {
        self.fingerprint_with(values, extra, |column| column.redact.is_none())
    }

    /// The same of some columns.
    pub(crate) fn fingerprint_with(
        &self,
        values: &[Value],
        extra: Option<&str>,
        covers: impl Fn(&Column) -> bool,
    ) -> Fingerprint {
        let mut form = Vec::with_capacity(INITIAL_CAPACITY);
        for at in &self.by_name {
            let column = &self.columns[*at];
            if covers(column) {
                append_value(&column.name, &values[*at], &mut form);
            }
        }
        if let Some(extra) = extra {
            append("", EXTRA_TAG, extra.as_bytes(), &mut form);
        }
        Fingerprint::of(&form)
    }

    /// The fingerprint of a delete: that of all deletes of a version, so that the row of one takes a higher version.
    pub(crate) fn fingerprint_of_delete(&self, values: &[Value]) -> Fingerprint {
        let mut form = b"deleted".to_vec();
        if let Some(at) = self.version {
            append_value(&self.columns[at].name, &values[at], &mut form);
        }
        Fingerprint::of(&form)
    }
}

fn append_value(name: &str, value: &Value, form: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Text(text) => append(name, 0, text.as_bytes(), form),
        Value::Bigint(integer) => append(name, 1, &integer.to_le_bytes(), form),
        Value::Numeric(decimal) => append(name, 2, &decimal.serialize(), form),
        Value::Double(double) => append(name, 3, &double.to_bits().to_le_bytes(), form),
        Value::Boolean(boolean) => append(name, 4, &[u8::from(*boolean)], form),
        Value::Date(date) => {
            append(name, 5, &chrono::Datelike::num_days_from_ce(date).to_le_bytes(), form);
        }
        Value::Timestamp(time) => append(name, 6, &time.timestamp_micros().to_le_bytes(), form),
        Value::Uuid(bytes) => append(name, 7, bytes, form),
        Value::Json(text) => append(name, 8, text.as_bytes(), form),
    }
}

/// Every part is preceded by its length, so that different contents have different forms.
fn append(name: &str, tag: u8, bytes: &[u8], form: &mut Vec<u8>) {
    form.extend_from_slice(&(name.len() as u64).to_le_bytes());
    form.extend_from_slice(name.as_bytes());
    form.push(tag);
    form.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    form.extend_from_slice(bytes);
}
