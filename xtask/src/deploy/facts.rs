//! What the repository says elsewhere, and the manifests must agree with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, bail, ensure};

use crate::deploy::objects::Objects;

/// Settings, names and Secrets as they are elsewhere in the repository.
pub(super) struct Facts {
    /// By variable.
    settings: BTreeMap<String, Setting>,
    /// The durable consumer that writers share.
    pub(super) consumer: String,
    /// The keys of the Secrets that users make, by the Secrets' names.
    pub(super) secrets: BTreeMap<String, BTreeSet<String>>,
}

struct Setting {
    /// Programs, by the letters of `docs/configuration.md`.
    programs: String,
    default: Option<String>,
}

impl Facts {
    pub(super) fn read(root: &Path, secrets: &Objects) -> anyhow::Result<Self> {
        let text = |path: &str| {
            fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
        };
        Ok(Self {
            settings: settings(&text("docs/configuration.md")?)?,
            consumer: consumer(&text("shared/queue/src/jetstream/consumer.rs")?)?,
            secrets: secrets.secrets(),
        })
    }

    /// Whether the program knows the variable. AWS's own are its library's, which the fetcher reads S3 with.
    pub(super) fn knows(&self, program: &str, variable: &str) -> bool {
        let documented = |setting: &Setting| {
            letter(program).is_some_and(|letter| setting.programs.contains(letter))
        };
        self.settings.get(variable).is_some_and(documented)
            || program == "jetline-fetcher" && variable.starts_with("AWS_")
    }

    /// The value that the documentation gives a variable that is not set.
    pub(super) fn default(&self, variable: &str) -> Option<&str> {
        self.settings.get(variable)?.default.as_deref()
    }
}

/// The letter that stands for a program in the documentation's tables.
pub(super) fn letter(program: &str) -> Option<char> {
    let letters = [
        ("jetline", 'j'),
        ("jetline-fetcher", 'f'),
        ("jetline-writer", 'w'),
        ("jetline-api", 'a'),
        ("jetline-migrate", 'm'),
    ];
    letters
        .iter()
        .find_map(|(name, letter)| (*name == program).then_some(*letter))
}

/// The rows of the tables: variable, programs, default, meaning.
fn settings(documentation: &str) -> anyhow::Result<BTreeMap<String, Setting>> {
    let mut settings = BTreeMap::new();
    for line in documentation.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", variable, programs, default, ..] = cells[..] else {
            continue;
        };
        let Some(variable) = quoted(variable) else {
            continue;
        };
        ensure!(
            !programs.is_empty() && programs.split(' ').all(|letter| "jfwam".contains(letter)),
            "docs/configuration.md does not say which programs know {variable}"
        );
        let setting = Setting {
            programs: programs.to_owned(),
            default: quoted(default).map(str::to_owned),
        };
        settings.insert(variable.to_owned(), setting);
    }
    ensure!(!settings.is_empty(), "no settings in docs/configuration.md");
    Ok(settings)
}

/// The text between the first two backquotes, when it begins with one.
fn quoted(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?
        .split_once('`')
        .map(|(text, _)| text)
}

fn consumer(source: &str) -> anyhow::Result<String> {
    let Some((_, rest)) = source.split_once("const NAME: &str = \"") else {
        bail!("no name of the consumer in shared/queue/src/jetstream/consumer.rs");
    };
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &str = "\
        | variable | programs | default | meaning |\n\
        | --- | --- | --- | --- |\n\
        | `SOURCE` | j f | `./samples` in `jetline`, none in the fetcher | where |\n\
        | `NATS_STREAM` | j f w | `JETLINE` | the stream |\n\
        | `NATS_URL` | j f w | not set | the queue |\n\
        | `REDIS_URL` | j w | not set | claims |\n\
        | `DEDUP` | j w | `redis` | whether |\n\
        | `DATABASE_URL` | j f w a m | none | the database |\n\
        | `DATABASE_CONNECTIONS` | j f w a m | `8`; `4` in the api | at most |\n\
        | `LISTEN` | j a | `127.0.0.1:8080` | the address |\n\
        | `OBSERVE_LISTEN` | f w | not set | the address |\n\
        | `SHUTDOWN_DEADLINE` | j f w a | `25s` | how long |\n";

    /// What the tests of the rules go by.
    pub(in crate::deploy) fn facts() -> Facts {
        let secret = json!({"kind": "Secret", "metadata": {"name": "jetline"},
            "stringData": {"DATABASE_URL": "", "NATS_URL": "", "REDIS_URL": ""}});
        Facts {
            settings: settings(TABLE).unwrap(),
            consumer: "writers".to_owned(),
            secrets: Objects::new(vec![secret]).secrets(),
        }
    }

    #[test]
    fn documentation_says_who_knows_a_setting_and_its_default() {
        let facts = facts();
        assert!(facts.knows("jetline-fetcher", "SOURCE"));
        assert!(!facts.knows("jetline-writer", "SOURCE"));
        assert!(!facts.knows("jetline-writer", "variable"));
        assert!(facts.knows("jetline-fetcher", "AWS_REGION"));
        assert!(!facts.knows("jetline-writer", "AWS_REGION"));
        assert_eq!(facts.default("NATS_STREAM"), Some("JETLINE"));
        assert_eq!(facts.default("NATS_URL"), None);
    }

    #[test]
    fn documentation_and_source_are_as_they_are_read_here() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let facts = Facts::read(root, &Objects::new(Vec::new())).unwrap();
        assert_eq!(facts.consumer, "writers");
        assert_eq!(facts.default("NATS_STREAM"), Some("JETLINE"));
        assert!(facts.knows("jetline-migrate", "DATABASE_URL"));
    }
}
