//! Concurrent requests share statements, and each gets its own record.

use chrono::Utc;
use futures::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::fixtures::{TestApi, metric_of_products};

#[tokio::test]
async fn every_request_gets_its_own_record() {
    for base in TestApi::both().await {
        let ids = || (0..300).map(|n| n % 60);
        for id in (0..60).filter(|id| id % 3 != 0) {
            base.store(id, "1", Utc::now()).await;
        }
        let asks = ids().map(|id| {
            let base = base.clone();
            async move { base.get(&format!("/products/{id}")).await }
        });
        for (id, answer) in ids().zip(join_all(asks).await) {
            if id % 3 == 0 {
                let detail = answer.problem(404);
                assert!(detail.ends_with(&format!(" {id}")), "{detail}");
            } else {
                assert_eq!((answer.status, &answer.json()["id"]), (200, &id.into()));
            }
        }
    }
}

#[tokio::test]
async fn waiting_requests_share_one_statement() {
    let recorder = PrometheusBuilder::new().build_recorder();
    // The runtime of this test has one thread, which is this one.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let base = TestApi::sqlite().await;
    let asks = (0..256).map(|id| {
        let base = base.clone();
        async move { base.get(&format!("/products/{id}")).await }
    });
    join_all(asks).await;
    assert_eq!(metric_of_products(&recorder, "jetline_api_batch_ids_sum"), 256);
    let statements = metric_of_products(&recorder, "jetline_api_batch_ids_count");
    assert!(statements < 16, "{statements}");
}

#[tokio::test]
async fn failure_reaches_all_waiting_requests_and_ends_with_its_cause() {
    let base = TestApi::sqlite().await;
    base.store(1, "1", Utc::now()).await;
    base.execute("ALTER TABLE products RENAME TO hidden", []).await;
    let asks = (0..50).map(|_| base.get("/products/1"));
    for answer in join_all(asks).await {
        answer.problem(500);
    }
    base.execute("ALTER TABLE hidden RENAME TO products", []).await;
    assert_eq!(base.get("/products/1").await.status, 200);
}
