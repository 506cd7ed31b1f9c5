//! One target under libFuzzer: the one that `POSTHASTE_FUZZ_TARGET` names, or a control.
//!
//! One binary for all of them, because each would be the whole of Posthaste linked once more.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz_targets::control::CONTROLS;
use posthaste_fuzz_targets::{Target, target};

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name =
        std::env::var("POSTHASTE_FUZZ_TARGET").expect("POSTHASTE_FUZZ_TARGET names a target");
    let control = CONTROLS.iter().map(|(_, control)| *control);
    let control = || control.into_iter().find(|control| control.name == name);
    target(&name).or_else(control).expect("POSTHASTE_FUZZ_TARGET names a target that there is")
}

fuzz_target!(|data: &[u8]| (TARGET.get_or_init(chosen).run)(data));
