//! How stale answers of the API are: rows are updated while wrk reads them, and read through the API.

use std::time::{Duration, Instant};

use anyhow::ensure;
use http_body_util::BodyExt;
use hyper::{
    Request,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use jetline_oracle::ledger::Ledger;
use serde_json::Value;
use tokio::{net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

/// A request that is sent this long after a commit must see it.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Between two requests: often enough to see a change, and few beside those of the load.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Updates one row after the other until `ended`, and reads each until the API gives what was committed. Returns how long
/// after the commit of a row the latest request was sent that was answered with what it said before.
pub(super) async fn oldest_answer(
    database: String,
    api: TcpStream,
    ids: u64,
    ended: CancellationToken,
) -> anyhow::Result<Duration> {
    let database = Ledger::connect(&database).await?;
    let (mut api, connection) = handshake(TokioIo::new(api)).await?;
    tokio::spawn(connection);
    let mut oldest = Duration::ZERO;
    let mut price = 0;
    while !ended.is_cancelled() {
        price += 1;
        let id = rand::random_range(1..=ids);
        let update = format!("UPDATE products SET price = {price} WHERE id = {id}");
        database.run(&update).await?;
        let committed = Instant::now();
        loop {
            let age = committed.elapsed();
            if get_price(&mut api, id).await? == price {
                break;
            }
            ensure!(age <= MAX_AGE, "product {id} was not as committed {age:?} later");
            oldest = oldest.max(age);
            sleep(POLL_INTERVAL).await;
        }
    }
    Ok(oldest)
}

/// What a product costs.
async fn get_price(api: &mut SendRequest<String>, id: u64) -> anyhow::Result<Value> {
    let request = Request::get(format!("/products/{id}")).header("host", "bench");
    api.ready().await?;
    let answer = api.send_request(request.body(String::new())?).await?;
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice::<Value>(&body)?["price"].take())
}
