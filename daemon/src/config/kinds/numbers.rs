//! Numbers with bounds, and with a unit where they measure something.
//!
//! A duration or size without its unit is refused: "30" has been read as seconds by one program
//! and as milliseconds by the next for too long.

use std::fmt::Display;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use toml::Value;

use super::{Kind, Written};

pub(in crate::config) const SECOND: u64 = 1000;
pub(in crate::config) const MINUTE: u64 = 60 * SECOND;
pub(in crate::config) const HOUR: u64 = 60 * MINUTE;
pub(in crate::config) const DAY: u64 = 24 * HOUR;

pub(in crate::config) const KIB: u64 = 1024;
pub(in crate::config) const MIB: u64 = 1024 * KIB;
pub(in crate::config) const GIB: u64 = 1024 * MIB;

/// What a quantity is measured in.
struct Units {
    /// "duration", "size".
    noun: &'static str,
    /// Smallest first; the first one is what values are kept in.
    known: &'static [(&'static str, u64)],
    /// How nothing is written.
    zero: &'static str,
    /// What people also write, in lower case, and the unit it is not the name of here.
    taken_for: &'static [(&'static str, &'static str)],
}

const TIME: Units = Units {
    noun: "duration",
    known: &[("ms", 1), ("s", SECOND), ("m", MINUTE), ("h", HOUR), ("d", DAY)],
    zero: "0s",
    taken_for: &[
        ("msec", "ms"),
        ("millis", "ms"),
        ("milliseconds", "ms"),
        ("s", "s"),
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("h", "h"),
        ("hr", "h"),
        ("hour", "h"),
        ("hours", "h"),
        ("d", "d"),
        ("day", "d"),
        ("days", "d"),
    ],
};

const BYTES: Units = Units {
    noun: "size",
    known: &[("B", 1), ("KiB", KIB), ("MiB", MIB), ("GiB", GIB)],
    zero: "0B",
    taken_for: &[
        ("b", "B"),
        ("byte", "B"),
        ("bytes", "B"),
        ("k", "KiB"),
        ("kb", "KiB"),
        ("kib", "KiB"),
        ("m", "MiB"),
        ("mb", "MiB"),
        ("mib", "MiB"),
        ("g", "GiB"),
        ("gb", "GiB"),
        ("gib", "GiB"),
    ],
};

impl Units {
    fn names(&self) -> String {
        let names: Vec<_> = self.known.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    fn parse(&self, text: &str) -> Result<u64, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(format!("is no {}", self.noun));
        }
        if unit.is_empty() {
            let (small, large) = (self.known[0].0, self.known[1].0);
            return Err(format!("has no unit: write \"{text}{large}\" or \"{text}{small}\""));
        }
        if unit.starts_with(['.', ',']) {
            return Err("is no whole number: take a smaller unit".to_owned());
        }
        let Some((_, factor)) = self.known.iter().find(|(name, _)| *name == unit) else {
            let plain = unit.trim().to_lowercase();
            let meant = self.taken_for.iter().find(|(other, _)| *other == plain);
            let hint =
                meant.map_or_else(String::new, |(_, unit)| format!(": write \"{number}{unit}\""));
            return Err(format!("has the unit {unit:?}, which is none of {}{hint}", self.names()));
        };
        let value = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        value.ok_or_else(|| "is too large".to_owned())
    }

    /// In the largest unit that needs no fraction (a single day in hours, as people say it).
    fn show(&self, value: u64) -> String {
        let fits = |(name, factor): &&(&str, u64)| {
            value.is_multiple_of(*factor) && (*name != "d" || value > *factor)
        };
        match self.known.iter().rev().find(fits) {
            Some((name, factor)) if value > 0 => format!("{}{name}", value / factor),
            _ => self.zero.to_owned(),
        }
    }

    fn form(&self, range: &RangeInclusive<u64>) -> String {
        let (min, max) = (self.show(*range.start()), self.show(*range.end()));
        format!("a {} from {min} to {max} ({})", self.noun, self.names())
    }
}

/// A duration, in milliseconds.
pub(in crate::config) struct Time(RangeInclusive<u64>);

impl Time {
    /// With bounds in milliseconds.
    pub(in crate::config) const fn new(range: RangeInclusive<u64>) -> Self {
        Self(range)
    }
}

impl Kind for Time {
    type Value = u64;

    fn form(&self) -> String {
        TIME.form(&self.0)
    }

    fn parse(&self, text: &str) -> Result<u64, String> {
        within(TIME.parse(text)?, &self.0)
    }

    fn show(&self, value: &u64) -> Value {
        Value::from(TIME.show(*value))
    }
}

/// A size, in bytes.
pub(in crate::config) struct Size<N> {
    range: RangeInclusive<u64>,
    number: PhantomData<N>,
}

impl<N> Size<N> {
    /// With bounds in bytes.
    pub(in crate::config) const fn new(range: RangeInclusive<u64>) -> Self {
        Self { range, number: PhantomData }
    }
}

impl<N: TryFrom<u64> + TryInto<u64> + Copy> Kind for Size<N> {
    type Value = N;

    fn form(&self) -> String {
        BYTES.form(&self.range)
    }

    fn parse(&self, text: &str) -> Result<N, String> {
        narrow(within(BYTES.parse(text)?, &self.range)?)
    }

    fn show(&self, value: &N) -> Value {
        Value::from((*value).try_into().map_or_else(|_| String::new(), |bytes| BYTES.show(bytes)))
    }
}

/// A count.
pub(in crate::config) struct Count<N> {
    range: RangeInclusive<u64>,
    number: PhantomData<N>,
}

impl<N> Count<N> {
    /// With these bounds.
    pub(in crate::config) const fn new(range: RangeInclusive<u64>) -> Self {
        Self { range, number: PhantomData }
    }
}

impl<N: TryFrom<u64> + Display + Copy> Kind for Count<N> {
    type Value = N;
    const WRITTEN: Written = Written::Bare;

    fn form(&self) -> String {
        format!("a number from {} to {}", self.range.start(), self.range.end())
    }

    fn parse(&self, text: &str) -> Result<N, String> {
        narrow(within(whole(text)?, &self.range)?)
    }

    fn show(&self, value: &N) -> Value {
        // Every count is below 2^63.
        Value::from(value.to_string().parse::<i64>().unwrap_or(i64::MAX))
    }
}

/// A count, or 0 for what the setting says.
pub(in crate::config) struct CountOrZero {
    pub(in crate::config) max: u64,
    /// After "0 for": what it means.
    pub(in crate::config) zero: &'static str,
}

impl Kind for CountOrZero {
    type Value = Option<NonZeroUsize>;
    const WRITTEN: Written = Written::Bare;

    fn form(&self) -> String {
        format!("a number from 1 to {}, or 0 for {}", self.max, self.zero)
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        narrow(within(whole(text)?, &(0..=self.max))?).map(NonZeroUsize::new)
    }

    fn show(&self, value: &Self::Value) -> Value {
        Count::new(0..=self.max).show(&value.map_or(0, NonZeroUsize::get))
    }
}

/// A fraction from 0 to 1.
pub(in crate::config) struct Fraction;

impl Kind for Fraction {
    type Value = f64;
    const WRITTEN: Written = Written::Bare;

    fn form(&self) -> String {
        "a fraction from 0 to 1".to_owned()
    }

    fn parse(&self, text: &str) -> Result<f64, String> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let value = text.parse::<f64>().ok().filter(|_| plain);
        let value = value.ok_or_else(|| "is no fraction".to_owned())?;
        if value <= 1.0 { Ok(value) } else { Err("is too large".to_owned()) }
    }

    fn show(&self, value: &f64) -> Value {
        Value::from(*value)
    }
}

fn whole(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is no whole number".to_owned());
    }
    text.parse().map_err(|_| "is too large".to_owned())
}

fn within(value: u64, range: &RangeInclusive<u64>) -> Result<u64, String> {
    match value {
        _ if value < *range.start() => Err("is too small".to_owned()),
        _ if value > *range.end() => Err("is too large".to_owned()),
        _ => Ok(value),
    }
}

/// The bounds keep every value in its type; a 32-bit machine may still have less room.
fn narrow<N: TryFrom<u64>>(value: u64) -> Result<N, String> {
    N::try_from(value).map_err(|_| "is too large for this machine".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_needs_a_unit_it_knows() {
        let kind = Time::new(1..=DAY);
        assert_eq!(kind.parse("250ms"), Ok(250));
        assert_eq!(kind.parse("90m"), Ok(90 * MINUTE));
        for (bad, fault) in [
            ("30", "has no unit: write \"30s\" or \"30ms\""),
            ("30sec", "has the unit \"sec\", which is none of ms, s, m, h, d: write \"30s\""),
            ("30 s", "has the unit \" s\", which is none of ms, s, m, h, d: write \"30s\""),
            ("64MiB", "has the unit \"MiB\", which is none of ms, s, m, h, d"),
            ("1.5h", "is no whole number: take a smaller unit"),
            ("-5s", "is no duration"),
            ("", "is no duration"),
            ("soon", "is no duration"),
            ("0s", "is too small"),
            ("25h", "is too large"),
            ("99999999999999999999s", "is too large"),
            ("18446744073709551615d", "is too large"),
        ] {
            assert_eq!(kind.parse(bad).unwrap_err(), fault, "{bad:?}");
        }
    }

    #[test]
    fn a_size_needs_a_unit_it_knows() {
        let kind = Size::<usize>::new(1..=GIB);
        assert_eq!(kind.parse("256KiB"), Ok(256 * 1024));
        assert_eq!(kind.parse("512B"), Ok(512));
        for (bad, fault) in [
            ("1024", "has no unit: write \"1024KiB\" or \"1024B\""),
            ("64MB", "has the unit \"MB\", which is none of B, KiB, MiB, GiB: write \"64MiB\""),
            ("64m", "has the unit \"m\", which is none of B, KiB, MiB, GiB: write \"64MiB\""),
            ("5s", "has the unit \"s\", which is none of B, KiB, MiB, GiB"),
        ] {
            assert_eq!(kind.parse(bad).unwrap_err(), fault, "{bad:?}");
        }
    }

    #[test]
    fn counts_and_fractions_keep_their_bounds() {
        let count = Count::<u16>::new(1..=65_535);
        assert_eq!(count.parse("65535"), Ok(65_535));
        for bad in ["0", "65536", "-1", "+5", "1.0", "1e3", "", "five", "99999999999999999999"] {
            assert!(count.parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Fraction.parse("0.1"), Ok(0.1));
        assert_eq!(Fraction.parse("1"), Ok(1.0));
        for bad in ["1.01", "-0.1", "nan", "inf", "", "10%", "1e-1", "."] {
            assert!(Fraction.parse(bad).is_err(), "{bad:?}");
        }
        let threads = CountOrZero { max: 256, zero: "one a processor" };
        assert_eq!(threads.parse("0"), Ok(None));
        assert_eq!(threads.parse("4"), Ok(NonZeroUsize::new(4)));
        assert!(threads.parse("257").is_err());
    }

    #[test]
    fn values_are_shown_in_the_largest_whole_unit() {
        for text in ["0s", "1ms", "1500ms", "90s", "1m", "24h", "30d", "36h"] {
            let kind = Time::new(0..=u64::MAX);
            assert_eq!(kind.show(&kind.parse(text).unwrap()), Value::from(text));
        }
        for text in ["0B", "1B", "1KiB", "1025B", "3GiB"] {
            let kind = Size::<u64>::new(0..=u64::MAX);
            assert_eq!(kind.show(&kind.parse(text).unwrap()), Value::from(text));
        }
    }

    proptest! {
        /// For all values: what is shown is read back as the same.
        #[test]
        fn a_shown_quantity_reads_back(value: u64) {
            let time = Time::new(0..=u64::MAX);
            prop_assert_eq!(time.parse(time.show(&value).as_str().unwrap()), Ok(value));
            let size = Size::<u64>::new(0..=u64::MAX);
            prop_assert_eq!(size.parse(size.show(&value).as_str().unwrap()), Ok(value));
        }

        /// For all texts: an answer or a fault, never a panic.
        #[test]
        fn any_text_is_answered(text in "\\PC{0,12}") {
            drop(Time::new(0..=u64::MAX).parse(&text));
            drop(Size::<u64>::new(0..=u64::MAX).parse(&text));
            drop(Count::<u32>::new(0..=100).parse(&text));
            drop(Fraction.parse(&text));
        }
    }
}
