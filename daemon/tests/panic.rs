//! A panic anywhere in the process ends it. In a process of its own, since the hook is everybody's.

use posthaste::lifecycle::{Fatal, end_on_panic};

#[test]
fn a_panic_is_fatal_and_names_its_place() {
    let fatal = Fatal::default();
    end_on_panic(&fatal);
    let panicked = std::thread::spawn(|| panic!("on purpose")).join();
    assert!(panicked.is_err());
    let reason = fatal.reason().expect("a reason");
    assert!(reason.starts_with("panic at ") && reason.contains("panic.rs:"), "{reason}");
    // The first reason is the one that counts.
    fatal.stop("later".to_owned());
    assert_eq!(fatal.reason(), Some(reason));
}
