//! `Retry-After`: seconds or an HTTP date, bounded.

use std::time::UNIX_EPOCH;

use http::HeaderValue;
use posthaste_domain::Timestamp;

/// An endpoint cannot stop its deliveries for longer: CONTRACT §3.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// The milliseconds from `wall` that a `Retry-After` value asks for, at most one hour.
///
/// None where it asks for nothing: a zero, a time that has passed, or anything that is neither
/// plain digits nor a date of RFC 9110 (a sign, a fraction, text).
pub(crate) fn parse(value: &HeaderValue, wall: Timestamp) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    let millis = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number beyond 64 bits is a long time like any other.
        text.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000)
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let millis = at.duration_since(UNIX_EPOCH).ok()?.as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX).saturating_sub(wall.as_millis())
    };
    (millis > 0).then_some(millis.min(RETRY_AFTER_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37 UTC, the date of RFC 9110's examples.
    const EXAMPLE_S: u64 = 784_111_777;

    fn parsed(text: &str, wall_s: u64) -> Option<u64> {
        parse(&HeaderValue::from_str(text).unwrap(), Timestamp::from_millis(wall_s * 1000))
    }

    #[test]
    fn seconds_are_capped_at_an_hour() {
        assert_eq!(parsed("1", 0), Some(1000));
        assert_eq!(parsed(" 120 ", 0), Some(120_000));
        assert_eq!(parsed("3600", 0), Some(3_600_000));
        for long in ["3601", "9999999999", "99999999999999999999999"] {
            assert_eq!(parsed(long, 0), Some(3_600_000), "{long}");
        }
    }

    #[test]
    fn the_three_forms_of_dates_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parsed(text, EXAMPLE_S - 90), Some(90_000), "{text}");
            assert_eq!(parsed(text, EXAMPLE_S - 7200), Some(3_600_000), "{text}");
            assert_eq!(parsed(text, EXAMPLE_S), None, "{text}");
            assert_eq!(parsed(text, EXAMPLE_S + 1), None, "{text}");
        }
    }

    #[test]
    fn everything_else_asks_for_nothing() {
        for text in
            ["", "0", "-1", "+5", "1.5", "1e3", "soon", "5, 10", "0x10", "Sun, 06 Nov 1994", "٣"]
        {
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            assert_eq!(parse(&value, Timestamp::ZERO), None, "{text:?}");
        }
    }
}
