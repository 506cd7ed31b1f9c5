//! Expressions against items, without a server.

use std::collections::HashMap;

use super::{Dialect, Expressions, Names, Parser, apply, project, test};
use crate::aws_sim::dynamo::value::Item;

fn item(text: &str) -> Item {
    serde_json::from_str(text).unwrap()
}

fn names(aliases: &[(&str, &str)], values: &str) -> Names {
    let aliases: HashMap<_, _> =
        aliases.iter().map(|(alias, name)| ((*alias).to_owned(), (*name).to_owned())).collect();
    Names { aliases, values: serde_json::from_str(values).unwrap() }
}

const ROW: &str = r#"{"pk":{"S":"t"},"status":{"S":"FAILED"},"attempts":{"N":"2"},
    "trail":{"L":[{"S":"a"},{"S":"b"},{"S":"c"}]},"m":{"M":{"x":{"N":"1"}}},
    "tags":{"SS":["p","q"]}}"#;
const VALUES: &str = r#"{":f":{"S":"FAILED"},":p":{"S":"PENDING"},":n":{"N":"2"},":o":{"N":"1"},
    ":l":{"L":[{"S":"d"}]},":s":{"SS":["q"]},":t":{"S":"N"},":fa":{"S":"FA"},":z":{"N":"9"}}"#;

fn holds(condition: &str) -> bool {
    let names = names(&[("#s", "status")], VALUES);
    let parsed = Expressions::new().condition(Some(condition)).unwrap().unwrap();
    test(&parsed.tree, &item(ROW), &names.scope()).unwrap()
}

#[test]
fn conditions_say_what_dynamodb_says() {
    for condition in [
        "#s = :f AND attempts = :n",
        "#s = :p OR attempts >= :n",
        "NOT #s = :p",
        "NOT (#s = :p AND attempts = :n)",
        "attribute_exists(pk) and attribute_not_exists(gone)",
        "attempts BETWEEN :o AND :n",
        "#s IN (:p, :f)",
        "begins_with(#s, :fa)",
        "contains(tags, :t) OR size(trail) > :n",
        "attribute_type(attempts, :t)",
        "m.x = :o AND trail[1] <> :f",
        // What is missing differs from everything.
        "gone <> :f",
    ] {
        assert!(holds(condition), "{condition}");
    }
    for condition in [
        "#s = :p OR attempts > :n AND attempts < :z",
        "gone = :f",
        "gone < :n",
        "attempts = :f",
        "m.y = :o OR trail[7] = :f OR pk.x = :f",
    ] {
        assert!(!holds(condition), "{condition}");
    }
}

#[test]
fn an_update_sees_the_item_as_it_was() {
    let names = names(&[("#s", "status")], VALUES);
    let text = "SET #s = :p, attempts = attempts + :o, earlier = attempts, \
                fresh = if_not_exists(fresh, :z), trail = list_append(trail, :l), m.y = :n \
                REMOVE pk, gone ADD tally :n DELETE tags :s";
    let parsed = Expressions::new().update(Some(text)).unwrap().unwrap();
    let mut row = item(ROW);
    apply(&parsed.tree, &mut row, &names.scope()).unwrap();
    let expected = item(
        r#"{"status":{"S":"PENDING"},"attempts":{"N":"3"},"earlier":{"N":"2"},"fresh":{"N":"9"},
        "trail":{"L":[{"S":"a"},{"S":"b"},{"S":"c"},{"S":"d"}]},"tags":{"SS":["p"]},
        "m":{"M":{"x":{"N":"1"},"y":{"N":"2"}}},"tally":{"N":"2"}}"#,
    );
    assert_eq!(row, expected);
}

#[test]
fn removed_elements_are_those_that_were_named() {
    let parsed = Expressions::new().update(Some("REMOVE trail[0], trail[2]")).unwrap().unwrap();
    let mut row = item(ROW);
    apply(&parsed.tree, &mut row, &Names::default().scope()).unwrap();
    assert_eq!(row["trail"], item(r#"{"trail":{"L":[{"S":"b"}]}}"#)["trail"]);
}

#[test]
fn updates_that_make_no_sense_are_refused() {
    let refused = |text: &str| {
        let names = names(&[("#s", "status")], VALUES);
        let parsed = Expressions::new().update(Some(text)).unwrap().unwrap();
        apply(&parsed.tree, &mut item(ROW), &names.scope()).unwrap_err().message.to_string()
    };
    assert!(refused("SET m.x = :n, m = :o").contains("overlap"));
    assert!(refused("SET attempts = gone + :o").contains("does not exist"));
    assert!(refused("SET attempts = #s + :o").contains("incorrect data type"));
    assert!(refused("SET gone.x = :o").contains("invalid for update"));
    assert!(refused("ADD #s :o").contains("incorrect data type"));
}

#[test]
fn syntax_errors_are_validation_errors() {
    let expressions = Expressions::new();
    for text in
        ["", "a =", "a = b c", "(a = b", "status = :x", "a == :b", "size(a", "a != :b", "a IN ()"]
    {
        let refusal = expressions.condition(Some(text)).unwrap_err();
        assert_eq!(refusal.code, "ValidationException", "{text}");
        assert!(refusal.message.starts_with("Invalid ConditionExpression: "), "{text}: {refusal}");
    }
    let reserved = expressions.condition(Some("status = :x")).unwrap_err();
    assert!(reserved.message.contains("reserved keyword: status"), "{reserved}");
    let twice = expressions.update(Some("SET a = :x SET b = :x")).unwrap_err();
    assert!(twice.message.contains("only be used once"), "{twice}");
    let deep = format!("{}a = :x{}", "(".repeat(500), ")".repeat(500));
    assert!(expressions.condition(Some(&deep)).unwrap_err().message.contains("deeply"));
}

#[test]
fn names_and_values_must_match_the_expressions() {
    let expressions = Expressions::new();
    let parsed = expressions.condition(Some("#s = :f")).unwrap().unwrap();
    let check =
        |names: &Names| names.check(&[Some(&parsed.uses)]).map_err(|r| r.message.to_string());
    assert!(check(&names(&[("#s", "status")], r#"{":f":{"S":"x"}}"#)).is_ok());
    let missing = check(&names(&[], r#"{":f":{"S":"x"}}"#)).unwrap_err();
    assert!(missing.contains("attribute name: #s"), "{missing}");
    let missing = check(&names(&[("#s", "status")], "{}")).unwrap_err();
    assert!(missing.contains("attribute value: :f"), "{missing}");
    let unused = check(&names(&[("#s", "status")], VALUES)).unwrap_err();
    assert!(unused.contains("unused in expressions: keys: {:fa}"), "{unused}");
}

#[test]
fn a_projection_keeps_the_shape() {
    let parsed = Expressions::new().projection(Some("pk, m.x, trail[2], trail[0], gone")).unwrap();
    let paths = &parsed.unwrap().tree;
    let projected = project(&item(ROW), paths, &Names::default().scope()).unwrap();
    let expected =
        r#"{"pk":{"S":"t"},"m":{"M":{"x":{"N":"1"}}},"trail":{"L":[{"S":"c"},{"S":"a"}]}}"#;
    assert_eq!(projected, item(expected));
}

const TEXTS: &str = "(SET|AND|OR|NOT|IN|a|b|:v|#n|size|[(),.=<>+?'\"\\[\\]{}0-9 -]){0,40}";

proptest::proptest! {
    /// For all texts: a meaning or a refusal, never a panic.
    #[test]
    fn any_text_can_come(text in TEXTS) {
        for dialect in [Dialect::Expression, Dialect::Statement] {
            for read in [Parser::condition, |parser: &mut Parser| {
                parser.update().map(|_| super::Condition::Exists(Vec::new()))
            }] {
                if let Ok(mut parser) = Parser::new(&text, dialect) {
                    _ = read(&mut parser);
                }
            }
        }
    }
}
