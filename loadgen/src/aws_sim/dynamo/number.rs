//! DynamoDB's number: a decimal of up to 38 digits, exact.
//!
//! Invariant: `coefficient` has no trailing zero (zero is `0e0`), so that equal numbers are equal.

use std::cmp::Ordering;
use std::fmt;

const DIGITS_MAX: u32 = 38;
const EXPONENT_MAX: i32 = 125;
const EXPONENT_MIN: i32 = -130;

/// `coefficient × 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    coefficient: i128,
    exponent: i32,
}

/// Why a number is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotANumber {
    #[error("The parameter cannot be converted to a numeric value: {0}")]
    Text(String),
    #[error("Attempting to store more than 38 significant digits in a Number")]
    Digits,
    #[error(
        "Number overflow. Attempting to store a number with magnitude larger than supported range"
    )]
    Overflow,
    #[error(
        "Number underflow. Attempting to store a number with magnitude smaller than supported range"
    )]
    Underflow,
}

impl Number {
    pub(crate) fn parse(text: &str) -> Result<Self, NotANumber> {
        let refuse = || NotANumber::Text(text.to_owned());
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                (mantissa, exponent.parse::<i32>().map_err(|_| refuse())?)
            }
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.as_bytes() {
            [b'-', ..] => (true, &mantissa[1..]),
            [b'+', ..] => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all = || whole.bytes().chain(part.bytes());
        if all().next().is_none() || !all().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse());
        }
        if exponent.unsigned_abs() > 10_000 || part.len() > 10_000 {
            return Err(refuse());
        }
        // Trailing zeros do not count as digits, so they wait until another digit follows.
        let (mut coefficient, mut zeros) = (0_i128, 0_u32);
        let mut count = 0;
        for byte in all() {
            if byte == b'0' {
                zeros += 1;
                continue;
            }
            count += if coefficient == 0 { 1 } else { zeros + 1 };
            if count > DIGITS_MAX {
                return Err(NotANumber::Digits);
            }
            let shift = if coefficient == 0 { 0 } else { zeros };
            coefficient = coefficient * 10_i128.pow(shift) * 10 + i128::from(byte - b'0');
            zeros = 0;
        }
        let zeros = i32::try_from(zeros).map_err(|_| refuse())?;
        let places = i32::try_from(part.len()).map_err(|_| refuse())?;
        let exponent = exponent + zeros - places;
        Self::new(if negative { -coefficient } else { coefficient }, exponent)
    }

    fn new(mut coefficient: i128, mut exponent: i32) -> Result<Self, NotANumber> {
        if coefficient == 0 {
            return Ok(Self { coefficient: 0, exponent: 0 });
        }
        while coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        let number = Self { coefficient, exponent };
        match number.magnitude() {
            _ if number.digits() > DIGITS_MAX => Err(NotANumber::Digits),
            magnitude if magnitude > EXPONENT_MAX => Err(NotANumber::Overflow),
            magnitude if magnitude < EXPONENT_MIN => Err(NotANumber::Underflow),
            _ => Ok(number),
        }
    }

    fn digits(self) -> u32 {
        self.coefficient.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1)
    }

    /// The exponent of the first digit.
    fn magnitude(self) -> i32 {
        // At most 39 digits.
        self.exponent + self.digits().cast_signed() - 1
    }

    pub(crate) fn add(self, other: Self) -> Result<Self, NotANumber> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: Self| {
            let shift = number.exponent.abs_diff(exponent);
            10_i128.checked_pow(shift).and_then(|factor| number.coefficient.checked_mul(factor))
        };
        // Zero has no digits to keep, wherever it stands.
        let sum = match (self.coefficient, other.coefficient) {
            (0, _) => return Ok(other),
            (_, 0) => return Ok(self),
            _ => aligned(self).zip(aligned(other)).and_then(|(one, two)| one.checked_add(two)),
        };
        Self::new(sum.ok_or(NotANumber::Digits)?, exponent)
    }

    pub(crate) fn subtract(self, other: Self) -> Result<Self, NotANumber> {
        self.add(Self { coefficient: -other.coefficient, ..other })
    }

    /// As DynamoDB reckons it.
    pub(super) fn bytes(self) -> usize {
        let negative = usize::from(self.coefficient < 0);
        (self.digits() as usize).div_ceil(2) + 1 + negative
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        // 20 digits fit.
        Self::new(value as i128, 0).unwrap_or(Self { coefficient: 0, exponent: 0 })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.coefficient.signum().cmp(&other.coefficient.signum());
        if signs.is_ne() || self.coefficient == 0 {
            return signs;
        }
        let magnitudes = self.magnitude().cmp(&other.magnitude());
        let absolute = magnitudes.then_with(|| {
            // Of one magnitude, so both fit into 38 digits at the lower exponent.
            let exponent = self.exponent.min(other.exponent);
            let aligned = |number: &Self| {
                let factor = 10_u128.pow(number.exponent.abs_diff(exponent));
                number.coefficient.unsigned_abs() * factor
            };
            aligned(self).cmp(&aligned(other))
        });
        if self.coefficient < 0 { absolute.reverse() } else { absolute }
    }
}

/// Without an exponent, as DynamoDB answers.
impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exponent == 0 {
            return write!(out, "{}", self.coefficient);
        }
        let sign = if self.coefficient < 0 { "-" } else { "" };
        let digits = self.coefficient.unsigned_abs().to_string();
        let shift = self.exponent.unsigned_abs() as usize;
        if self.exponent > 0 {
            return write!(out, "{sign}{digits}{:0<shift$}", "");
        }
        match digits.len().checked_sub(shift) {
            Some(whole) if whole > 0 => {
                write!(out, "{sign}{}.{}", &digits[..whole], &digits[whole..])
            }
            _ => write!(out, "{sign}0.{digits:0>shift$}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn numbers_are_written_plainly() {
        for (text, written) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("007", "7"),
            ("1.50", "1.5"),
            ("-12.034", "-12.034"),
            ("1e3", "1000"),
            ("1.5E-3", "0.0015"),
            ("+25", "25"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ] {
            assert_eq!(number(text).to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".", "1.2.3", "1e", "abc", "1_000", " 1", "0x1", "NaN", "1e99999999"]
        {
            assert!(matches!(Number::parse(text), Err(NotANumber::Text(_))), "{text}");
        }
        let long = "1".repeat(39);
        assert_eq!(Number::parse(&long), Err(NotANumber::Digits));
        assert_eq!(Number::parse("1e126"), Err(NotANumber::Overflow));
        assert_eq!(Number::parse("1e-131"), Err(NotANumber::Underflow));
        assert!(Number::parse(&format!("1{}", "0".repeat(125))).is_ok());
    }

    proptest::proptest! {
        /// For all integers: order, sum and difference are those of the integers.
        #[test]
        fn integers_behave(a in -1_000_000_i64.., b in i64::from(i32::MIN)..i64::from(i32::MAX)) {
            let a = a / 3;
            let (x, y) = (number(&a.to_string()), number(&b.to_string()));
            proptest::prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            proptest::prop_assert_eq!(x.add(y).unwrap().to_string(), (a + b).to_string());
            proptest::prop_assert_eq!(x.subtract(y).unwrap().to_string(), (a - b).to_string());
        }

        /// For all decimals: what is written reads as the same number.
        #[test]
        fn decimals_travel(whole in -1_000_000_000_i64..1_000_000_000, exponent in -40_i32..40) {
            let one = number(&format!("{whole}e{exponent}"));
            proptest::prop_assert_eq!(number(&one.to_string()), one);
        }

        /// For all texts: a number or a refusal, never a panic.
        #[test]
        fn any_text_can_come(text in "[-+0-9.eE]{0,60}") {
            _ = Number::parse(&text);
        }
    }
}
