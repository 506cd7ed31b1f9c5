//! What tenants choose of their deliveries: headers and retries.

use http::{HeaderName, HeaderValue};
use posthaste_domain::{ExtraHeaders, RetryOption, RetrySchedule};

use crate::input::{Input, text};

/// Headers, one a line: `name: value`.
pub(crate) fn custom_headers(data: &[u8]) {
    // A NUL ends a header, so that values may have line breaks in them.
    let Some(text) = text(data) else { return };
    let pairs = text.split('\0').map(|line| line.split_once(": ").unwrap_or((line, "")));
    let Ok(headers) = ExtraHeaders::try_new(pairs) else { return };
    assert!(headers.names().len() <= ExtraHeaders::COUNT_MAX);
    assert!(headers.names().is_sorted(), "{headers:?}");
    let bytes: usize = headers.expose().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= ExtraHeaders::BYTES_MAX);
    for (name, value) in headers.expose() {
        let parsed = HeaderName::from_bytes(name.as_bytes()).expect("a name of HTTP");
        assert_eq!(parsed.as_str(), name);
        let sent = HeaderValue::from_str(value).expect("a value of HTTP");
        assert_eq!(sent.as_bytes().trim_ascii(), value.as_bytes());
        assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
        is_not_ours(name);
    }
    let again = ExtraHeaders::try_new(headers.expose());
    assert_eq!(again.as_ref(), Ok(&headers));
    let shown = format!("{headers:?}");
    let hidden = headers.expose().filter(|(_, value)| value.len() > 8 && is_word(value));
    for (_, value) in hidden {
        let is_name = headers.names().any(|name| name.contains(value));
        assert!(is_name || !shown.contains(value), "a value is shown");
    }
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_not_ours(name: &str) {
    let framing = ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade"];
    let ours = ["content-type", "user-agent", "stripe-signature", "expect", "trailer"];
    assert!(!framing.contains(&name) && !ours.contains(&name), "{name}");
    assert!(!name.starts_with("webhook-") && !name.starts_with("proxy-"), "{name}");
}

/// A tenant's own retry schedule.
pub(crate) fn retry_options(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let attempts_max = (flags & 1 == 1).then(|| u32::from_le_bytes(input.array()));
    let chance = input.number();
    let mut delays = Vec::new();
    while !input.is_empty() {
        // Narrow ones are often lawful, wide ones seldom.
        let wide = input.number();
        delays.push(if flags & 4 == 4 { wide } else { wide >> 33 });
    }
    let given = (flags & 2 == 2).then_some(delays.as_slice());
    let Ok(retry) = RetryOption::try_new(given, attempts_max) else { return };
    assert_eq!((retry.delays_ms(), retry.attempts_max()), (given, attempts_max));
    let schedule = retry.schedule(&RetrySchedule::default());
    assert!((1..=RetrySchedule::ATTEMPTS_MAX).contains(&schedule.attempts_max()));
    for failures in [0, 1, 2, 5, 100, u32::MAX] {
        let base = schedule.base_delay_ms(failures);
        assert!((1..=RetrySchedule::DELAY_MS_MAX).contains(&base));
        let delay = schedule.delay_ms(failures, chance);
        assert!((base..=base * 2).contains(&delay), "{delay} of {base}");
    }
}
