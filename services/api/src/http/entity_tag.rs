//! Entity tags: the `ETag` of a record is made of its fingerprint, for conditional requests.

use headers::{Header, IfNoneMatch};
use jetline_core::Fingerprint;
use poem::{
    Body, Request, Response,
    http::{HeaderValue, StatusCode, header},
};
use xxhash_rust::xxh3::xxh3_64;

/// The tag of a record, and of the declaration by which it is written.
pub(crate) fn of(fingerprint: Fingerprint, declaration: i64) -> String {
    format!("\"{fingerprint}-{declaration}\"")
}

/// The answer with a text, which a client keeps and asks for again: 304 where it has it already.
pub(crate) fn text<T: AsRef<str> + Into<Body>>(
    request: &Request,
    content_type: &str,
    text: T,
) -> Response {
    let tag = format!("\"{:016x}\"", xxh3_64(text.as_ref().as_bytes()));
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter();
    let known: Vec<String> =
        known.filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect();
    let answer = Response::builder()
        .header(header::ETAG, &tag)
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if matches(&known, &tag) {
        return answer.status(StatusCode::NOT_MODIFIED).finish();
    }
    answer.content_type(content_type).body(text)
}

/// Whether `If-None-Match` matches the tag. Its header lines together are one list of weak or strong tags, or `*`
/// alone.
pub(crate) fn matches(lines: &[String], tag: &str) -> bool {
    let lines = lines.iter().filter_map(|line| HeaderValue::from_str(line.trim()).ok());
    let lines: Vec<HeaderValue> = lines.collect();
    let had = IfNoneMatch::decode(&mut lines.iter());
    had.is_ok_and(|had| tag.parse().is_ok_and(|tag| !had.precondition_passes(&tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(lines: &[&str]) -> bool {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        matches(&lines, "\"a\"")
    }

    #[test]
    fn tag_is_found_in_every_form() {
        for header in [
            "\"a\"",
            "W/\"a\"",
            "\"b\", \"a\"",
            "\"b\",W/\"a\"",
            "\"b,c\" , ,\t\"a\"",
            "*",
            " \"a\" ",
        ] {
            assert!(has(&[header]), "{header}");
        }
        for header in ["", "a", "\"b\"", "\"aa\"", "w/\"a\"", "\"b,*,c\"", "\"a", "b \"a\""] {
            assert!(!has(&[header]), "{header}");
        }
    }

    #[test]
    fn list_on_several_lines_is_one_list() {
        assert!(has(&["\"b\"", "\"a\""]));
        assert!(has(&["\"b\", \"c\"", "", "W/\"a\", \"d\""]));
        assert!(!has(&["\"b\"", "\"c\""]));
        assert!(!has(&[]));
    }
}
