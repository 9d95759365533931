//! Values of settings: sources with wildcards, sizes, durations and URLs.

use jetline_runtime::settings::{self, SecretUrl};
use jetline_source::{Location, Pattern};
use url::Url;

/// Each is parsed or refused with a reason; parsed values are exact; and no secret is shown.
///
/// The first line of the input is the value, the second a key.
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (text, key) = text.split_once('\n').unwrap_or((text, "in/2024/a.jsonl"));
    location(text);
    pattern(text, key);
    size(text);
    duration(text);
    secret(text);
}

fn location(text: &str) {
    match text.parse::<Location>() {
        Ok(location) => {
            assert_eq!(location.to_string(), text);
            if let Some(dataset) = location.dataset {
                assert!(text.starts_with(&format!("{dataset}=")), "{dataset}");
            }
        }
        Err(error) => assert!(error.to_string().contains("s3://bucket/"), "{error}"),
    }
}

fn pattern(text: &str, key: &str) {
    let Ok(pattern) = Pattern::parse(text) else {
        return;
    };
    assert_eq!(pattern.as_str(), text);
    let prefix = pattern.prefix();
    // A backslash is not part of the prefix, the character after it is.
    if text.contains('\\') {
        assert!(prefix.len() <= text.len());
    } else {
        assert!(text.starts_with(prefix));
        assert_eq!(pattern.is_glob(), prefix.len() < text.len());
    }
    let matches = pattern.matches(key);
    assert!(!matches || (key.starts_with(prefix) && !key.ends_with('/')));
    // Without wildcards every longer name matches, unless it is hidden.
    if !pattern.is_glob() && !prefix.ends_with('/') {
        assert!(prefix.is_empty() || pattern.matches(prefix), "{text}");
        assert!(pattern.matches(&format!("{prefix}x")), "{text}");
    }
}

fn size(text: &str) {
    let Ok(bytes) = settings::bytes(text) else {
        return;
    };
    assert_eq!(settings::bytes(&bytes.to_string()), Ok(bytes));
    let digits = text.trim_start_matches('+').trim_start_matches('0');
    let digits = digits.chars().take_while(char::is_ascii_digit).count();
    assert!(bytes.to_string().len() >= digits, "{text} is {bytes}");
}

fn duration(text: &str) {
    if let Ok(duration) = settings::duration(text) {
        let written = humantime::format_duration(duration).to_string();
        assert_eq!(settings::duration(&written), Ok(duration), "{written}");
    }
}

fn secret(text: &str) {
    let shown = SecretUrl::from(text.to_owned());
    assert_eq!(shown.expose(), text);
    let shown = shown.to_string();
    let Ok(url) = Url::parse(&shown) else {
        assert_eq!(shown, "(not a URL)");
        return;
    };
    assert!(url.username().is_empty() && url.password().is_none());
    assert!(url.query().is_none() && url.fragment().is_none(), "{shown}");
}
