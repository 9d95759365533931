//! Lists in pages, each with a link to the next.

use bytes::Bytes;
use poem_openapi::{
    ApiResponse,
    types::{ToJSON, Type},
};
use serde::Serialize;
use url::form_urlencoded::Serializer;

use crate::{
    answers::{PART_BYTES, Reserved},
    json::{self, SerdeJson},
    problem::Failure,
};

/// One page.
#[derive(ApiResponse)]
pub(crate) enum Page<T: Type + ToJSON> {
    /// A part of the list. It may have fewer entries than `limit`, where they are long: it ends where it has about 1 MiB.
    #[oai(status = 200)]
    Part(
        SerdeJson<Vec<T>>,
        /// `<…>; rel="next"`: where the list goes on, unless this is its end.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// Entries on a page when the caller does not say.
pub(crate) const fn default_limit() -> u64 {
    100
}

/// A list as far as it was read.
pub(crate) struct Listing<'a, T> {
    /// Where the list is.
    pub(crate) path: &'static str,
    /// The parameters that the next page has as well.
    pub(crate) filter: Vec<(&'a str, String)>,
    /// How many entries a page shows at most.
    pub(crate) limit: u64,
    /// The entries.
    pub(crate) entries: Vec<T>,
    /// Whether there are more behind them.
    pub(crate) goes_on: bool,
}

impl<T: Type + ToJSON + Serialize> Listing<'_, T> {
    /// The page, in the memory that was set aside for it. `cursor` says where an entry stands.
    pub(crate) fn page(
        self,
        memory: Reserved,
        cursor: impl Fn(&T) -> String,
    ) -> Result<Page<T>, Failure> {
        let (body, shown) = json::written(|| written(&self.entries))?;
        let goes_on = self.goes_on || shown < self.entries.len();
        let last = shown.checked_sub(1).filter(|_| goes_on);
        let last = last.and_then(|last| self.entries.get(last)).map(cursor);
        let link = last.map(|after| self.link(&after));
        let body: Bytes = memory.fill(body)?;
        Ok(Page::Part(SerdeJson::written(body), link))
    }

    fn link(&self, after: &str) -> String {
        let query = Serializer::new(String::new())
            .extend_pairs(&self.filter)
            .append_pair("after", after)
            .append_pair("limit", &self.limit.to_string())
            .finish();
        format!("<{}?{query}>; rel=\"next\"", self.path)
    }
}

/// As many entries as a page has room for, the first one always, and how many those are.
fn written<T: Serialize>(entries: &[T]) -> serde_json::Result<(Vec<u8>, usize)> {
    let mut body = vec![b'['];
    let mut shown = 0;
    for entry in entries {
        let end = body.len();
        if shown > 0 {
            body.push(b',');
        }
        serde_json::to_writer(&mut body, entry)?;
        if shown > 0 && body.len() >= PART_BYTES {
            body.truncate(end);
            break;
        }
        shown += 1;
    }
    body.push(b']');
    Ok((body, shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entries: &[String]) -> usize {
        let (body, shown) = written(entries).unwrap();
        let read: Vec<String> = serde_json::from_slice(&body).unwrap();
        assert_eq!(read, entries[..shown]);
        shown
    }

    #[test]
    fn page_ends_when_it_is_full_and_has_one_entry_at_least() {
        assert_eq!(shown(&[]), 0);
        assert_eq!(shown(&vec!["x".to_owned(); 1000]), 1000);
        assert_eq!(shown(&vec!["x".repeat(PART_BYTES / 4); 9]), 3);
        assert_eq!(shown(&vec!["x".repeat(2 * PART_BYTES); 2]), 1);
    }
}
