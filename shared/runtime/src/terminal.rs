//! The terminal that standard error and standard output may be.

use std::{
    env,
    fmt::{self, Display, Formatter, Write as _},
    io::{self, IsTerminal, Write},
    sync::LazyLock,
};

use indicatif::MultiProgress;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that is drawn on the terminal of standard error: lines of the log must not be written into it.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// The progress bars of the process.
#[must_use]
pub fn bars() -> &'static MultiProgress {
    &BARS
}

/// Whether it is a terminal on which lines can be drawn again (`TERM` is not `dumb`).
#[must_use]
pub fn is_terminal(output: &impl IsTerminal) -> bool {
    output.is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether it is a terminal that is to have colours (`NO_COLOR` is not set).
#[must_use]
pub fn has_colors(output: &impl IsTerminal) -> bool {
    is_terminal(output) && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text for standard output, in red if it has colours.
#[must_use]
pub fn red(text: &str) -> String {
    if has_colors(&io::stdout()) { format!("\u{1b}[31m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// The width of standard output in columns, if it is a terminal.
#[must_use]
pub fn width() -> Option<usize> {
    let size = console::Term::stdout().size_checked()?;
    is_terminal(&io::stdout()).then_some(usize::from(size.1))
}

/// The text on one line, with every character escaped that could move the cursor, set colours, or reorder the text: for keys, and
/// messages that quote lines.
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| {
            if is_hostile(char) {
                write!(f, "{}", char.escape_default())
            } else {
                f.write_char(char)
            }
        })
    }
}

/// Control characters, line and paragraph separators, and characters that change the text direction.
fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Standard error for the log, whose lines are written above the bars.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogOutput;

impl<'a> MakeWriter<'a> for LogOutput {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if is_terminal(&io::stderr()) {
            bars().suspend(|| io::stderr().write(line))
        } else {
            io::stderr().write(line)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_characters_that_change_others_are_escaped() {
        for (text, expected) in [
            (
                "a\u{1b}[31mRED\u{9b}0m\nfake.jsonl  done\u{202e}",
                r"a\u{1b}[31mRED\u{9b}0m\nfake.jsonl  done\u{202e}",
            ),
            ("\u{61c}\u{200f}\u{2028}\u{2067}", r"\u{61c}\u{200f}\u{2028}\u{2067}"),
            ("Größe 1 ✓'.jsonl", "Größe 1 ✓'.jsonl"),
            ("", ""),
        ] {
            assert_eq!(Escaped(text).to_string(), expected);
        }
    }
}
