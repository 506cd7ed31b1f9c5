//! A receipt handle: which message of which queue, and which of its receipts.
//!
//! As long as those of AWS (344 characters), because clients copy, keep and send them.

use std::fmt::Write as _;

use crate::chance::mix;

const PREFIX: &str = "AQEB";
const LENGTH: usize = 344;
const PADDING: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What a receipt handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) message: u64,
    /// How often the message had been received then.
    pub(super) received: u32,
}

impl Receipt {
    /// Its text; `queue` is the number of the queue.
    pub(super) fn text(self, queue: u64) -> String {
        let mut text = String::with_capacity(LENGTH);
        let check = self.check(queue);
        // Writing to memory cannot fail.
        _ = write!(text, "{PREFIX}{:016x}{:08x}{check:016x}", self.message, self.received);
        while text.len() < LENGTH {
            text.push_str(&PADDING[..PADDING.len().min(LENGTH - text.len())]);
        }
        text
    }

    /// Reads it; `None` where this queue did not write it.
    pub(super) fn parse(text: &str, queue: u64) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX).filter(|_| text.len() == LENGTH)?;
        let number = |range| u64::from_str_radix(digits.get(range)?, 16).ok();
        let receipt =
            Self { message: number(0..16)?, received: u32::try_from(number(16..24)?).ok()? };
        (number(24..40)? == receipt.check(queue)).then_some(receipt)
    }

    const fn check(self, queue: u64) -> u64 {
        mix(queue, self.message ^ (self.received as u64) << 40)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_of_its_queue() {
        let receipt = Receipt { message: 77, received: 3 };
        let text = receipt.text(5);
        assert_eq!(text.len(), LENGTH);
        assert_eq!(Receipt::parse(&text, 5), Some(receipt));
        assert_eq!(Receipt::parse(&text, 6), None);
        assert_eq!(Receipt::parse("AQEB", 5), None);
        assert_eq!(Receipt::parse(&text.replacen('4', "é", 1), 5), None);
    }
}
