//! The month until whose end a card is valid.

use chrono::{DateTime, Months, NaiveDate, NaiveTime, Utc};

/// The first moment after a month, in UTC; none if the text is not `MM/YY` or `MM/YYYY`. `YY` is `20YY`.
pub(crate) fn end(text: &str) -> Option<DateTime<Utc>> {
    let (month, year) = text.split_once('/')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if month.len() != 2 || !is_number(month) || !is_number(year) {
        return None;
    }
    let year = match (year.len(), year.parse().ok()?) {
        (2, year) => 2000 + year,
        (4, year) => year,
        _ => return None,
    };
    let first = NaiveDate::from_ymd_opt(year, month.parse().ok()?, 1)?;
    let next = first.checked_add_months(Months::new(1))?;
    Some(next.and_time(NaiveTime::MIN).and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_is_valid_until_the_end_of_its_month() {
        for (text, first) in [
            ("01/27", "2027-02-01T00:00:00+00:00"),
            ("12/26", "2027-01-01T00:00:00+00:00"),
            ("02/2028", "2028-03-01T00:00:00+00:00"),
            ("12/9999", "+10000-01-01T00:00:00+00:00"),
        ] {
            assert_eq!(end(text).map(|end| end.to_rfc3339()).as_deref(), Some(first), "{text}");
        }
        for text in [
            "00/27", "13/27", "1/27", "001/27", "12/027", "12/7", "12/20277", "12-27", "1227", "",
            "/", "12/", "+1/27", "12/+7", "12/2７", "12/27/1", " 12/27",
        ] {
            assert_eq!(end(text), None, "{text}");
        }
    }
}
