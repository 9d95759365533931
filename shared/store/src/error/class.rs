//! Error codes of PostgreSQL and SQLite, classified by how they are handled.

/// How an error of a statement is handled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Class {
    Unavailable,
    Data,
    Refused,
}

/// Classes of SQLSTATE: connection exception, transaction rollback, insufficient resources, operator intervention, system
/// error.
pub(crate) const UNAVAILABLE_CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];

/// Lock not available, read-only transaction (a standby that is not promoted yet), idle-in-transaction or transaction
/// timeout, unknown prepared statement, data corrupted, index corrupted.
pub(crate) const UNAVAILABLE_CODES: [&str; 7] =
    ["55P03", "25006", "25P03", "25P04", "26000", "XX001", "XX002"];

/// Classifies an error by SQLSTATE.
pub(super) fn of_sqlstate(code: &str) -> Class {
    match &code[..2] {
        // data exception, integrity constraint violation, program limit exceeded
        "22" | "23" | "54" => Class::Data,
        class if UNAVAILABLE_CLASSES.contains(&class) => Class::Unavailable,
        _ if UNAVAILABLE_CODES.contains(&code) => Class::Unavailable,
        _ => Class::Refused,
    }
}

/// Whether an SQLSTATE may be caused by the table, or by its privileges.
pub(crate) fn is_caused_by_table(code: &str) -> bool {
    code.len() == 5 && code.starts_with("42")
}

/// An error as rejected lines show it.
pub(crate) fn with_sqlstate(code: &str, message: &str) -> String {
    format!("SQLSTATE {code}: {message}")
}

/// Classifies an error by primary result code.
pub(super) fn of_result_code(code: &str) -> Class {
    match primary(code) {
        // busy, locked, no memory, interrupt, I/O error, corrupt, full, protocol, schema
        Some(5 | 6 | 7 | 9 | 10 | 11 | 13 | 15 | 17) => Class::Unavailable,
        // too big, constraint, mismatch
        Some(18..=20) => Class::Data,
        _ => Class::Refused,
    }
}

/// A primary result code of SQLite.
pub(crate) fn primary(code: &str) -> Option<u32> {
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classified_by_how_they_are_handled() {
        for (code, expected) in [
            ("40P01", Class::Unavailable),
            ("57P01", Class::Unavailable),
            ("53100", Class::Unavailable),
            ("XX001", Class::Unavailable),
            ("XX000", Class::Refused),
            ("23514", Class::Data),
            ("22003", Class::Data),
            ("28P01", Class::Refused),
            ("42P01", Class::Refused),
        ] {
            assert_eq!(of_sqlstate(code), expected, "{code}");
        }
        for (code, expected) in [
            ("5", Class::Unavailable),
            ("517", Class::Unavailable),
            ("267", Class::Unavailable),
            ("275", Class::Data),
            ("1", Class::Refused),
        ] {
            assert_eq!(of_result_code(code), expected, "{code}");
        }
    }
}
