//! The style sheet, the script and the icon.

use poem::{
    IntoResponse, Request, Response, handler,
    http::{StatusCode, header},
    web::Path,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::http::{entity_tag, problem::not_found};

const ASSETS: [(&str, &str, &str); 3] = [
    ("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
    ("page.css", "text/css; charset=utf-8", include_str!("../../assets/page.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("../../assets/page.js")),
];

#[handler]
pub(super) fn get_asset(request: &Request, Path(name): Path<String>) -> Response {
    let Some((_, content_type, text)) = ASSETS.iter().find(|(known, ..)| *known == name) else {
        return not_found(format!("there is no {name}"))
            .into_response()
            .with_status(StatusCode::NOT_FOUND)
            .into_response();
    };
    let tag = format!("\"{:016x}\"", xxh3_64(text.as_bytes()));
    let known: Vec<String> = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| Some(value.to_str().ok()?.to_owned()))
        .collect();
    let answer = Response::builder()
        .header(header::ETAG, tag.clone())
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if entity_tag::matches(&known, &tag) {
        return answer.status(StatusCode::NOT_MODIFIED).finish();
    }
    answer.content_type(content_type).body(*text)
}
