//! Facts about the JSON check, and its agreement with serde_json.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn nested(depth: usize) -> Vec<u8> {
    let mut text = b"{\"a\":".repeat(depth - 1);
    text.extend(b"{}");
    text.extend(b"}".repeat(depth - 1));
    text
}

#[test]
fn objects_of_every_kind_pass() {
    let many_keys = {
        let keys: Vec<_> = (0..100_000).map(|n| format!("\"key{n}\":{n}")).collect();
        format!("{{{}}}", keys.join(","))
    };
    for good in [
        "{}",
        " \t\r\n{ \"a\" : [ ] , \"b\" : { } } \n",
        r#"{"a":[1,-0,0.5,1e400,1E+2,9223372036854775808,true,false,null,"x"]}"#,
        r#"{"dup":1,"dup":2}"#,
        r#"{"lone":"\ud800","escapes":"\"\\\/\b\f\n\r\t\u0000"}"#,
        "{\"ü\":\"日本語 and a long tail of plain text so that words of eight are read\"}",
        &many_keys,
    ] {
        assert_eq!(check_object(good.as_bytes()), Ok(()), "{good:.60}");
    }
}

#[test]
fn what_is_no_object_is_named() {
    for (bad, error) in [
        (&b""[..], JsonError::Empty),
        (b" \n", JsonError::Empty),
        (b"null", JsonError::NotObject),
        (b"[]", JsonError::NotObject),
        (b"[{}]", JsonError::NotObject),
        (b"\"{}\"", JsonError::NotObject),
        (b"1", JsonError::NotObject),
        (b"\xEF\xBB\xBF{}", JsonError::Syntax(0)),
        (b"{\"a\":\"\xFF\"}", JsonError::Utf8(6)),
        (b"{} x", JsonError::Syntax(3)),
        (b"{}{}", JsonError::Syntax(2)),
        (b"{\"a\":NaN}", JsonError::Syntax(5)),
        (b"{\"a\":Infinity}", JsonError::Syntax(5)),
        (b"{\"a\":\"\0\"}", JsonError::Syntax(6)),
        (b"{\"a\":\"\n\"}", JsonError::Syntax(6)),
        (b"{\"a\":1,}", JsonError::Syntax(7)),
        (b"{\"a\":[1,]}", JsonError::Syntax(8)),
        (b"{\"a\":[}", JsonError::Syntax(6)),
        (b"{\"a\" 1}", JsonError::Syntax(5)),
        (b"{a:1}", JsonError::Syntax(1)),
        (b"{'a':1}", JsonError::Syntax(1)),
        (b"{\"a\":01}", JsonError::Syntax(6)),
        (b"{\"a\":1.}", JsonError::Syntax(7)),
        (b"{\"a\":.5}", JsonError::Syntax(5)),
        (b"{\"a\":+1}", JsonError::Syntax(5)),
        (b"{\"a\":1e}", JsonError::Syntax(7)),
        (b"{\"a\":\"\\x\"}", JsonError::Syntax(6)),
        (b"{\"a\":\"\\u12\"}", JsonError::Syntax(6)),
        (b"{\"a\":tru}", JsonError::Syntax(5)),
        (b"{\"a\":1", JsonError::Syntax(6)),
        (b"{\"a\":\"unfinished", JsonError::Syntax(16)),
        (b"{", JsonError::Syntax(1)),
        (b"{]", JsonError::Syntax(1)),
    ] {
        assert_eq!(check_object(bad), Err(error), "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn nesting_ends_at_the_limit_and_costs_no_stack() {
    assert_eq!(check_object(&nested(DEPTH_MAX)), Ok(()));
    assert_eq!(check_object(&nested(DEPTH_MAX + 1)), Err(JsonError::TooDeep));
    assert_eq!(check_object(&nested(1_000_000)), Err(JsonError::TooDeep));
    assert_eq!(check_object(&b"[".repeat(1_000_000)), Err(JsonError::TooDeep));
}

fn split(text: &[u8]) -> Vec<(&[u8], Result<(), JsonError>)> {
    let entries = split_batch(text, 500).unwrap();
    entries.into_iter().map(|entry| (&text[entry.range], entry.checked)).collect()
}

#[test]
fn both_forms_of_a_batch_split_into_the_same_bytes() {
    for text in [r#"[{"a": 1} , { "b":[{}]}]"#, r#" {"events" :[{"a": 1},{ "b":[{}]} ] } "#] {
        let parts = [(&br#"{"a": 1}"#[..], Ok(())), (br#"{ "b":[{}]}"#, Ok(()))];
        assert_eq!(split(text.as_bytes()), parts);
    }
    assert_eq!(split(b"[]"), []);
    assert_eq!(split(b"{\"events\":[]}"), []);
}

#[test]
fn an_entry_that_is_no_event_spoils_only_itself() {
    let deep = nested(500);
    let mut text = b"[1,".to_vec();
    text.extend(&deep);
    text.extend(b",{}]");
    let expected =
        [(&b"1"[..], Err(JsonError::NotObject)), (&deep, Err(JsonError::TooDeep)), (b"{}", Ok(()))];
    assert_eq!(split(&text), expected);
}

#[test]
fn what_is_no_batch_is_named() {
    for (bad, error) in [
        ("1", JsonError::NotBatch),
        ("{}", JsonError::NotBatch),
        ("{\"events\":{}}", JsonError::NotBatch),
        ("{\"Events\":[]}", JsonError::NotBatch),
        ("{\"events\":[],\"more\":1}", JsonError::NotBatch),
        ("{\"events\":[],\"events\":[]}", JsonError::NotBatch),
        ("{\"events\":[]", JsonError::Syntax(12)),
        ("[{}", JsonError::Syntax(3)),
        ("[{},]", JsonError::Syntax(4)),
        ("[{} {}]", JsonError::Syntax(4)),
        ("[{}]]", JsonError::Syntax(4)),
        ("", JsonError::Empty),
    ] {
        assert_eq!(split_batch(bad.as_bytes(), 500), Err(error), "{bad}");
    }
    let many = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert_eq!(split_batch(many(3).as_bytes(), 3).map(|entries| entries.len()), Ok(3));
    assert_eq!(split_batch(many(4).as_bytes(), 3), Err(JsonError::TooMany(3)));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(".{0,9}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// serde_json's own check of the grammar, which does not build anything either.
fn reference(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

fn ours(bytes: &[u8]) -> bool {
    matches!(check_object(bytes), Ok(()) | Err(JsonError::NotObject))
}

proptest! {
    /// For all documents: what serde_json writes passes, and so does every entry of a batch.
    #[test]
    fn written_json_passes(documents in prop::collection::vec(any_json(), 0..5), pretty: bool) {
        let write = |value: &serde_json::Value| {
            if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }
        };
        let texts: Vec<_> = documents.iter().map(|document| write(document).unwrap()).collect();
        for text in &texts {
            prop_assert!(ours(text.as_bytes()), "{}", text);
        }
        let batch = format!("[{}]", texts.join(" ,\n"));
        let found = split_batch(batch.as_bytes(), 500).unwrap();
        let found: Vec<_> = found.into_iter().map(|entry| &batch[entry.range]).collect();
        prop_assert_eq!(found, texts);
    }

    /// For all single-byte damages: we and serde_json agree whether it is still JSON.
    #[test]
    fn damaged_json_is_judged_as_serde_json_judges(
        document in any_json(),
        place: usize,
        to: u8,
        cut: bool,
    ) {
        let mut bytes = serde_json::to_vec(&document).unwrap();
        let place = place % bytes.len();
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] = to;
        }
        prop_assert_eq!(ours(&bytes), reference(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    /// For all token soups: agreement as well, and never a panic.
    #[test]
    fn soups_are_judged_as_serde_json_judges(
        soup in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "1", "-", "0", ".5", "e9", "true",
                "null", " ", "\\", "\\u00e9", "x",
            ]),
            0..12,
        ),
    ) {
        let text = soup.concat();
        prop_assert_eq!(ours(text.as_bytes()), reference(text.as_bytes()), "{}", text);
    }

    #[test]
    fn plain_text_is_measured_exactly(bytes: Vec<u8>) {
        let expected = bytes
            .iter()
            .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')
            .unwrap_or(bytes.len());
        prop_assert_eq!(plain_len(&bytes), expected);
    }
}
