//! Chance for ids, keys and secrets, from the operating system.
//!
//! Drawn as it is needed, without a store of it: a function that is frozen and thawed as two
//! copies must not give out the same bytes twice.

use posthaste_api::Entropy;
use ring::rand::{SecureRandom as _, SystemRandom};

/// The source of chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chance;

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        SystemRandom::new().fill(bytes).expect("the system's random numbers do not run dry");
    }
}
