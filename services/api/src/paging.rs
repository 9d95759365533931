//! Lists in pages, each with a link to the next.

use poem_openapi::{
    ApiResponse,
    types::{ToJSON, Type},
};
use serde::Serialize;
use url::form_urlencoded::Serializer;

use crate::{json::SerdeJson, problem::Failure};

/// One page.
#[derive(ApiResponse)]
pub(crate) enum Page<T: Type + ToJSON> {
    /// A part of the list.
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

/// A list that was read with one entry more than a page shows.
pub(crate) struct Listing<'a, T> {
    /// Where the list is.
    pub(crate) path: &'static str,
    /// The parameters that the next page has as well.
    pub(crate) filter: Vec<(&'a str, String)>,
    /// How many entries a page shows.
    pub(crate) limit: u64,
    /// The entries.
    pub(crate) entries: Vec<T>,
}

impl<T: Type + ToJSON + Serialize> Listing<'_, T> {
    /// The page. `cursor` says where an entry stands.
    pub(crate) fn page(mut self, cursor: impl Fn(&T) -> String) -> Result<Page<T>, Failure> {
        let shown = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let goes_on = self.entries.len() > shown;
        self.entries.truncate(shown);
        let last = self.entries.last().filter(|_| goes_on).map(cursor);
        let link = last.map(|after| self.link(&after));
        Ok(Page::Part(SerdeJson::new(&self.entries)?, link))
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
