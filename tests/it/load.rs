//! Loading from S3 with several fetchers and writers, and the API's responses.

use std::net::SocketAddr;

use jetline_oracle::{
    Expected,
    catalogue::{Compression, bad_lines, compress, line, lines, lines_with_bad_ones},
    fold,
};

use jetline_testkit::{http, installation::Installation};

use crate::deployment::{Deployment, finish, succeeded};

/// Puts objects of every kind, and returns them decompressed, in order.
async fn put_everything(deployment: &Deployment) -> Vec<Vec<u8>> {
    let unix = lines_with_bad_ones(1, 900, 400, 40);
    let windows = String::from_utf8(lines(2, 600, 400)).unwrap();
    let windows = windows.replace('\n', "\r\n").into_bytes();
    let mut unfinished = lines(3, 500, 400);
    unfinished.pop();
    let marked = ["\u{feff}".as_bytes(), &lines(4, 300, 400)].concat();
    let blank =
        [&b"\n\r\n  \n"[..], &lines(5, 200, 400), b"\n\n", &bad_lines().join(&b'\n')].concat();
    let back_and_forth: String = (0..300).map(|turn| line(7, [0, 1, 0][turn % 3]) + "\n").collect();
    let objects = vec![
        ("a/unix.jsonl", unix, None),
        ("b/windows.jsonl.gz", windows, Some(Compression::Gzip)),
        ("c/unfinished.jsonl.zst", unfinished, Some(Compression::Zstd)),
        ("d/marked.jsonl.bz2", marked, Some(Compression::Bzip2)),
        ("e/blank.jsonl", blank, None),
        ("f/back-and-forth.jsonl", back_and_forth.into_bytes(), None),
        ("g/again.jsonl.gz", lines(6, 400, 400), Some(Compression::Gzip)),
        ("h/empty.jsonl", Vec::new(), None),
    ];
    let mut contents = Vec::new();
    for (second, (key, content, compression)) in (0..).zip(objects) {
        let stored = match compression {
            Some(compression) => compress(compression, &content).await,
            None => content.clone(),
        };
        deployment.put(key, second, &stored);
        contents.push(content);
    }
    contents
}

#[tokio::test]
async fn many_writers_give_the_table_of_one_reader_and_nothing_is_read_twice() {
    let deployment = Deployment::shared("load").await;
    let mut contents = put_everything(&deployment).await;
    let expected = fold(&contents);
    let _writers = deployment.writers(4);
    let fetchers = [deployment.start("jetline-fetcher"), deployment.start("jetline-fetcher")];
    for (complete, output) in fetchers.map(finish) {
        assert!(complete, "{output}");
    }
    deployment.ledger.assert_holds(&expected).await;
    assert!(expected.rejects.len() > 40);

    let (gets, lists) = (deployment.s3.gets(), deployment.s3.lists());
    let output = succeeded(deployment.fetch());
    assert!(output.contains("Nothing new: all 8"), "{output}");
    assert_eq!((deployment.s3.gets(), deployment.s3.lists()), (gets, lists + 1));

    // The same key again is a new version, later than all others.
    let overwritten = lines(9, 300, 500);
    deployment.put("a/unix.jsonl", 100, &overwritten);
    contents.push(overwritten);
    succeeded(deployment.fetch());
    deployment.ledger.assert_holds(&fold(&contents)).await;
    assert_eq!(deployment.s3.gets(), gets + 1);
}

#[tokio::test]
async fn migrated_by_its_program_loaded_and_served() {
    let deployment = Deployment::shared("served").await;
    deployment.ledger.remove_all_tables().await.unwrap();
    succeeded(finish(deployment.start("jetline-migrate")));
    let content = lines_with_bad_ones(1, 300, 100, 10);
    let expected = fold(&[&content]);
    deployment.put("products.jsonl", 0, &content);
    succeeded(deployment.load());
    deployment.ledger.assert_holds(&expected).await;

    let api = Installation::serve(&deployment, "jetline-api", "/readyz");
    let (_api, address) = api.await.unwrap();
    serves_records(address, &expected).await;
    serves_counts_and_rejects(address, &expected).await;
    let document = http::get(address, "/openapi.json", &[]).await.unwrap().json();
    assert!(document["paths"]["/products/{id}"].is_object());
}

#[tokio::test]
async fn writer_continues_with_a_database_that_was_created_again() {
    let deployment = Deployment::shared("repeated").await;
    let contents = [lines(1, 300, 300)];
    deployment.put("a.jsonl", 0, &contents[0]);
    let _writers = deployment.writers(1);
    succeeded(deployment.fetch());
    deployment.ledger.remove_all_tables().await.unwrap();
    succeeded(finish(deployment.start("jetline-migrate")));
    succeeded(deployment.fetch());
    deployment.ledger.assert_holds(&fold(&contents)).await;
}

async fn serves_records(address: SocketAddr, expected: &Expected) {
    for product in expected.rows.values().take(10) {
        let path = format!("/products/{}", product["id"]);
        let answer = http::get(address, &path, &[]).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let record = answer.json();
        assert_eq!(record["id"].to_string(), product["id"]);
        assert_eq!(record["title"], product["title"]);
        assert_eq!(record["price"].to_string(), product["price"]);
        assert_eq!(record["brand"], product["brand"]);
        let tag = [("if-none-match", answer.headers["etag"].to_str().unwrap())];
        let same = http::get(address, &path, &tag).await.unwrap();
        assert_eq!((same.status, same.body.as_str()), (304, ""));
    }
    let missing = http::get(address, "/products/999999", &[]).await.unwrap();
    assert_eq!(missing.status, 404);
    assert_eq!(missing.headers["content-type"], "application/problem+json");
}

async fn serves_counts_and_rejects(address: SocketAddr, expected: &Expected) {
    let objects = http::get(address, "/objects", &[]).await.unwrap().json();
    let object = &objects[0];
    assert_eq!(object["uri"], "s3://shop/products.jsonl", "{objects}");
    assert_eq!(object["state"], "done");
    assert_eq!(object["lines"], expected.total());
    assert_eq!(object["rejected"], expected.rejects.len());
    assert_eq!(object["inserted"], expected.rows.len());
    let rejects = http::get(address, "/rejects?limit=1000", &[]).await.unwrap().json();
    let rejects = rejects.as_array().unwrap();
    assert_eq!(rejects.len(), expected.rejects.len());
    for (shown, reject) in rejects.iter().zip(&expected.rejects) {
        assert_eq!(shown["object"], reject.object);
        assert_eq!(shown["line"], reject.line);
        assert_eq!(shown["offset"], reject.offset);
        assert_eq!(shown["reason"], *reject.reason);
        assert_eq!(shown["raw"], *String::from_utf8_lossy(&reject.raw));
    }
}
