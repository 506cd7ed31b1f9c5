//! Target URLs: every line of the case list, one reading only, and a message for each refusal.

use std::net::Ipv6Addr;

use posthaste_domain::{AddressClass, AddressPolicy, Host, NameClass, TargetError, TargetUrl};
use proptest::prelude::*;

const CASES: &str = include_str!("cases/target_urls.tsv");

fn parse(text: &str) -> Result<TargetUrl, TargetError> {
    TargetUrl::parse(text, &AddressPolicy::default())
}

fn target(text: &str) -> TargetUrl {
    TargetUrl::parse_stored(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn policy(ranges: &[&str], ports: &[u16]) -> AddressPolicy {
    let allow = ranges.iter().map(|range| range.parse().expect("a range")).collect();
    AddressPolicy { allow, allow_ports: ports.to_vec() }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0")
}

/// R refused, A accepted, D accepted here and stopped when its name is resolved. With everything
/// opened some of the refused ones pass: it is the policy that refuses them, and the list tells.
#[test]
fn every_line_of_the_case_list_comes_out_right() {
    let all = ["0.0.0.0/0", "::/0", "169.254.169.254/32", "169.254.170.2/32"];
    let open = AddressPolicy { allow_ports: (1..=u16::MAX).collect(), ..policy(&all, &[]) };
    let mut passed = 0;
    let mut counts = [0; 3];
    let mut wrong = Vec::new();
    for (number, line) in CASES.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let (verdict, url) = line.split_once('\t').expect("verdict, tab, URL");
        let index = ["R", "A", "D"].iter().position(|known| *known == verdict).expect(verdict);
        counts[index] += 1;
        let parsed = parse(&unescape(url));
        if parsed.is_ok() != (verdict != "R") {
            wrong.push(format!("line {}: {line:?} gave {parsed:?}", number + 1));
        }
        let passes = TargetUrl::parse(&unescape(url), &open).is_ok();
        passed += usize::from(passes && verdict == "R");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The list as it was written; a line that is lost or no longer read would go unnoticed.
    assert_eq!(counts, [125, 16, 3]);
    assert!(passed >= 50, "{passed}");
    let control = format!("a policy that opens everything lets {passed} refused lines pass");
    let tried: usize = counts.iter().sum();
    println!("proof: 16 tried {tried} held {} control {control}", tried - wrong.len());
}

/// For all accepted lines: what is stored reads back as the same target.
#[test]
fn accepted_lines_read_back() {
    for line in CASES.lines().filter(|line| line.starts_with(['A', 'D'])) {
        let target = target(&unescape(&line[2..]));
        assert_eq!(TargetUrl::parse_stored(target.as_str()), Ok(target));
    }
}

#[test]
fn a_target_has_its_parts() {
    for (given, text, authority, path, port) in [
        ("https://example.com/a?b=c", "https://example.com/a?b=c", "example.com", "/a?b=c", 443),
        ("http://example.com", "http://example.com", "example.com", "/", 80),
        ("http://example.com?q", "http://example.com/?q", "example.com", "/?q", 80),
        ("https://example.com?", "https://example.com/?", "example.com", "/?", 443),
        ("https://EXAMPLE.com./A", "https://example.com/A", "example.com", "/A", 443),
        ("https://example.com:443/", "https://example.com:443/", "example.com", "/", 443),
        ("http://example.com:443/", "http://example.com:443/", "example.com:443", "/", 443),
        ("https://example.com:/x", "https://example.com/x", "example.com", "/x", 443),
        ("https://example.com.:8443", "https://example.com:8443", "example.com:8443", "/", 8443),
        (
            "https://bücher.de/ü".trim_end_matches('ü'),
            "https://xn--bcher-kva.de/",
            "xn--bcher-kva.de",
            "/",
            443,
        ),
        (
            "https://[2606:4700:0:0::1111]:8443/h",
            "https://[2606:4700::1111]:8443/h",
            "[2606:4700::1111]:8443",
            "/h",
            8443,
        ),
        (
            "https://example.com/a/../b//c;d=%2e%2E?x[]=1&y={z}|%20",
            "https://example.com/a/../b//c;d=%2e%2E?x[]=1&y={z}|%20",
            "example.com",
            "/a/../b//c;d=%2e%2E?x[]=1&y={z}|%20",
            443,
        ),
    ] {
        let target = target(given);
        assert_eq!(target.as_str(), text, "{given}");
        assert_eq!(target.authority(), authority, "{given}");
        assert_eq!(target.path_and_query(), path, "{given}");
        assert_eq!(target.port(), port, "{given}");
        assert_eq!(target.is_https(), given.starts_with("https"), "{given}");
    }
}

#[test]
fn a_host_is_a_name_or_an_address() {
    let host = |text| target(text).host().clone();
    assert_eq!(host("https://Example.COM./"), Host::Name("example.com".into()));
    assert_eq!(host("http://10.0.0.1/"), Host::V4([10, 0, 0, 1].into()));
    assert_eq!(host("http://[::1]/"), Host::V6(Ipv6Addr::LOCALHOST));
    assert_eq!(host("http://straße.example.com/"), Host::Name("xn--strae-oqa.example.com".into()));
    assert_eq!(host("http://BüCHER.example.com/"), Host::Name("xn--bcher-kva.example.com".into()));
    assert_eq!(host("http://a_b.c-d.example.com/"), Host::Name("a_b.c-d.example.com".into()));
    assert_eq!(host("http://[::1]/").to_string(), "[::1]");
}

#[test]
fn each_fault_has_its_own_answer() {
    let label = "a".repeat(64);
    let name = format!("{}.com", ["a".repeat(63).as_str(); 4].join("."));
    for (text, error) in [
        ("", TargetError::Scheme),
        ("HTTP://example.com/", TargetError::Scheme),
        ("//example.com/", TargetError::Scheme),
        ("http:/example.com/", TargetError::Scheme),
        ("ftp://example.com/", TargetError::Scheme),
        (&format!("https://example.com/{}", "a".repeat(2029)), TargetError::TooLong),
        ("https://example.com/ ", TargetError::Whitespace),
        ("\nhttps://example.com/", TargetError::Whitespace),
        ("https://example\u{a0}.com/", TargetError::Whitespace),
        ("https://example.com/\u{7f}", TargetError::Whitespace),
        ("https://example.com/#", TargetError::Fragment),
        ("https://example.com\\/", TargetError::Backslash),
        ("https://example.com/?a\\b", TargetError::Backslash),
        ("https://user@example.com/", TargetError::Userinfo),
        ("https:///path", TargetError::HostMissing),
        ("https://:443/", TargetError::HostMissing),
        ("https://2606:4700::1111/", TargetError::Ipv6),
        ("https://[2606:4700::1111", TargetError::Ipv6),
        ("https://[2606:4700::1111]x/", TargetError::Ipv6),
        ("https://a[2606:4700::1111]/", TargetError::Ipv6),
        ("https://[2606:4700::1111%251]/", TargetError::Ipv6),
        ("https://[[::1]]/", TargetError::Ipv6),
        ("https://8.8.8/", TargetError::Ipv4),
        ("https://8.8.8.8./", TargetError::Ipv4),
        ("https://8.8.8.08/", TargetError::Ipv4),
        ("https://example.0x1f/", TargetError::Ipv4),
        ("https://example.0X/", TargetError::Ipv4),
        ("https://example.123/", TargetError::Ipv4),
        ("https://８.８.８.８/", TargetError::HostMapped),
        ("https://example%2ecom/", TargetError::HostPercent),
        ("https://example..com/", TargetError::HostName),
        ("https://example.com../", TargetError::HostName),
        ("https://./", TargetError::HostName),
        ("https://-a.example.com/", TargetError::HostName),
        ("https://a-.example.com/", TargetError::HostName),
        ("https://exa!mple.com/", TargetError::HostName),
        ("https://exa*mple.com/", TargetError::HostName),
        ("https://example.com,evil.com/", TargetError::HostName),
        (&format!("https://{label}.com/"), TargetError::HostName),
        (&format!("https://{name}/"), TargetError::HostName),
        ("https://xn--a.com/", TargetError::HostIdna),
        ("https://xn--example-.com/", TargetError::HostIdna),
        ("https://ex\u{200b}ample.com/", TargetError::HostMapped),
        ("https://example。com/", TargetError::HostMapped),
        ("https://bu\u{308}cher.com/", TargetError::HostMapped),
        ("https://\u{fdd0}.com/", TargetError::HostIdna),
        ("https://BÜCHER.com/", TargetError::HostMapped),
        ("https://\u{212a}elvin.com/", TargetError::HostMapped),
        ("https://\u{17f}tandard.com/", TargetError::HostMapped),
        ("https://ﬁ.com/", TargetError::HostMapped),
        ("https://example.com:080/", TargetError::Port),
        ("https://example.com:80a/", TargetError::Port),
        ("https://example.com:65536/", TargetError::Port),
        ("https://example.com/ä", TargetError::Unencoded('ä')),
        ("https://example.com/a|b", TargetError::Unencoded('|')),
        ("https://example.com/\"", TargetError::Unencoded('"')),
        ("https://example.com/?<", TargetError::Unencoded('<')),
        ("https://example.com/%", TargetError::PercentEncoding),
        ("https://example.com/%4", TargetError::PercentEncoding),
        ("https://example.com/?%zz", TargetError::PercentEncoding),
    ] {
        assert_eq!(parse(text), Err(error.clone()), "{text:?}");
        assert_eq!(TargetUrl::parse_stored(text), Err(error), "{text:?}");
    }
    let longest = format!("https://example.com/{}", "a".repeat(2028));
    assert_eq!(parse(&longest).unwrap().as_str(), longest);
}

#[test]
fn a_refusal_says_what_was_refused_and_what_is_right() {
    for (text, words) in [
        ("http://127.0.0.1/", &["127.0.0.1", "(loopback)", "public internet"][..]),
        ("http://169.254.169.254/", &["(metadata)"]),
        ("http://[::ffff:10.0.0.1]/", &["(ipv4_mapped)"]),
        ("http://localhost/", &["(localhost)", "public internet"]),
        ("http://intranet/", &["(private_network)"]),
        ("http://metadata.google.internal/", &["(metadata)"]),
        ("http://x.onion/", &["(special_use)"]),
        ("http://example.com:6379/", &["6379", "redis", "80, 443", "1024"]),
        ("http://example.com:22/", &["port 22", "system port"]),
        ("ftp://example.com/", &["http://", "https://"]),
        ("http://0x7f.1/", &["192.0.2.1"]),
    ] {
        let message = parse(text).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "{text}: {message:?} lacks {word:?}");
        }
        assert!(!message.contains('\n') && !message.ends_with('.'), "{message}");
    }
}

/// Neither a refusal nor `Debug` repeats path or query: tokens live there.
#[test]
fn tokens_in_a_url_are_not_shown() {
    for text in [
        "http://example.com:6379/canary?canary",
        "http://localhost/canary?canary",
        "http://canary@example.com/",
        "http://example.com/canary#canary",
        "http://127.0.0.1/canary",
        "http://example.com/canary?ä=canary",
    ] {
        let error = parse(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    let shown = format!("{:?}", target("https://example.com:8443/canary?canary"));
    assert_eq!(shown, "https://example.com:8443/(hidden)");
    assert_eq!(format!("{:?}", target("https://example.com/")), "https://example.com/");
}

#[test]
fn an_operator_opens_addresses_and_the_names_that_go_with_them() {
    let loopback = policy(&["127.0.0.0/8"], &[]);
    let loopback_v6 = policy(&["::1/128"], &[]);
    let private = policy(&["10.0.0.0/8"], &[]);
    let metadata = policy(&["169.254.169.254/32"], &[]);
    let all = policy(&["0.0.0.0/0", "::/0"], &[]);
    let policies = [&AddressPolicy::default(), &loopback, &loopback_v6, &private, &metadata, &all];
    for (text, opened_by) in [
        ("http://example.com/", [true; 6]),
        ("http://127.0.0.1:8080/hook", [false, true, false, false, false, true]),
        ("http://[::1]:8080/hook", [false, false, true, false, false, true]),
        ("http://[::ffff:127.0.0.1]/", [false, true, false, false, false, true]),
        ("http://localhost:8080/hook", [false, true, true, false, false, true]),
        ("http://LOCALHOST./", [false, true, true, false, false, true]),
        ("http://app.localhost/", [false, true, true, false, false, true]),
        ("http://localhost.localdomain/", [false, true, true, false, false, true]),
        ("http://intranet/", [false, false, false, true, false, true]),
        ("http://web.default.svc.cluster.local/", [false, false, false, true, false, true]),
        ("http://ip-10-0-0-1.ec2.internal/", [false, false, false, true, false, true]),
        ("http://nas.home.arpa/", [false, false, false, true, false, true]),
        ("http://hooks.corp/", [false, false, false, true, false, true]),
        ("http://10.0.0.1/", [false, false, false, true, false, true]),
        ("http://metadata.google.internal/", [false, false, false, false, true, false]),
        ("http://metadata/", [false, false, false, false, true, false]),
        ("http://169.254.169.254/", [false, false, false, false, true, false]),
        ("http://x.onion/", [false; 6]),
        ("http://1.0.0.127.in-addr.arpa/", [false; 6]),
        ("http://127.1/", [false; 6]),
    ] {
        let verdicts = policies.map(|policy| TargetUrl::parse(text, policy).is_ok());
        assert_eq!(verdicts, opened_by, "{text}");
    }
}

#[test]
fn a_refused_name_or_address_says_its_class() {
    let name = |text| match parse(text) {
        Err(TargetError::NameRefused { class }) => class,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(name("http://localhost/"), NameClass::Localhost);
    assert_eq!(name("http://printer.lan/"), NameClass::PrivateNetwork);
    assert_eq!(name("http://instance-data/"), NameClass::Metadata);
    assert_eq!(name("http://x.alt/"), NameClass::SpecialUse);
    let Err(TargetError::Address(refused)) = parse("http://[fe80::1]/") else {
        panic!("link-local was accepted");
    };
    assert_eq!(refused.class, AddressClass::LinkLocal);
}

#[test]
fn an_operator_opens_ports_one_by_one() {
    let open = policy(&[], &[22, 6379]);
    for (port, by_default, when_opened) in
        [(22, false, true), (6379, false, true), (23, false, false), (8080, true, true)]
    {
        let text = format!("http://example.com:{port}/");
        assert_eq!(parse(&text).is_ok(), by_default, "{port}");
        assert_eq!(TargetUrl::parse(&text, &open).is_ok(), when_opened, "{port}");
    }
    assert!(TargetUrl::parse("http://example.com:0/", &policy(&[], &[0])).is_err());
}

/// A stored target stays readable after the operator closed what it uses.
#[test]
fn stored_targets_are_read_whatever_the_policy() {
    for text in
        ["http://127.0.0.1:22/", "http://localhost/", "http://[fe80::1]/", "http://x.onion/"]
    {
        assert!(parse(text).is_err(), "{text}");
        assert_eq!(target(text).as_str(), text);
    }
}

/// The values are stored with tenants; they were computed by another program.
#[test]
fn shard_keys_never_change() {
    for (text, key) in [
        ("https://example.com/a", 0x67df_0671),
        ("https://EXAMPLE.com.:443/b?c", 0x67df_0671),
        ("http://example.com/", 0xfc56_2308),
        ("https://example.com:8443/", 0x2794_5468),
        ("http://172.15.255.255/", 0x1b44_9a78),
        ("https://[2606:4700:4700:0::1111]/", 0xbb26_0608),
    ] {
        assert_eq!(target(text).shard_key(), key, "{text}");
    }
}

fn ordinary() -> impl Strategy<Value = String> {
    let label = "[a-zA-Z0-9]([a-zA-Z0-9_-]{0,20}[a-zA-Z0-9])?";
    let host = prop_oneof![
        prop::collection::vec(label, 1..5).prop_map(|labels| format!("{}.org", labels.join("."))),
        any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
        any::<u128>().prop_map(|number| format!("[{}]", Ipv6Addr::from(number))),
        Just("bücher.example".to_owned()),
    ];
    let port =
        prop::option::of(1_u16..).prop_map(|p| p.map_or_else(String::new, |p| format!(":{p}")));
    let path = "(/([a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2}){0,20}){0,3}";
    let query = "([?][a-z0-9=&/?%]{0}[a-zA-Z0-9._~!$&'()*+,;=:@/?-]{0,20})?";
    ("https?", host, port, path, query).prop_map(|(scheme, host, port, path, query)| {
        format!("{scheme}://{host}{port}{path}{query}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// For all ordinary URLs: path and query are sent as given, the rest is canonical, and what is
    /// stored reads back as the same target.
    #[test]
    fn an_ordinary_url_round_trips(text in ordinary()) {
        // Punycode by chance is rarely valid.
        prop_assume!(!text.to_lowercase().contains("xn--"));
        let target = target(&text);
        prop_assert_eq!(TargetUrl::parse_stored(target.as_str()), Ok(target.clone()));
        prop_assert!(text.ends_with(target.path_and_query().trim_start_matches('/')));
        prop_assert!(target.path_and_query().starts_with('/'));
        prop_assert!(target.as_str().is_ascii());
        let rebuilt = format!("{}://{}", if target.is_https() { "https" } else { "http" },
            target.authority());
        prop_assert!(target.as_str().starts_with(&rebuilt));
    }

    /// For all texts near a URL: no panic, and what is accepted reads back, is ASCII, and has a
    /// host without anything that another parser could take for a delimiter.
    #[test]
    fn whatever_is_accepted_is_harmless(
        text in "https?:(//|/)([a-z0-9.@:%\\[\\]\\\\-]|\\PC|xn--){1,12}([/?#]\\PC{0,12})?",
    ) {
        if let Ok(target) = TargetUrl::parse_stored(&text) {
            prop_assert_eq!(TargetUrl::parse_stored(target.as_str()), Ok(target.clone()));
            prop_assert!(target.as_str().bytes().all(|b| b.is_ascii_graphic()));
            if let Host::Name(name) = target.host() {
                let plain = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
                prop_assert!(name.chars().all(|c| plain.contains(c)), "{}", name);
                prop_assert!(name.len() <= 253 && name.split('.').all(|l| !l.is_empty()));
            }
        }
    }

    /// For all texts: no panic.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,60}") {
        prop_assert!(TargetUrl::parse_stored(&text).is_err());
    }
}
