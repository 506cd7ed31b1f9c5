//! Chance for ids, keys and secrets, from the operating system.
//!
//! The system's generator is asked for a block at a time, since an event id needs 16 bytes and a
//! system call costs more than the rest of making it. A byte is given out once and overwritten.

use std::cell::RefCell;

use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes drawn at once: 64 event ids.
const BLOCK: usize = 1024;

/// The source of chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chance;

struct Block {
    bytes: [u8; BLOCK],
    left: usize,
}

thread_local! {
    static BLOCKS: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK], left: 0 }) };
}

impl Chance {
    /// A random number.
    #[must_use]
    pub fn number(self) -> u64 {
        let mut bytes = [0; 8];
        self.draw(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    /// 32 random bytes, for a key.
    #[must_use]
    pub fn key(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.draw(&mut bytes);
        bytes
    }

    fn draw(self, bytes: &mut [u8]) {
        if bytes.len() > BLOCK {
            fill(bytes);
            return;
        }
        BLOCKS.with_borrow_mut(|block| {
            if block.left < bytes.len() {
                fill(&mut block.bytes);
                block.left = BLOCK;
            }
            let end = block.left;
            block.left -= bytes.len();
            let drawn = &mut block.bytes[block.left..end];
            bytes.copy_from_slice(drawn);
            drawn.fill(0);
        });
    }
}

impl posthaste_api::Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        self.draw(bytes);
    }
}

/// Without chance no key is safe and no id unique, so there is nothing to go on with.
fn fill(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the system's random numbers do not run dry");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// For all sizes, over many blocks: nothing is given out twice.
    #[test]
    fn no_byte_is_given_out_twice() {
        let mut seen = BTreeSet::new();
        for size in [16, 32, BLOCK, BLOCK + 1] {
            for _ in 0..200 {
                let mut bytes = vec![0; size];
                Chance.draw(&mut bytes);
                for part in bytes.chunks_exact(16) {
                    assert!(seen.insert(part.to_vec()), "drawn twice");
                }
            }
        }
    }
}
