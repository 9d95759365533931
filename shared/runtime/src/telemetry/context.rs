//! Trace context in the format of the W3C `traceparent` header.

use std::fmt;

/// The context of a span: spans of other processes can be its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) sampled: bool,
}

impl TraceContext {
    /// The name of the header, in HTTP and NATS.
    pub const HEADER: &'static str = "traceparent";

    /// Parses the header's value; `None` if it is malformed, as the specification requires.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let version = hexadecimal(parts.next()?, 2)?;
        let trace = hexadecimal(parts.next()?, 32)?;
        let span = hexadecimal(parts.next()?, 16)?;
        let flags = hexadecimal(parts.next()?, 2)?;
        // Later versions may append parts. Version 255 and ids of zeros are invalid.
        let is_known = version != 0xff && (version != 0 || parts.next().is_none());
        let context = Self { trace, span: u64::try_from(span).ok()?, sampled: flags & 1 == 1 };
        (is_known && trace != 0 && span != 0).then_some(context)
    }

    /// The trace id, as logs and tracing tools show it.
    #[must_use]
    pub fn trace_id(self) -> impl fmt::Display + fmt::Debug {
        format!("{:032x}", self.trace)
    }
}

/// The value of the header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span, flags) = (self.trace, self.span, u8::from(self.sampled));
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

/// Parses exactly `digits` lower-case hexadecimal digits.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let allowed = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == digits && text.bytes().all(allowed);
    is_number.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

    #[test]
    fn context_survives_the_round_trip() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.sampled);
        let unsampled = TraceContext { sampled: false, ..context };
        assert_eq!(TraceContext::parse(&unsampled.to_string()), Some(unsampled));
    }

    #[test]
    fn unknown_flags_are_ignored() {
        let header = EXAMPLE.replace("-01", "-fe");
        assert!(!TraceContext::parse(&header).unwrap().sampled);
    }

    #[test]
    fn only_later_versions_may_have_more_parts() {
        let later = EXAMPLE.replacen("00-", "01-", 1) + "-what-comes";
        assert_eq!(TraceContext::parse(&later), TraceContext::parse(EXAMPLE));
        assert_eq!(TraceContext::parse(&format!("{EXAMPLE}-more")), None);
    }

    #[test]
    fn malformed_header_is_ignored() {
        for header in [
            "",
            "-",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
            "00-0AF7651916CD43DD8448EB211C80319C-00f067aa0ba902b7-01",
            "00-+af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
            "00-0af7651916cd43dd8448eb211c80319-00f067aa0ba902b7-01",
            "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-1",
            "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902bß-01",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }
}
