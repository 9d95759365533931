//! Traces: one per chunk, from the read of its object to its commit.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
};

use async_nats::jetstream::{self, stream::Stream};
use jetline_oracle::{catalogue::lines, fold};
use jetline_testkit::{
    http, nats,
    process::{Signal, free_port},
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use crate::{
    collector::{Collector, Seen},
    deployment::{Deployment, finish, succeeded, terminate},
    wait::{logs, until},
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// A deployment with one object of some chunks.
async fn deployment(name: &str, endpoint: &str) -> (Deployment, Vec<u8>) {
    let mut deployment = Deployment::shared(name).await;
    deployment.set(ENDPOINT, endpoint);
    let content = lines(1, 200, 60);
    deployment.put("a.jsonl", 0, &content);
    (deployment, content)
}

fn below<'a>(parent: &Seen, spans: &'a [Seen]) -> Vec<&'a Seen> {
    spans.iter().filter(|seen| seen.is_below(parent)).collect()
}

/// The only child of a span with a name.
fn only<'a>(name: &str, parent: &Seen, spans: &'a [Seen]) -> &'a Seen {
    let mut found = below(parent, spans);
    found.retain(|seen| seen.span.name.starts_with(name));
    assert_eq!(found.len(), 1, "{name} below {parent:?}: {found:?}");
    found[0]
}

#[tokio::test]
async fn chunk_is_traced_from_its_read_to_its_commit() {
    let collector = Collector::start();
    let (mut deployment, content) = deployment("traces", &collector.url()).await;
    deployment.set("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20eA==");
    deployment.set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test");
    let writer = deployment.start("jetline-writer");
    succeeded(deployment.fetch());
    succeeded(terminate(writer));
    deployment.ledger.assert_holds(&fold(&[&content])).await;

    let spans = collector.spans();
    let mut publications = collector.named("publish ");
    publications.sort_by_key(|seen| seen.number("jetline.chunk.start"));
    assert!(publications.len() > 5, "{publications:?}");
    let mut end = 0;
    for publication in &publications {
        assert_eq!(publication.number("jetline.chunk.start"), end);
        end += publication.number("messaging.message.body.size");
        is_followed(publication, &spans, &deployment.stream);
    }
    assert_eq!(end, content.len() as u64);
    let traces: BTreeSet<String> = publications.iter().map(Seen::trace_id).collect();
    assert_eq!(traces.len(), publications.len(), "a trace per chunk");
    for seen in &spans {
        assert_eq!(seen.authorization, "Basic eA==");
        assert_eq!(seen.resource["deployment.environment"], "test");
        assert!(!seen.has_failed(), "{seen:?}");
    }
}

fn is_followed(publication: &Seen, spans: &[Seen], stream: &str) {
    assert_eq!(publication.span.name, format!("publish {stream}"));
    assert_eq!(publication.service, "jetline-fetcher");
    assert_eq!(publication.kind(), SpanKind::Producer);
    assert!(publication.span.parent_span_id.is_empty());
    assert_eq!(publication.attribute("messaging.system"), "nats");
    assert_eq!(publication.attribute("jetline.dataset"), "products");
    assert_eq!(publication.attribute("jetline.object"), "1");
    let read = only("read", publication, spans);
    assert_eq!(read.attribute("jetline.object.key"), "a.jsonl");
    assert_eq!(read.span.start_time_unix_nano, publication.span.start_time_unix_nano);

    let processing = only("process ", publication, spans);
    assert_eq!(processing.span.name, format!("process {stream}"));
    assert_eq!(processing.service, "jetline-writer");
    assert_eq!(processing.kind(), SpanKind::Consumer);
    assert_eq!(processing.attribute("jetline.delivery.attempt"), "1");
    assert_eq!(processing.attribute("jetline.outcome"), "committed");
    assert_eq!(
        processing.attribute("jetline.chunk.start"),
        publication.attribute("jetline.chunk.start")
    );
    let steps = ["parse", "claim", "commit"].map(|name| only(name, processing, spans));
    assert_eq!(below(processing, spans).len(), steps.len());
    for pair in steps.windows(2) {
        assert!(pair[0].span.end_time_unix_nano <= pair[1].span.start_time_unix_nano);
    }
    let [_, claim, commit] = steps;
    assert!(commit.span.end_time_unix_nano <= processing.span.end_time_unix_nano);
    assert_eq!(claim.attribute("db.system.name"), "redis");
    assert_eq!(commit.attribute("db.system.name"), "postgresql");
    is_linked_to_its_fellows(commit, spans);
}

/// The spans of a transaction in the traces of its chunks are linked.
fn is_linked_to_its_fellows(commit: &Seen, spans: &[Seen]) {
    let fellows = commit.number("jetline.batch.chunks") - 1;
    assert_eq!(commit.span.links.len() as u64, fellows);
    for link in &commit.span.links {
        let fellow = spans.iter().find(|seen| seen.span.span_id == link.span_id).unwrap();
        assert_eq!(fellow.kind(), SpanKind::Consumer);
        assert_ne!(fellow.span.trace_id, commit.span.trace_id);
    }
}

#[tokio::test]
async fn cancelled_delivery_and_the_next_one_are_in_the_same_trace() {
    let collector = Collector::start();
    let (deployment, content) = deployment("redelivered", &collector.url()).await;
    let writer = deployment.start("jetline-writer");
    // The tables and the consumer exist: the next transaction waits.
    let gate = deployment.ledger.close_products().await.unwrap();
    let fetcher = deployment.start("jetline-fetcher");
    deployment.blocked().await;
    writer.signal(Signal::TERM);
    logs(&writer, "shutdown begins").await;
    succeeded(terminate(writer));
    let cancelled = collector.named("process ");
    assert!(!cancelled.is_empty());
    assert!(cancelled.iter().all(Seen::has_failed), "{cancelled:?}");

    gate.rollback().await.unwrap();
    let writer = deployment.start("jetline-writer");
    succeeded(finish(fetcher));
    succeeded(terminate(writer));
    deployment.ledger.assert_holds(&fold(&[&content])).await;
    let publications = collector.named("publish ");
    let processed = collector.named("process ");
    for first in cancelled {
        let publication =
            publications.iter().find(|publication| first.is_below(publication)).unwrap();
        let deliveries = below(publication, &processed);
        let attempts: BTreeSet<String> =
            deliveries.iter().map(|seen| seen.attribute("jetline.delivery.attempt")).collect();
        assert_eq!(attempts, ["1", "2"].map(str::to_owned).into());
        assert_eq!(deliveries.iter().filter(|seen| seen.has_failed()).count(), 1);
    }
}

#[tokio::test]
async fn retry_is_a_span_event_and_its_log_line_has_chunk_and_trace() {
    let collector = Collector::start();
    let (mut deployment, _) = deployment("retries", &collector.url()).await;
    deployment.set("NATS_MAX_BYTES", "8000");
    deployment.set("LOG_FORMAT", "json");
    let fetcher = deployment.start("jetline-fetcher");
    logs(&fetcher, "publish chunk failed").await;
    let log = fetcher.output();
    let _writer = deployment.start("jetline-writer");
    succeeded(finish(fetcher));

    let line = log.lines().find(|line| line.contains("publish chunk failed"));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    let chunk = &line["span"];
    let published = collector.named("publish ");
    let publication = published.iter().find(|seen| seen.trace_id() == chunk["trace_id"]).unwrap();
    assert_eq!(chunk["object"], 1);
    let start = publication.number("jetline.chunk.start");
    assert_eq!(chunk["chunk.start"], start);
    assert!(publication.has_event("retry"), "{publication:?}");
    assert!(!publication.has_failed(), "{publication:?}");
}

#[tokio::test]
async fn request_is_a_child_span_of_its_caller() {
    let collector = Collector::start();
    let (mut deployment, _) = deployment("requests", &collector.url()).await;
    deployment.set("OTEL_SERVICE_NAME", "shop");
    let (api, address) = deployment.serve("jetline-api").await;
    let caller = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
    assert_eq!(http::get(address, "/products/7", &[caller]).await.unwrap().status, 404);
    let log = succeeded(terminate(api));
    assert!(log.contains("trace_id=0af7651916cd43dd8448eb211c80319c"), "{log}");
    let requests = collector.named("GET /:dataset/");
    assert_eq!(requests.len(), 1, "{requests:?}");
    let request = &requests[0];
    assert_eq!(request.service, "shop");
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(request.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(request.span.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(request.attribute("http.response.status_code"), "404");
    assert!(request.attribute("http.route").starts_with("/:dataset/"));
    assert!(!request.has_failed(), "{request:?}");
}

#[tokio::test]
async fn unavailable_or_silent_collector_has_no_other_effect() {
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let absent = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    for (address, message) in [
        (absent, "export traces failed"),
        (silent.local_addr().unwrap(), "export of the last spans failed"),
    ] {
        let (deployment, content) = deployment("unreachable", &format!("http://{address}")).await;
        let writer = deployment.start("jetline-writer");
        succeeded(deployment.fetch());
        deployment.ledger.assert_holds(&fold(&[&content])).await;
        let log = succeeded(terminate(writer));
        assert!(log.contains(message) && !log.contains("panicked"), "{log}");
    }
}

async fn stream_of(deployment: &Deployment) -> Stream {
    let client = async_nats::connect(nats::shared().as_str()).await.unwrap();
    let context = jetstream::new(client);
    until("the stream exists", async || context.get_stream(&deployment.stream).await.ok()).await
}

/// The header of the first chunk that a fetcher publishes.
async fn first_header(deployment: &Deployment) -> Option<String> {
    let fetcher = deployment.start("jetline-fetcher");
    let stream = stream_of(deployment).await;
    let message =
        until("a chunk is published", async || stream.get_raw_message(1).await.ok()).await;
    terminate(fetcher);
    Some(message.headers.get("traceparent")?.to_string())
}

#[tokio::test]
async fn chunks_have_no_trace_while_traces_are_off_and_a_flag_if_not_sampled() {
    let collector = Collector::start();
    let (mut deployment, _) = deployment("sampling", &collector.url()).await;
    deployment.set("OTEL_TRACES_SAMPLER", "always_off");
    let header = first_header(&deployment).await.unwrap();
    assert!(header.ends_with("-00"), "{header}");
    assert_eq!(collector.spans().len(), 0);

    let mut deployment = self::deployment("off", &collector.url()).await.0;
    deployment.unset(ENDPOINT);
    assert_eq!(first_header(&deployment).await, None);
}
