//! What holds for every format: the same records are found by every read, from every chunk's start on, and by who parses
//! the chunks.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{tests::chunks, *};
use crate::{Delimiter, Record, records, text::without_mark};

/// A format, and content in it.
fn contents() -> impl Strategy<Value = (Format, Vec<u8>)> {
    let piece = select(vec![
        "1", "ab", "é", " ", "\n", "\r\n", "\"", "\"\"", ",", ";", "\\", "{", "}", "[", "]", ":",
        "\"a\n", "\u{feff}",
    ]);
    let any = vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes());
    let text = vec(select(vec!["a", "\\\"", "}", "]", ",", "\\n", " "]), 0..12);
    let text = text.prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    let value = prop_oneof![
        text.clone(),
        Just("17".to_owned()),
        Just("[1,{\"a\":[]}]".to_owned()),
        (text, 0..9_u8).prop_map(|(text, number)| format!("{{\"a\": {text},\n \"b\": {number}}}")),
    ];
    let space = select(vec!["", " ", "\n", "\r\n \t"]);
    let values = vec((value, space), 0..12);
    let array = values.clone().prop_map(|values| {
        let values: Vec<String> =
            values.into_iter().map(|(value, space)| format!("{space}{value}{space}")).collect();
        format!("[{}]\n", values.join(",")).into_bytes()
    });
    let values = values.prop_map(|values| {
        let values = values.into_iter().map(|(value, space)| format!("{value}\n{space}"));
        values.collect::<String>().into_bytes()
    });
    prop_oneof![
        (select(Format::ALL.to_vec()), any),
        array.prop_map(|content| (Format::JsonArray, content)),
        values.prop_map(|content| (Format::JsonValues, content)),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..60_usize, 1..8_u32, 1..60_usize).prop_map(|(chunk_bytes, chunk_lines, max_line_bytes)| {
        Limits { chunk_bytes, chunk_lines, max_line_bytes }
    })
}

/// The chunks of the content, and what damages it.
fn split(
    splitter: Splitter,
    content: &[u8],
    lengths: &[usize],
) -> (Vec<RawChunk>, Option<SplitError>) {
    chunks(splitter, content, lengths)
}

fn records_of(format: Format, chunks: &[RawChunk]) -> Vec<Record<'_>> {
    let chunks = chunks.iter().filter(|chunk| !chunk.oversized);
    let records =
        chunks.flat_map(|chunk| records(format, &chunk.body, chunk.start, chunk.first_line));
    records.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_read_finds_the_same_chunks(
        (format, content) in contents(),
        limits in limits(),
        lengths in vec(1..20_usize, 1..4),
    ) {
        let whole = || Splitter::new(format, limits, 0, 1);
        let (chunks, damage) = split(whole(), &content, &lengths);
        prop_assert_eq!(&split(whole(), &content, &[1]), &(chunks.clone(), damage));
        let (mut at, mut line) = (0, 1);
        for chunk in &chunks {
            prop_assert_eq!((chunk.start, chunk.first_line), (at, line));
            prop_assert!(chunk.end > chunk.start && chunk.lines > 0);
            let bytes = &content[usize::try_from(chunk.start).unwrap()..usize::try_from(chunk.end).unwrap()];
            prop_assert!(bytes.starts_with(&chunk.body));
            prop_assert!(chunk.oversized || chunk.body.len() == bytes.len());
            (at, line) = (chunk.end, line + chunk.lines);
        }
        if damage.is_none() {
            prop_assert_eq!(at, content.len() as u64);
        }
        for (number, chunk) in chunks.iter().enumerate() {
            let start = usize::try_from(chunk.start).unwrap();
            let resumed = || Splitter::new(format, limits, chunk.start, chunk.first_line.into());
            if format != Format::JsonArray {
                let (again, same) = split(resumed(), &content[start..], &lengths);
                prop_assert_eq!((&again[..], same), (&chunks[number..], damage));
            }
            let mut part = resumed();
            part.push(Bytes::copy_from_slice(&content[start..usize::try_from(chunk.end).unwrap()]));
            part.finish_part();
            let again = part.next_chunk().unwrap();
            prop_assert_eq!(again.as_ref(), Some(chunk));
            prop_assert_eq!(part.next_chunk().unwrap(), None);
        }
    }

    #[test]
    fn who_parses_a_chunk_finds_the_lines_that_were_split(
        (format, content) in contents(),
        limits in limits(),
    ) {
        let (chunks, _) = split(Splitter::new(format, limits, 0, 1), &content, &[16]);
        for chunk in chunks.iter().filter(|chunk| !chunk.oversized) {
            let records: Vec<_> =
                records(format, &chunk.body, chunk.start, chunk.first_line).collect();
            let lines: u32 = records.iter().map(|record| record.lines).sum();
            prop_assert_eq!(lines, chunk.lines, "{:?}", chunk);
            let mut next = chunk.first_line;
            for record in &records {
                prop_assert_eq!(record.line, next);
                next += record.lines;
                let at = usize::try_from(record.offset).unwrap();
                let content = without_mark(&content[at..], record.offset);
                prop_assert!(record.text.is_empty() || content.starts_with(record.text));
            }
        }
    }

    #[test]
    fn records_do_not_depend_on_the_size_of_chunks(
        (format, content) in contents(),
        chunk_bytes in 1..60_usize,
        max_line_bytes in 8..60_usize,
    ) {
        let limits = Limits { chunk_bytes, chunk_lines: u32::MAX, max_line_bytes };
        let large = Limits { chunk_bytes: usize::MAX, ..limits };
        let (chunks, damage) = split(Splitter::new(format, limits, 0, 1), &content, &[16]);
        let (whole, same) = split(Splitter::new(format, large, 0, 1), &content, &[16]);
        prop_assert_eq!(damage, same);
        prop_assert_eq!(records_of(format, &chunks), records_of(format, &whole));
    }

    #[test]
    fn values_of_json_are_found_as_they_are((values, space) in (vec(0..4_usize, 0..9), select(vec!["", " ", "\n\t"]))) {
        let all = [r#"{"a":"}]\\\"","b":[{}]}"#, "\"[,\"", "[[1],[]]", "-1.5e3"];
        let values: Vec<&str> = values.into_iter().map(|value| all[value]).collect();
        let array = format!("\u{feff}[{space}{}{space}]\n", values.join(&format!("{space},{space}")));
        let lines = format!("{}\n{space}", values.join(&format!("{space}\n")));
        for (format, content) in [(Format::JsonArray, array), (Format::JsonValues, lines)] {
            let limits = Limits { chunk_bytes: 10, chunk_lines: 3, max_line_bytes: 1_000 };
            let (chunks, damage) = split(Splitter::new(format, limits, 0, 1), content.as_bytes(), &[3]);
            prop_assert_eq!(damage, None);
            let records = records_of(format, &chunks);
            let found: Vec<&str> = records
                .iter()
                .filter(|record| !record.text.is_empty())
                .map(|record| std::str::from_utf8(record.text).unwrap())
                .collect();
            prop_assert_eq!(found, &values[..]);
        }
    }
}

/// Splits at once, with limits that nothing reaches.
fn whole(format: Format, content: &str) -> (Vec<String>, Option<String>) {
    let limits = Limits { chunk_bytes: 1_000, chunk_lines: u32::MAX, max_line_bytes: 40 };
    let (chunks, damage) = split(Splitter::new(format, limits, 0, 1), content.as_bytes(), &[7]);
    let records = records_of(format, &chunks);
    let texts = records.into_iter().filter(|record| !record.text.is_empty());
    let text = |record: Record<'_>| {
        let text = std::str::from_utf8(record.text).unwrap();
        format!("{}: {}", record.line, text.replace('\r', "\\r").replace('\n', "\\n"))
    };
    (texts.map(text).collect(), damage.map(|error| error.to_string()))
}

#[test]
fn damaged_json_ends_where_it_is_damaged_and_keeps_the_values_before() {
    let array = |content| whole(Format::JsonArray, content);
    let one = vec!["1: {}".to_owned()];
    for (content, damage) in [
        ("[{}", "damaged at byte 3: the content ends before the end of the array: it is truncated"),
        (
            "[{},",
            "damaged at byte 4: the content ends before the end of the array: it is truncated",
        ),
        ("[{},{\"a\":", "damaged at byte 9: the content ends inside a value: it is truncated"),
        ("[{},\n]", "damaged at byte 5: a comma is followed by the end of the array"),
        ("[{} {}]", "damaged at byte 4: a comma or the end of the array is missing"),
        ("[{}]\n[{}]", "damaged at byte 5: the end of the array is followed by other text"),
        ("[{},:]", "damaged at byte 4: no JSON value begins here"),
    ] {
        assert_eq!(array(content), (one.clone(), Some(damage.to_owned())), "{content}");
    }
    assert_eq!(array("[]\n"), (vec![], None));
    let values = |content| whole(Format::JsonValues, content);
    let truncated = "damaged at byte 4: the content ends inside a value: it is truncated";
    assert_eq!(values("{}\n{"), (one.clone(), Some(truncated.to_owned())));
    let comma = "damaged at byte 2: no JSON value begins here";
    assert_eq!(values("{},{}"), (one, Some(comma.to_owned())));
}

#[test]
fn value_that_is_too_long_costs_only_itself() {
    let long = format!("[{{}},\n[\"{}]\\\"\n\"],{{\"a\":1}}]", "x".repeat(50));
    assert_eq!(
        whole(Format::JsonArray, &long),
        (vec!["1: {}".into(), "3: {\"a\":1}".into()], None)
    );
}

#[test]
fn records_of_csv_span_lines_and_an_open_quote_costs_one_line() {
    let csv = |content| whole(Format::Csv(Delimiter::Comma), content).0;
    assert_eq!(csv("a,b\n1,\"x\ny\"\n2,z"), ["2: 1,\"x\\ny\"", "4: 2,z"]);
    assert_eq!(
        csv("\u{feff}a,b\r\n1,\"x\r\n,\"\"\"\r\n\n2,z\r\n"),
        ["2: 1,\"x\\r\\n,\"\"\"", "5: 2,z"]
    );
    // A mark before a quoted header, and quotes out of place.
    assert_eq!(csv("\u{feff}\"a\nx\",b\n1,y\n"), ["3: 1,y"]);
    assert_eq!(csv("a,b\n1,\"x\n2,\"y\"\n3,z\n"), ["2: 1,\"x", "3: 2,\"y\"", "4: 3,z"]);
    assert_eq!(csv("a,b\n1\",\"x\n2\",\"y\n3,z\n"), ["2: 1\",\"x", "3: 2\",\"y", "4: 3,z"]);
    // Not closed within 40 bytes, nor before the end.
    let open = format!("a,b\n1,\"x\n2,y\n{}\n3,\"\"\n4,\"z\n5,w\n", "9,9\n".repeat(10));
    let found = csv(&open);
    assert_eq!(found[..3], ["2: 1,\"x", "3: 2,y", "4: 9,9"]);
    assert_eq!(found[found.len() - 3..], ["15: 3,\"\"", "16: 4,\"z", "17: 5,w"]);
    assert_eq!(csv("a,b\n1,\"x\ny\""), ["2: 1,\"x\\ny\""]);
    assert_eq!(csv("a,b\n"), [""; 0]);
}
