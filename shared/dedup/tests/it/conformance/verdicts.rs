//! The verdicts of the port's table.

use jetline_core::Verdict::{self, Unchanged, Write, WriteIfChanged};
use jetline_core::{Key, Mode, Position};

use super::{SUPERSEDED, Writers, claim, judged, object, verdicts, versioned};

/// Claims one record repeatedly: (content, object, line, trusted object) and the expected verdict.
async fn story(writers: &Writers, steps: &[(u8, i64, u32, i64, Verdict)]) {
    let epoch = writers.begin().await;
    for (step, (content, number, line, trusted, verdict)) in steps.iter().enumerate() {
        let claims = [claim(Key::Int(7), *content, *number, *line)];
        let verdicts = judged(writers.one(), &epoch, *trusted, &claims).await;
        assert_eq!(verdicts, [*verdict], "step {step}");
    }
}

pub(crate) async fn mode_is_shared(writers: &Writers) {
    assert_eq!(writers.one().mode(), Mode::Shared);
}

pub(crate) async fn first_line_is_written_if_changed(writers: &Writers) {
    story(writers, &[(b'a', 1, 1, 0, WriteIfChanged)]).await;
    story(writers, &[(b'a', 1, 1, 9, WriteIfChanged)]).await;
}

pub(crate) async fn lower_rank_is_superseded_and_not_noted(writers: &Writers) {
    story(
        writers,
        &[
            (b'a', 2, 5, 0, WriteIfChanged),
            (b'b', 2, 4, 9, SUPERSEDED),
            (b'a', 1, 9, 9, SUPERSEDED),
            (b'b', 2, 4, 9, SUPERSEDED),
            (b'a', 2, 6, 9, Unchanged),
        ],
    )
    .await;
}

pub(crate) async fn superseded_names_the_line_above_down_to_the_last_bit(writers: &Writers) {
    const LAST: i64 = i32::MAX as i64;
    for version in [0, -1, i64::MIN, i64::MAX] {
        let epoch = writers.begin().await;
        let judge = async |claims: Vec<_>| verdicts(writers.one(), &epoch, LAST, &claims).await;
        let claim =
            |id, content, object, line| versioned(Key::Int(id), content, version, object, line);
        // 1 is written, 2 unchanged, which is stored in another form, and 3 is in another bucket.
        judge(vec![claim(1, b'a', LAST, u32::MAX), claim(2, b'a', 7, 1), claim(300, b'a', 8, 0)])
            .await;
        judge(vec![claim(2, b'a', 7, 2)]).await;
        let above = |number, line| Verdict::Superseded(Position::new(object(number), line));
        let claims = vec![
            claim(300, b'b', 7, u32::MAX),
            claim(2, b'b', 7, 1),
            claim(4, b'b', 1, 1),
            claim(1, b'b', LAST, u32::MAX - 1),
        ];
        let expected = [above(8, 0), above(7, 2), WriteIfChanged, above(LAST, u32::MAX)];
        assert_eq!(judge(claims).await, expected, "version {version}");
    }
}

pub(crate) async fn same_content_is_unchanged_only_below_the_trusted_object(writers: &Writers) {
    story(
        writers,
        &[
            (b'a', 3, 1, 0, WriteIfChanged),
            (b'a', 3, 2, 0, Write),
            (b'a', 3, 3, 3, Write),
            (b'a', 3, 4, 4, Unchanged),
        ],
    )
    .await;
}

pub(crate) async fn unchanged_line_raises_the_rank(writers: &Writers) {
    story(
        writers,
        &[
            (b'a', 1, 1, 0, WriteIfChanged),
            (b'a', 2, 8, 2, Unchanged),
            (b'b', 2, 7, 2, SUPERSEDED),
            (b'b', 2, 9, 2, Write),
        ],
    )
    .await;
}

pub(crate) async fn content_that_is_stored_stays_unchanged_until_another_comes(writers: &Writers) {
    story(
        writers,
        &[
            (b'a', 1, 1, 0, WriteIfChanged),
            (b'a', 2, 2, 2, Unchanged),
            // Neither 2 nor 3 is trusted, but their content was stored before.
            (b'a', 2, 2, 2, Unchanged),
            (b'a', 3, 1, 2, Unchanged),
            (b'a', 3, 2, 0, Unchanged),
            (b'b', 3, 3, 2, Write),
            (b'b', 3, 4, 2, Write),
            (b'a', 3, 5, 3, Write),
            (b'a', 3, 6, 3, Write),
        ],
    )
    .await;
}

pub(crate) async fn stored_content_keeps_its_rank_to_the_last_bit(writers: &Writers) {
    const LAST: i64 = i32::MAX as i64;
    for version in [0, -1, i64::MIN, i64::MAX] {
        let epoch = writers.begin().await;
        let claim =
            |content, object, line| [versioned(Key::Int(7), content, version, object, line)];
        for (claims, trusted, verdict) in [
            (claim(b'a', LAST - 1, u32::MAX), 0, WriteIfChanged),
            (claim(b'a', LAST, u32::MAX - 1), LAST, Unchanged),
            (claim(b'b', LAST, u32::MAX - 2), LAST, SUPERSEDED),
            (claim(b'a', LAST - 1, u32::MAX), LAST, SUPERSEDED),
            (claim(b'a', LAST, u32::MAX), 0, Unchanged),
            (claim(b'b', LAST, u32::MAX - 1), LAST, SUPERSEDED),
            (claim(b'b', LAST, u32::MAX), LAST, Write),
            (claim(b'b', LAST, u32::MAX), LAST, Write),
        ] {
            let verdicts = judged(writers.one(), &epoch, trusted, &claims).await;
            assert_eq!(verdicts, [verdict], "version {version}");
        }
    }
}

pub(crate) async fn other_content_is_written_even_when_the_entry_is_trusted(writers: &Writers) {
    story(
        writers,
        &[
            (b'a', 1, 1, 0, WriteIfChanged),
            (b'b', 2, 1, 9, Write),
            (b'a', 3, 1, 9, Write),
            (b'a', 4, 1, 9, Unchanged),
        ],
    )
    .await;
}

pub(crate) async fn redelivered_line_is_not_superseded_by_itself(writers: &Writers) {
    story(
        writers,
        &[
            (b'a', 1, 1, 0, WriteIfChanged),
            (b'a', 1, 1, 0, Write),
            (b'a', 1, 1, 1, Write),
            (b'a', 1, 1, 2, Unchanged),
            (b'b', 1, 1, 2, Write),
        ],
    )
    .await;
}

pub(crate) async fn position_decides_down_to_its_last_bit(writers: &Writers) {
    const LAST: i64 = i32::MAX as i64;
    story(
        writers,
        &[
            (b'a', LAST - 1, u32::MAX, 0, WriteIfChanged),
            (b'b', LAST, 0, 0, Write),
            (b'c', LAST - 1, u32::MAX, 0, SUPERSEDED),
            (b'c', LAST, u32::MAX - 1, 0, Write),
            (b'd', LAST, u32::MAX - 2, 0, SUPERSEDED),
            (b'd', LAST, u32::MAX, 0, Write),
            (b'e', LAST, u32::MAX - 1, 0, SUPERSEDED),
            (b'd', LAST, u32::MAX, LAST, Write),
        ],
    )
    .await;
}

pub(crate) async fn version_decides_before_the_position(writers: &Writers) {
    let epoch = writers.begin().await;
    let claim = |version, object, line| [versioned(Key::Int(7), b'a', version, object, line)];
    for (claims, verdict) in [
        (claim(1 << 53, 5, 5), WriteIfChanged),
        (claim((1 << 53) + 1, 1, 1), Write),
        (claim(1 << 53, 9, 9), SUPERSEDED),
        (claim((1 << 53) + 1, 1, 2), Write),
        (claim((1 << 53) + 1, 1, 1), SUPERSEDED),
        (claim(i64::MAX, 1, 1), Write),
        (claim(i64::MAX - 1, 9, 9), SUPERSEDED),
    ] {
        assert_eq!(judged(writers.one(), &epoch, 0, &claims).await, [verdict]);
    }
    let trusted = judged(writers.one(), &epoch, 2, &claim(i64::MAX, 3, 1)).await;
    assert_eq!(trusted, [Unchanged]);
}

pub(crate) async fn version_zero_is_between_negative_and_positive_versions(writers: &Writers) {
    let epoch = writers.begin().await;
    for (version, verdict) in [
        (i64::MIN, WriteIfChanged),
        (i64::MIN + 1, Write),
        (i64::MIN, SUPERSEDED),
        (-1, Write),
        (0, Write),
        (-1, SUPERSEDED),
        (1, Write),
        (0, SUPERSEDED),
        (i64::MIN, SUPERSEDED),
        (i64::MAX, Write),
        (1, SUPERSEDED),
    ] {
        let claims = [versioned(Key::Int(7), b'a', version, 1, 1)];
        let verdicts = judged(writers.one(), &epoch, 0, &claims).await;
        assert_eq!(verdicts, [verdict], "version {version}");
    }
}
