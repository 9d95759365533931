//! The style sheet, the script and the icon.

use poem::{IntoResponse, Request, Response, handler, http::StatusCode, web::Path};

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
    entity_tag::text(request, content_type, *text)
}
