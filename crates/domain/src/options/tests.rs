//! Options: what is refused and by which line, how they combine, how they change.

use proptest::prelude::*;

use super::*;

fn headers(pairs: &[(&str, &str)]) -> Result<ExtraHeaders, HeaderError> {
    ExtraHeaders::try_new(pairs.iter().copied())
}

fn full() -> DeliveryOptions {
    DeliveryOptions {
        timeout: Some(TimeoutMs::try_new(2_000).unwrap()),
        retry: Some(RetryOption::try_new(Some(&[5, 6]), Some(3)).unwrap()),
        rate: Some(RatePerS::try_new(7).unwrap()),
        in_flight: Some(InFlightMax::try_new(8).unwrap()),
        headers: headers(&[("X-Team", "blue")]).unwrap(),
        paused: true,
        lifted_at: Some(Timestamp::from_millis(9)),
    }
}

#[test]
fn numbers_are_taken_within_their_bounds_and_refused_with_them() {
    for (lawful, value) in [(false, 999), (true, 1_000), (true, 60_000), (false, 60_001)] {
        assert_eq!(TimeoutMs::try_new(value).is_ok(), lawful, "{value}");
    }
    for (lawful, value) in [(false, 0), (true, 1), (true, 100_000), (false, 1 << 32)] {
        assert_eq!(RatePerS::try_new(value).is_ok(), lawful, "{value}");
    }
    for (lawful, value) in [(false, 0), (true, 1), (true, 10_000), (false, u64::MAX)] {
        assert_eq!(InFlightMax::try_new(value).is_ok(), lawful, "{value}");
    }
    let line = TimeoutMs::try_new(5).unwrap_err().to_string();
    assert_eq!(line, "5 is outside of 1000 to 60000");
}

#[test]
fn a_retry_option_is_refused_where_no_schedule_has_it() {
    let refused = |delays: Option<&[u64]>, attempts| RetryOption::try_new(delays, attempts).err();
    assert_eq!(refused(None, None), Some(RetryOptionError::Nothing));
    assert_eq!(refused(Some(&[]), None), Some(ScheduleError::Empty.into()));
    assert_eq!(refused(Some(&[1, 0]), None), Some(ScheduleError::Delay(0).into()));
    assert_eq!(refused(None, Some(0)), Some(ScheduleError::Attempts(0).into()));
    assert_eq!(refused(None, Some(101)), Some(ScheduleError::Attempts(101).into()));
    assert_eq!(refused(Some(&[1; 101]), None), Some(RetryOptionError::TooMany(101)));
    assert_eq!(refused(Some(&[1; 100]), Some(100)), None);
}

/// What a retry option leaves open is the process's.
#[test]
fn a_schedule_is_the_tenants_over_the_processs() {
    let process = RetrySchedule::try_new(&[10, 20], 0.25, 9).unwrap();
    let made = |delays: Option<&[u64]>, attempts| {
        RetryOption::try_new(delays, attempts).unwrap().schedule(&process)
    };
    let expected =
        |delays: &[u64], attempts| RetrySchedule::try_new(delays, 0.25, attempts).unwrap();
    assert_eq!(made(Some(&[3]), None), expected(&[3], 9));
    assert_eq!(made(None, Some(2)), expected(&[10, 20], 2));
    assert_eq!(made(Some(&[4, 5]), Some(1)), expected(&[4, 5], 1));
    assert_eq!(DeliveryOptions::default().schedule(&process), process);
}

/// For all parts: setting or resetting it changes it and nothing else.
#[test]
fn a_change_changes_one_part() {
    let (none, all) = (DeliveryOptions::default(), full());
    assert!(none.is_default() && !all.is_default());
    let nothing = OptionsChange::NOTHING;
    assert!(nothing.is_nothing());
    assert_eq!(all.changed(nothing.clone()), all);
    macro_rules! check {
        ($($part:ident: $set:expr),+ $(,)?) => {$({
            let set = OptionsChange { $part: Part::Set($set), ..nothing.clone() };
            let reset = OptionsChange { $part: Part::Reset, ..nothing.clone() };
            assert!(!set.is_nothing() && !reset.is_nothing());
            let expected = DeliveryOptions { $part: all.$part.clone(), ..none.clone() };
            assert_eq!(none.changed(set), expected);
            let expected = DeliveryOptions { $part: none.$part.clone(), ..all.clone() };
            assert_eq!(all.changed(reset), expected);
        })+};
    }
    check! {
        timeout: all.timeout.unwrap(),
        retry: all.retry.clone().unwrap(),
        rate: all.rate.unwrap(),
        in_flight: all.in_flight.unwrap(),
        headers: all.headers.clone(),
        paused: true,
        lifted_at: all.lifted_at.unwrap(),
    }
    let reset = all.changed(OptionsChange::RESET);
    assert_eq!(reset, DeliveryOptions { lifted_at: all.lifted_at, ..none });
}

#[test]
fn headers_are_kept_in_lower_case_and_in_order() {
    let taken =
        headers(&[("X-B", "two words\tand a tab"), ("Authorization", "Bearer x"), ("x-a", "")]);
    let taken = taken.unwrap();
    let pairs: Vec<_> = taken.expose().collect();
    let expected = [("authorization", "Bearer x"), ("x-a", ""), ("x-b", "two words\tand a tab")];
    assert_eq!(pairs, expected);
}

/// For all names that we or HTTP own, in whatever case: refused by name.
#[test]
fn reserved_names_are_refused() {
    for name in [
        "Host",
        "Content-Length",
        "content-TYPE",
        "Content-Encoding",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "User-Agent",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Stripe-Signature",
        "Webhook-Id",
        "Webhook-Signature",
        "webhook-anything",
        "X-Webhook-Attempt",
        "X-Posthaste-Attempt",
        "Posthaste-Signature",
    ] {
        let lower = name.to_ascii_lowercase().into_boxed_str();
        assert_eq!(headers(&[(name, "x")]), Err(HeaderError::Reserved(lower)), "{name}");
    }
    assert!(headers(&[("Authorization", "x"), ("Cookie", "y"), ("TEA", "z")]).is_ok());
}

#[test]
fn headers_that_would_break_a_request_are_refused() {
    for name in ["", " ", "a b", "a:", "a\r", "a\n", "a\0", "ä", "a(", "\"", ":path"] {
        assert_eq!(headers(&[(name, "x")]), Err(HeaderError::Name), "{name:?}");
    }
    for value in ["a\r\nb: c", "\n", "\r", "\0", "ä", "\u{7f}", " a", "a ", "\ta", "\u{1b}[0m"] {
        assert_eq!(headers(&[("x", value)]), Err(HeaderError::Value("x".into())), "{value:?}");
    }
    assert_eq!(headers(&[("x-a", "1"), ("X-A", "2")]), Err(HeaderError::Twice("x-a".into())));
}

/// Of what is stored only the reserved names are left out, and every other line holds.
#[test]
fn stored_headers_lose_what_is_reserved_since() {
    let stored = |pairs: &[(&str, &str)]| ExtraHeaders::stored(pairs.iter().copied());
    let left = headers(&[("x-team", "blue")]);
    assert_eq!(stored(&[("Host", "x"), ("x-team", "blue"), ("metadata-flavor", "y")]), left);
    assert_eq!(stored(&[("host", "x")]), headers(&[]));
    assert_eq!(stored(&[("a b", "x")]), Err(HeaderError::Name));
    assert_eq!(stored(&[("x", "\n")]), Err(HeaderError::Value("x".into())));
}

#[test]
fn headers_are_few_and_short() {
    let many = |count| ExtraHeaders::try_new((0..count).map(|n| (format!("x-{n}"), "v")));
    assert!(many(16).is_ok());
    assert_eq!(many(17), Err(HeaderError::TooMany));
    let long = |bytes| ExtraHeaders::try_new([("x", "v".repeat(bytes))]);
    assert!(long(4_095).is_ok());
    assert_eq!(long(4_096), Err(HeaderError::TooLong));
}

#[test]
fn nothing_shows_a_value() {
    let taken = headers(&[("authorization", "hush-hush")]).unwrap();
    let options = DeliveryOptions { headers: taken, ..DeliveryOptions::default() };
    let shown = format!("{options:?}");
    assert!(shown.contains("authorization") && !shown.contains("hush"), "{shown}");
    for refused in [
        headers(&[("authorization", "hush\n")]),
        headers(&[("authorization: hush", "x")]),
        headers(&[("a", "hush"), ("A", "hush")]),
    ] {
        let error = refused.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}

proptest! {
    /// For all names and values: refused, or a header line of their own and no more.
    #[test]
    fn what_is_taken_is_one_line(
        name in "\\PC{0,12}|[a-zA-Z-]{1,12}",
        value in "[ -~\\t\\r\\n\\x00\\x7f\u{e9}]{0,12}",
    ) {
        if let Ok(taken) = headers(&[(&name, &value)]) {
            let pairs: Vec<_> = taken.expose().collect();
            prop_assert_eq!(&pairs, &[(&*name.to_ascii_lowercase(), &*value)]);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
            prop_assert!(value.bytes().all(|byte| (32..127).contains(&byte) || byte == b'\t'));
        }
    }
}
