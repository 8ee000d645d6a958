use std::collections::HashSet;
use std::path::Path;

use forebay_rules::import;

use super::table::Table;
use super::{Target, parse};

/// The table of an input, as `rule import --dry-run` into an empty directory shows it.
fn table(text: &str) -> String {
    let target = Target::directory(Path::new("rules.d"));
    let mut names = HashSet::new();
    let values = parse(text).expect("JSON or YAML");
    let found = values
        .into_iter()
        .flat_map(|value| import::find(value, None).expect("rules"));
    let rows = found
        .map(|found| target.judge(found, &mut names).0)
        .collect();
    let table = Table {
        rows,
        dir: "rules.d".into(),
        dry_run: true,
    };
    table.as_text()
}

#[test]
fn a_template_in_yaml() {
    insta::assert_snapshot!(table(include_str!("tests/template.yaml")));
}

#[test]
fn the_state_of_terraform() {
    insta::assert_snapshot!(table(include_str!("tests/terraform.json")));
}

#[test]
fn descriptions_one_after_the_other() {
    insta::assert_snapshot!(table(include_str!("tests/described.json")));
}

#[test]
fn a_list_of_rules() {
    insta::assert_snapshot!(table(
        r#"{"rules": [
            {"ruleArn": "arn:aws:iot:eu-west-1:123456789012:rule/hot", "ruleName": "hot", "topicPattern": "dt/#",
             "createdAt": "2024-05-02T10:00:00+00:00", "ruleDisabled": false},
            {"ruleArn": "arn:aws:iot:eu-west-1:123456789012:rule/cold", "ruleName": "cold", "ruleDisabled": true}
        ]}"#
    ));
}

#[test]
fn input_that_is_neither_json_nor_yaml_says_why() {
    assert_eq!(
        parse("{\"a\": 1"),
        Err("not JSON: EOF while parsing an object at line 1 column 7".to_owned())
    );
    assert_eq!(
        parse("a: 1\na: 2"),
        Err("not YAML: line 2, column 4: the key \"a\" comes twice".to_owned())
    );
    // Braces alone do not make it JSON.
    let values = parse("{Resources: {A: !Ref B}}").expect("YAML");
    assert_eq!(
        values,
        [serde_json::json!({"Resources": {"A": {"Ref": "B"}}})]
    );
    assert_eq!(parse("{} {}").map(|values| values.len()), Ok(2));
}
