//! How answers are transferred: encodings, conditional requests, and what goes with a body.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use chrono::{TimeDelta, Utc};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::fixtures::{TestApi, product, settings};

async fn decoded(encoding: &str, body: &[u8]) -> String {
    let mut decoder: Box<dyn AsyncRead + Unpin + '_> = match encoding {
        "gzip" => Box::new(GzipDecoder::new(body)),
        "br" => Box::new(BrotliDecoder::new(body)),
        _ => Box::new(ZstdDecoder::new(body)),
    };
    let mut text = String::new();
    decoder.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn long_answer_is_compressed_as_the_client_accepts_it() {
    let base = TestApi::sqlite().await;
    let records: Vec<String> = (1..=50).map(|id| product(id, "1")).collect();
    base.load("products", &records).await;
    let plain = base.get("/products").await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    for encoding in ["gzip", "br", "zstd"] {
        let request = base.client().get("/products").header("accept-encoding", encoding);
        let response = request.send().await.0;
        assert_eq!(response.header("content-encoding"), Some(encoding));
        let body = response.into_body().into_bytes().await.unwrap();
        assert!(body.len() < plain.body.len() / 4, "{encoding}: {}", body.len());
        assert_eq!(decoded(encoding, &body).await, plain.body, "{encoding}");
        // The length of what GET would send is not known before it is compressed.
        let head = base.client().head("/products").header("accept-encoding", encoding);
        let head = head.send().await;
        head.assert_header("content-encoding", encoding);
        head.assert_header_is_not_exist("content-length");
    }
}

#[tokio::test]
async fn caches_are_told_that_the_encoding_and_the_origin_matter() {
    let mut settings = settings();
    settings.cors_origins = vec!["https://shop.example".to_owned()];
    let base = TestApi::sqlite_with(&settings).await;
    let headers = [("origin", "https://shop.example"), ("accept-encoding", "gzip")];
    let document = base.client().get("/openapi.json");
    let document =
        headers.iter().fold(document, |request, (name, value)| request.header(*name, *value));
    let document = document.send().await.0;
    let vary = |headers: &poem::http::HeaderMap| {
        let mut all: Vec<String> = headers
            .get_all("vary")
            .iter()
            .map(|value| value.to_str().unwrap().to_lowercase())
            .collect();
        all.sort();
        all.join(",")
    };
    assert_eq!(vary(document.headers()), "accept-encoding,origin");
    let tag = document.header("etag").unwrap().to_owned();
    let unchanged = base.get_with("/openapi.json", &[("if-none-match", &tag)]).await;
    assert_eq!((unchanged.status, &*vary(unchanged.headers())), (304, "accept-encoding"));
}

#[tokio::test]
async fn short_answer_and_events_are_not_compressed() {
    let base = TestApi::sqlite().await;
    base.store(1, "1", Utc::now()).await;
    let record = base.get_with("/products/1", &[("accept-encoding", "gzip")]).await;
    assert_eq!(record.header("content-encoding"), None);
    let live = base.client().get("/-/live").header("accept-encoding", "gzip").send().await;
    live.assert_header_is_not_exist("content-encoding");
}

#[tokio::test]
async fn tag_of_a_compressed_document_is_weak_and_matches() {
    let base = TestApi::sqlite().await;
    for path in ["/docs", "/openapi.json"] {
        let plain = base.get(path).await;
        let tag = plain.header("etag").unwrap();
        let request = base.client().get(path).header("accept-encoding", "gzip").send().await;
        let weak = format!("W/{tag}");
        request.assert_header("etag", &weak);
        request.assert_header("cache-control", "private, no-cache");
        for known in [tag, &weak] {
            let again = base.get_with(path, &[("if-none-match", known)]).await;
            assert_eq!((again.status, &*again.body), (304, ""), "{path}");
        }
        assert_eq!(base.get_with(path, &[("if-none-match", "\"other\"")]).await.status, 200);
    }
}

#[tokio::test]
async fn record_that_was_not_modified_since_is_not_sent_again() {
    for base in TestApi::both().await {
        let changed_at = Utc::now() - TimeDelta::minutes(2);
        let tag = base.store(1, "1", changed_at).await;
        let first = base.get("/products/1").await;
        let modified = first.header("last-modified").unwrap();
        let since = async |time: &str| {
            base.get_with("/products/1", &[("if-modified-since", time)]).await.status
        };
        assert_eq!(since(modified).await, 304);
        assert_eq!(since("Sat, 21 Nov 2020 12:00:00 GMT").await, 200);
        assert_eq!(since("yesterday").await, 200);
        // A tag that is brought along decides alone.
        let other = [("if-modified-since", modified), ("if-none-match", "\"other\"")];
        assert_eq!(base.get_with("/products/1", &other).await.status, 200);
        let same = format!("\"{tag}\"");
        let both =
            [("if-modified-since", "Sat, 21 Nov 2020 12:00:00 GMT"), ("if-none-match", &*same)];
        assert_eq!(base.get_with("/products/1", &both).await.status, 304);

        // Another content could be committed with the same second: a client must not be told that it has this one.
        base.store(2, "1", Utc::now()).await;
        assert_eq!(base.get("/products/2").await.header("last-modified"), None);
    }
}

#[tokio::test]
async fn answer_says_how_long_it_took_and_ends_its_line() {
    let base = TestApi::sqlite().await;
    base.store(1, "1", Utc::now()).await;
    for path in
        ["/products/1", "/products", "/products?id=1", "/objects", "/datasets", "/openapi.json"]
    {
        let answer = base.get(path).await;
        assert!(answer.body.ends_with('\n') && !answer.body.ends_with("\n\n"), "{path}");
        let timing = answer.header("server-timing").unwrap();
        let milliseconds = timing.strip_prefix("total;dur=").unwrap();
        assert!(milliseconds.parse::<f64>().unwrap() >= 0.0, "{timing}");
    }
    // Of a refusal, the time would say why.
    assert_eq!(base.get("/products/7").await.header("server-timing"), None);
}
