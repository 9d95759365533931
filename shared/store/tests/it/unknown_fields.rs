//! Fields that no column takes.

use jetline_core::Mode;
use jetline_datasets::{JsonType, UnknownField};
use jetline_store::ChunkRows;

use crate::fixtures::{TestDatabase, begin, both, chunk, complete, epoch_id, id, read};

fn field(records: u64, object: i64, line: u32, of: &[JsonType]) -> UnknownField {
    let first = jetline_core::Position::new(id(object), line);
    UnknownField { records, first, types: of.iter().copied().collect() }
}

/// A chunk of one line whose record has these fields, the first line after `lines_before`.
fn with(object: i64, lines_before: u32, fields: &[(&str, JsonType)]) -> ChunkRows {
    let mut chunk = chunk(object, lines_before, &[(1, "a")]);
    for (path, of) in fields {
        chunk.unknown.add(path, field(1, object, lines_before + 1, &[*of]));
    }
    chunk
}

async fn found(base: &TestDatabase) -> Vec<(String, UnknownField)> {
    let fields = base.catalog.unknown_fields("products").await.unwrap();
    fields.iter().map(|(path, field)| (path.to_owned(), field.clone())).collect()
}

#[tokio::test]
async fn fields_of_settled_objects_are_added_to_those_of_the_dataset_once() {
    use JsonType::{Null, Number, String};
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        read(&base.ledger, &complete(2)).await;
        read(&base.ledger, &complete(1)).await;
        base.counts(&epoch, with(2, 0, &[("/a", Null), ("/\u{e9}~1", Number)])).await;
        base.counts(&epoch, with(1, 1, &[("/a", String)])).await;
        base.settle().await;
        assert_eq!(found(&base).await, []);
        // What is committed again in another epoch counts once.
        base.ledger.objects.end_epoch(epoch_id(2)).await.unwrap();
        let epoch = begin(&base.ledger, Mode::Shared, Some(epoch_id(2)), 3).await;
        base.counts(&epoch, with(1, 1, &[("/a", String)])).await;
        base.counts(&epoch, with(1, 0, &[])).await;
        base.counts(&epoch, with(2, 0, &[("/a", Null), ("/\u{e9}~1", Number)])).await;
        base.settle().await;
        let expected = [
            ("/a".to_owned(), field(2, 1, 2, &[Null, String])),
            ("/\u{e9}~1".to_owned(), field(1, 2, 1, &[Number])),
        ];
        assert_eq!(found(&base).await, expected);
        base.settle().await;
        assert_eq!(found(&base).await, expected);
        let counts = base.ledger.objects.count_unknown_fields().await.unwrap();
        assert_eq!(counts, [("products".to_owned(), 2)]);
        assert!(base.catalog.unknown_fields("others").await.unwrap().is_empty());
    }
}
