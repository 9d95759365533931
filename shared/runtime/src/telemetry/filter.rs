//! Which lines are logged.

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// What libraries may log at most: beyond that they write the addresses that they were given, with passwords.
const LIMITS: [(&str, Level); 3] = [
    ("aws_runtime", Level::DEBUG),
    ("sea_orm", Level::DEBUG),
    ("opentelemetry-otlp", Level::INFO),
];

/// Whether something may be logged, whatever is asked for.
pub(super) fn is_allowed(metadata: &Metadata<'_>) -> bool {
    LIMITS
        .iter()
        .all(|(target, most)| !metadata.target().starts_with(target) || metadata.level() <= most)
}

/// The filter as it was written, if it is one. A word that is no level would be taken for the name of a module, of which
/// alone everything is logged then.
pub(super) fn checked(text: &str) -> Result<String, String> {
    of(text).map(|_| text.to_owned())
}

/// The filter that a text stands for.
pub(super) fn of(text: &str) -> Result<EnvFilter, String> {
    // A bracket names spans and their fields, in a syntax of its own, which goes on behind commas.
    let plain = text
        .split(',')
        .take_while(|directive| !directive.contains('['));
    for directive in plain.filter(|directive| !directive.is_empty()) {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level);
        if level.is_empty() || level.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{level:?} is not a level: off, error, warn, info, debug or trace, or levels by module as in \
                 info,jetline_writer=debug"
            ));
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_that_is_no_level_is_refused_with_those_that_are() {
        for text in [
            "warning",
            "verbose",
            "info,warning",
            "jetline_writer",
            "info,jetline_writer=loud",
            "jetline_writer=",
            "a=b=c",
            "fatal,info",
        ] {
            let error = checked(text).unwrap_err();
            assert!(
                error.contains("off, error, warn, info, debug or trace"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn levels_are_taken_for_all_or_by_module() {
        for text in [
            "warn",
            "WARN",
            "off",
            "info,jetline_writer=debug",
            "info,",
            "jetline_writer[commit{chunks=1}]=debug",
            "trace",
        ] {
            assert_eq!(checked(text).as_deref(), Ok(text));
        }
    }
}
