//! Numbers with units: how people write them in scenarios, and how they are printed.
//!
//! Refuses a number without its unit. Knows nothing of where a text came from; callers name the
//! key.

use std::time::Duration;

use crate::clock::Nanos;

/// The units of durations, the longest suffix first where one ends with another.
const DURATIONS: [(&str, f64); 7] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
];
const SIZES: [(&str, f64); 7] = [
    ("KiB", 1024.0),
    ("MiB", 1024.0 * 1024.0),
    ("GiB", 1024.0 * 1024.0 * 1024.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("B", 1.0),
];

/// A number between 0 and 2^64 without its fraction; what is outside becomes the nearest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from float saturates, and NaN becomes 0"
)]
#[must_use]
pub const fn floor(number: f64) -> u64 {
    number as u64
}

/// What fraction `part` is of `whole`; 0 of nothing.
#[must_use]
pub fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A duration such as `250ms` or `1.5s`, in nanoseconds.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Nanos> {
    parse(text, &DURATIONS).map(floor)
}

/// A size such as `256KiB`, in bytes.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES).map(floor)
}

fn parse(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(split);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    let value = number.parse::<f64>().ok()? * factor;
    (value.is_finite() && value < 9e18).then_some(value)
}

/// A duration as people read it, three digits.
#[must_use]
pub fn show_duration(nanos: Nanos) -> String {
    let value = nanos as f64;
    match nanos {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{} µs", three(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", three(value / 1e6)),
        1_000_000_000..600_000_000_000 => format!("{} s", three(value / 1e9)),
        _ => {
            let whole = Duration::from_nanos(nanos).as_secs();
            format!("{} h {:02} min {:02} s", whole / 3600, whole / 60 % 60, whole % 60)
        }
    }
}

/// A size as people read it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", three(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} MB", three(value / 1e6)),
        _ => format!("{} GB", three(value / 1e9)),
    }
}

/// A count with its thousands apart.
#[must_use]
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Three significant digits, no exponent.
fn three(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_their_unit() {
        assert_eq!(parse_duration("250ms"), Some(250_000_000));
        assert_eq!(parse_duration("1.5s"), Some(1_500_000_000));
        assert_eq!(parse_duration("2h"), Some(7_200_000_000_000));
        assert_eq!(parse_size("256KiB"), Some(262_144));
        for wrong in ["", "5", "s", "5 s", "-1s", "1..2s", "1e3s", "5sec", "999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_are_shown_with_three_digits() {
        assert_eq!(show_duration(1_234_567), "1.23 ms");
        assert_eq!(show_duration(99_960_000), "100 ms");
        assert_eq!(show_duration(812), "812 ns");
        assert_eq!(show_size(262_144), "262 kB");
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_count(999), "999");
    }
}
