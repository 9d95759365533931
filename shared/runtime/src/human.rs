//! Numbers as people read them, in the terminal and on the page.

use std::time::Duration;

/// A number with separators of thousands, as `92,000`.
#[must_use]
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in powers of 1,000 with two significant digits at least, as `3.1 GB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn bytes(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64 / 1_000.0;
    if bytes.abs() < 1_000 {
        return format!("{bytes} B");
    }
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // What would be rounded to 1000.0 has the next unit.
        if value.abs() < 999.95 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A duration in whole seconds, as `0:57` and `1:02:03`.
#[must_use]
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A text of at most `chars` characters: of a longer one, the beginning and the end.
#[must_use]
pub fn shortened_in_the_middle(text: &str, chars: usize) -> String {
    let count = text.chars().count();
    if count <= chars {
        return text.to_owned();
    }
    let kept = chars.saturating_sub(1);
    let begin: String = text.chars().take(kept / 2).collect();
    let end: String = text.chars().skip(count - (kept - kept / 2)).collect();
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (92_000, "92,000"),
            (-1_234_567, "-1,234,567"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn sizes_have_units() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (3_100_000_000, "3.1 GB"),
            (i64::MAX, "9223.4 PB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn durations_are_clocks() {
        for (seconds, text) in
            [(0, "0:00"), (57, "0:57"), (61, "1:01"), (3_599, "59:59"), (3_723, "1:02:03")]
        {
            assert_eq!(clock(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shortened_in_the_middle("products-000.jsonl", 18), "products-000.jsonl");
        assert_eq!(shortened_in_the_middle("products-000.jsonl", 11), "produ…jsonl");
        assert_eq!(shortened_in_the_middle("äöüäöü", 4), "ä…öü");
        assert_eq!(shortened_in_the_middle("abc", 0), "…");
    }
}
