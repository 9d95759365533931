//! The syntax of a source: `[DATASET=]s3://bucket/prefix/*.jsonl`, or a local path.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use url::Url;

use crate::{Pattern, pattern};

/// Objects to read, and optionally their dataset.
///
/// In S3, a text without wildcards is a prefix, or a key if there is one of exactly that name. Locally it is a file, or a
/// directory that is read recursively. If something of exactly the given name exists, it is meant, even if the name
/// contains wildcards. Of the names below a directory or a prefix, only those with the extension of a format are taken.
#[derive(Clone, Debug)]
pub struct Location {
    /// The dataset of the lines.
    pub dataset: Option<String>,
    pub(crate) place: Place,
    text: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Place {
    S3 {
        bucket: String,
        keys: Pattern,
    },
    /// `files` is relative to `path`, which is a single file or a directory.
    Local {
        /// The path that is meant instead, if it exists.
        literal: Option<PathBuf>,
        path: PathBuf,
        files: Pattern,
    },
}

impl Location {
    /// The name of its file or directory without extensions; `None` if wildcards select names.
    #[must_use]
    pub fn stem(&self) -> Option<&str> {
        let path = match &self.place {
            Place::S3 { keys, .. } if !keys.is_glob() => Path::new(keys.prefix()),
            Place::Local { path, files, .. } if !files.is_glob() => path,
            Place::S3 { .. } | Place::Local { .. } => return None,
        };
        Some(jetline_formats::stem(path.file_name()?.to_str()?))
    }

    /// Whether it is a local path without wildcards, at which there is nothing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match &self.place {
            Place::S3 { .. } => false,
            Place::Local { path, files, .. } => !files.is_glob() && !path.exists(),
        }
    }
}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (dataset, place) = dataset(text)?;
        let place = if let Some(rest) = place.strip_prefix("s3://") {
            s3(rest)?
        } else if place.starts_with("file:") {
            local(&file_url(place)?)?
        } else if let Some((scheme, _)) = place.split_once("://") {
            return Err(InvalidLocation(format!("{scheme}:// is not known")));
        } else {
            local(place)?
        };
        Ok(Self { dataset, place, text: text.to_owned() })
    }
}

/// `products=…`: a word before the first `=`. A path whose first segment contains `=` is written `./a=b`.
fn dataset(text: &str) -> Result<(Option<String>, &str), InvalidLocation> {
    let Some((word, place)) = text.split_once('=') else {
        return Ok((None, text));
    };
    if word.is_empty() {
        return Err(InvalidLocation("the dataset before = is empty".into()));
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if word.chars().all(is_word) { Ok((Some(word.to_owned()), place)) } else { Ok((None, text)) }
}

fn s3(rest: &str) -> Result<Place, InvalidLocation> {
    let (bucket, keys) = rest.split_once('/').unwrap_or((rest, ""));
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_allowed) {
        // The text is not quoted: it may be a URL with credentials.
        return Err(InvalidLocation(
            "s3:// must be followed by a bucket's name, which has 3 to 63 letters, digits, dots and hyphens; \
             credentials and the endpoint are set by AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
                .into(),
        ));
    }
    Ok(Place::S3 { bucket: bucket.to_owned(), keys: glob(keys)? })
}

fn file_url(text: &str) -> Result<String, InvalidLocation> {
    let wrong = |why: &str| InvalidLocation(format!("{why}; a file URL is written file:///path"));
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("? and # are written %3F and %23 in a file URL"));
    }
    let path = url.to_file_path().map_err(|()| wrong("the file URL names another host"))?;
    path.into_os_string().into_string().map_err(|_| wrong("the path is not UTF-8"))
}

fn local(text: &str) -> Result<Place, InvalidLocation> {
    if text.is_empty() {
        return Err(InvalidLocation("the path is empty".into()));
    }
    let path = PathBuf::from(text);
    let pattern = match glob(text) {
        Ok(pattern) => pattern,
        // The name of an existing file need not be a valid pattern.
        Err(_) if path.symlink_metadata().is_ok() => Pattern::exact(text),
        Err(error) => return Err(error),
    };
    let literal = (pattern.is_glob() || pattern.prefix() != text).then(|| path.clone());
    let Some(base) = pattern::base(text).filter(|_| pattern.is_glob()) else {
        return Ok(Place::Local { literal, path: pattern.prefix().into(), files: Pattern::all() });
    };
    let directory = Pattern::parse(&text[..base]).map(|base| base.prefix().to_owned());
    let directory = directory.unwrap_or_default();
    let here = directory.is_empty();
    Ok(Place::Local {
        literal,
        path: if here { "." } else { &directory }.into(),
        files: glob(&text[base..])?,
    })
}

fn glob(text: &str) -> Result<Pattern, InvalidLocation> {
    Pattern::parse(text).map_err(|error| InvalidLocation(error.to_string()))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text is not a location.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; a source is written s3://bucket/prefix/*.jsonl, path/to/directory or products=path/to/file.jsonl"
)]
pub struct InvalidLocation(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Location {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Location>().unwrap_err().to_string()
    }

    #[test]
    fn s3_location_has_a_bucket_and_a_pattern() {
        let location = parse("products=s3://shop/in/2024/*.jsonl.gz");
        assert_eq!(location.dataset.as_deref(), Some("products"));
        let Place::S3 { bucket, keys } = location.place else {
            panic!("not S3");
        };
        assert_eq!(bucket, "shop");
        assert_eq!(keys.prefix(), "in/2024/");
    }

    #[test]
    fn local_glob_starts_at_the_last_directory_without_wildcards() {
        let Place::Local { path, files, .. } = parse("a/b/c-*/x.jsonl").place else {
            panic!("not local");
        };
        assert_eq!((path, files.as_str()), ("a/b/".into(), "c-*/x.jsonl"));
        let Place::Local { path, files, .. } = parse("*.jsonl").place else {
            panic!("not local");
        };
        assert_eq!((path, files.as_str()), (".".into(), "*.jsonl"));
        let Place::Local { path, files, .. } = parse(r"a\[1]/*.jsonl").place else {
            panic!("not local");
        };
        assert_eq!((path, files.as_str()), ("a[1]/".into(), "*.jsonl"));
    }

    #[test]
    fn stem_is_the_name_without_extensions() {
        for (text, stem) in [
            ("orders.jsonl", Some("orders")),
            ("x=./in/orders.json.gz", Some("orders")),
            ("file:///in/my%20orders.jsonl", Some("my orders")),
            ("s3://shop/in/orders.ndjson.zst", Some("orders")),
            ("in/orders/", Some("orders")),
            ("s3://shop/orders/", Some("orders")),
            ("in/*.jsonl", None),
            ("in/orders-?/", None),
            ("s3://shop/orders*", None),
            ("s3://shop", None),
            (".", None),
        ] {
            assert_eq!(parse(text).stem(), stem, "{text}");
        }
    }

    #[test]
    fn file_url_is_a_path() {
        let Place::Local { path, .. } = parse("file:///tmp/my%20files/a.jsonl").place else {
            panic!("not local");
        };
        assert_eq!(path, PathBuf::from("/tmp/my files/a.jsonl"));
    }

    #[test]
    fn equals_sign_after_a_slash_belongs_to_the_path() {
        for text in ["s3://shop/date=2024/", "./date=2024", "in/date=2024"] {
            assert_eq!(parse(text).dataset, None, "{text}");
        }
    }

    #[test]
    fn locations_are_shown_as_they_were_written() {
        for text in ["s3://shop/", "products=s3://shop/in/*.gz", "a/b", "products=a/b/*.jsonl"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn malformed_location_says_what_is_wrong_and_shows_an_example() {
        for (text, reason) in [
            ("", "path is empty"),
            ("products=", "path is empty"),
            ("=a/b", "dataset before = is empty"),
            ("s3://", "bucket's name"),
            ("s3://a/b", "3 to 63"),
            ("s3://shop*/b", "bucket's name"),
            ("gs://shop/b", "gs:// is not known"),
            ("s3://shop/[a", "unclosed character class"),
            ("file://host/a", "another host"),
            ("file:///a?b", "%3F"),
        ] {
            let error = refusal(text);
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.contains("s3://bucket/prefix/*.jsonl"), "{error}");
        }
    }

    #[test]
    fn credentials_in_a_location_are_not_repeated() {
        assert!(!refusal("s3://me:hunter2@shop/x").contains("hunter2"));
        assert!(!refusal("https://me:hunter2@shop/x").contains("hunter2"));
    }
}
