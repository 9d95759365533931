//! The log filter.

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The maximum log level of libraries that log addresses with passwords above it.
const LIMITS: [(&str, Level); 3] =
    [("aws_runtime", Level::DEBUG), ("sea_orm", Level::DEBUG), ("opentelemetry-otlp", Level::INFO)];

/// Whether an event may be logged with any filter.
pub(super) fn is_allowed(metadata: &Metadata<'_>) -> bool {
    LIMITS
        .iter()
        .all(|(target, most)| !metadata.target().starts_with(target) || metadata.level() <= most)
}

/// The text, if it is a valid filter. A misspelled level would otherwise be taken as the name of the only module to log.
pub(super) fn checked(text: &str) -> Result<String, String> {
    parse(text).map(|_| text.to_owned())
}

/// Parses a filter.
pub(super) fn parse(text: &str) -> Result<EnvFilter, String> {
    // A bracket begins a span filter, whose syntax may contain commas.
    let plain = text.split(',').take_while(|directive| !directive.contains('['));
    for directive in plain.filter(|directive| !directive.is_empty()) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
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
    fn invalid_level_is_refused_with_the_valid_ones() {
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
            assert!(error.contains("off, error, warn, info, debug or trace"), "{text}: {error}");
        }
    }

    #[test]
    fn levels_apply_to_all_or_to_a_module() {
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
