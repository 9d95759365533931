//! The OpenAPI document.

use std::{collections::HashSet, env, fs, path::Path};

use crate::fixtures::TestApi;

#[tokio::test]
async fn document_is_the_reviewed_one() {
    let base = TestApi::sqlite().await;
    let answer = base.get("/openapi.json").await;
    let document = serde_json::to_string_pretty(&answer.json()).unwrap() + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(&file, &document).unwrap();
    }
    let reviewed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        reviewed == document,
        "services/api/openapi.json is not up to date: run `UPDATE_OPENAPI=1 cargo test -p jetline-api \
         --test it document`, and review the change with `git diff`"
    );
}

#[tokio::test]
async fn every_documented_path_responds_with_a_documented_status() {
    let base = TestApi::sqlite().await;
    let document = base.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 5, "{paths:?}");
    for (path, operations) in paths {
        let path = ["{id}", "{object}", "{line}", "{name}"]
            .iter()
            .fold(path.clone(), |path, name| path.replace(name, "1"));
        let answer = base.get(&path).await;
        let documented = &operations["get"]["responses"];
        let status = answer.status.to_string();
        assert!(documented.get(&status).is_some(), "{path}: {status}");
    }
}

#[tokio::test]
async fn operations_have_unique_ids() {
    let base = TestApi::sqlite().await;
    let document = base.get("/openapi.json").await.json();
    let operations = document["paths"].as_object().unwrap().values();
    let ids: Vec<_> = operations
        .map(|operations| operations["get"]["operationId"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.contains(&"get_products".to_owned()), "{ids:?}");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
}
