//! Lists in pages, with a link to the next page.

use bytes::Bytes;
use poem_openapi::{
    ApiResponse,
    types::{ToJSON, Type},
};
use serde::Serialize;
use url::form_urlencoded::Serializer;

use crate::http::{
    json::{self, SerdeJson},
    problem::Failure,
    response_budget::{PART_BYTES, Reservation},
};

/// One page.
#[derive(ApiResponse)]
pub(crate) enum Page<T: Type + ToJSON> {
    /// A page of the list. It may have fewer entries than `limit`, where they are long: it ends at about 1 MiB.
    #[oai(status = 200)]
    Part(
        SerdeJson<Vec<T>>,
        /// `<…>; rel="next"`: the next page, unless this is the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// The default limit of entries on a page.
pub(crate) const fn default_limit() -> u64 {
    100
}

/// The entries of a page, and what its link needs.
pub(crate) struct Listing<'a, T> {
    /// The filter parameters, repeated in the link.
    pub(crate) filter: Vec<(&'a str, String)>,
    /// Maximum number of entries on a page.
    pub(crate) limit: u64,
    /// The entries.
    pub(crate) entries: Vec<T>,
    /// Whether the list continues after them.
    pub(crate) has_more: bool,
}

impl<T: Type + ToJSON + Serialize> Listing<'_, T> {
    /// The page, in the memory that was reserved for it. `cursor` returns the cursor of an entry.
    pub(crate) fn page(
        self,
        memory: Reservation,
        cursor: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Failure> {
        let (body, shown) = json::serialize(|| write_page(&self.entries))?;
        let has_more = self.has_more || shown < self.entries.len();
        let last = shown.checked_sub(1).filter(|_| has_more);
        let last = last.and_then(|last| self.entries.get(last)).map(cursor);
        let link = last.map(|after| next_link(self.filter, &after, self.limit));
        let body: Bytes = memory.fill(body)?;
        Ok(Page::Part(SerdeJson::serialized(body), link))
    }
}

/// The `Link` to the page behind the entry with the cursor `after`; it repeats the filter parameters. It is relative to the
/// address of this page, so that it is right below any prefix.
pub(crate) fn next_link(filter: Vec<(&str, String)>, after: &str, limit: u64) -> String {
    let query = Serializer::new(String::new())
        .extend_pairs(filter)
        .append_pair("after", after)
        .append_pair("limit", &limit.to_string())
        .finish();
    format!("<?{query}>; rel=\"next\"")
}

/// Serializes entries up to the size of a page, at least one; returns their number too.
fn write_page<T: Serialize>(entries: &[T]) -> serde_json::Result<(Vec<u8>, usize)> {
    let mut page = PageBody::default();
    let mut shown = 0;
    for entry in entries {
        if !page.push(|json| serde_json::to_writer(json, entry))? {
            break;
        }
        shown += 1;
    }
    Ok((page.finish(), shown))
}

/// The body of a page: an array of up to [`PART_BYTES`].
#[derive(Default)]
pub(crate) struct PageBody {
    json: Vec<u8>,
    entries: u64,
}

impl PageBody {
    /// Appends the entry that is written, unless the page is full then; returns whether it was appended. The first one
    /// always is.
    pub(crate) fn push(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) -> serde_json::Result<bool> {
        let end = self.json.len();
        self.json.push(if self.entries == 0 { b'[' } else { b',' });
        write(&mut self.json)?;
        if self.entries > 0 && self.json.len() >= PART_BYTES {
            self.json.truncate(end);
            return Ok(false);
        }
        self.entries += 1;
        Ok(true)
    }

    /// The number of its entries.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// The whole array.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.entries == 0 {
            self.json.push(b'[');
        }
        self.json.extend_from_slice(b"]\n");
        self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entries: &[String]) -> usize {
        let (body, shown) = write_page(entries).unwrap();
        let read: Vec<String> = serde_json::from_slice(&body).unwrap();
        assert_eq!(read, entries[..shown]);
        shown
    }

    #[test]
    fn page_ends_when_it_is_full_and_has_at_least_one_entry() {
        assert_eq!(shown(&[]), 0);
        assert_eq!(shown(&vec!["x".to_owned(); 1000]), 1000);
        assert_eq!(shown(&vec!["x".repeat(PART_BYTES / 4); 9]), 3);
        assert_eq!(shown(&vec!["x".repeat(2 * PART_BYTES); 2]), 1);
    }
}
