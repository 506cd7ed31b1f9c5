//! Figures for people: thousands apart, times with the unit that suits them.

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `1,000 events`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time with three digits and its unit: `850 µs`, `1.25 ms`, `12.5 s`.
pub(super) fn time(micros: u64) -> String {
    let (whole, unit): (u32, _) = match micros {
        0..1_000 => return format!("{micros} µs"),
        1_000..1_000_000 => (1_000, "ms"),
        _ => (1_000_000, "s"),
    };
    let decimals = match micros / u64::from(whole) {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    // Six digits of a microsecond count: exact in a double.
    let value = micros as f64 / f64::from(whole);
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(0, "event"), "0 events");
    }

    #[test]
    fn a_time_has_three_digits_and_its_unit() {
        let cases = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (12_345, "12.3 ms"),
            (999_400, "999 ms"),
            (1_250_000, "1.25 s"),
            (75_000_000, "75.0 s"),
        ];
        for (micros, text) in cases {
            assert_eq!(time(micros), text);
        }
    }
}
