//! What rules share beside their documents: `[rules]` and `[functions]`.

use super::Case;

#[test]
fn rules_are_compiled_in_the_environment_of_the_configuration() {
    let rules = r#"
        [[rules.inline]]
        name = "r"
        sql = "SELECT VALUE 7 / 2 FROM 'a'"
        action.kinesis = { stream_name = "s", role_arn = "r" }
    "#;
    let quotient = |settings: &str| {
        let config = Case::new(&format!("[rules]\n{settings}\n{rules}")).config();
        let explained = config.rule_set.explain("r").unwrap();
        explained.statement.folded[0].value.clone()
    };
    let text = |text: &str| forebay_rules::FoldedValue::Scalar(text.into());
    assert_eq!(quotient(""), text("3"));
    assert_eq!(quotient("int_division = \"int\""), text("3"));
    assert_eq!(quotient("int_division = \"decimal\""), text("3.5"));
    let config = Case::new("[rules]\naccount_id = \"123456789012\"").config();
    assert_eq!(config.rules.account_id, "123456789012");
    assert_eq!(Case::new("").config().rules.account_id, "000000000000");
    let refused = Case::new("[rules]\naccount_id = \"12\"\nint_division = \"exact\"").refused();
    for part in [
        "an account id is 12 digits",
        "allowed: \"int\", \"decimal\"",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn data_of_other_services_comes_from_files() {
    let toml = r#"
        [functions]
        registry_file = "data/registry.json"
        secrets_file = "data/secrets.json"
        shadow_source = "data/shadows.json"
        protobuf_descriptors = "descriptors"
        [[rules.inline]]
        name = "r"
        sql_version = "2016-03-23"
        sql = """SELECT get_registry_data('DescribeThing', topic(2), 'a') AS r, get_secret('s', 'SecretString', 'a') AS s,
            get_thing_shadow('t', 'a') AS t, decode(*, 'proto', 'b', 'p/k', 'f', 'M') AS m FROM 'a/+'"""
        action.kinesis = { stream_name = "s", role_arn = "r" }
    "#;
    let case = Case::new(toml)
        .with_file(
            "data/registry.json",
            r#"{"t": {"DescribeThing": {"thingName": "t"}}}"#,
        )
        .with_file("data/secrets.json", r#"{"s": {"SecretString": "x"}}"#)
        .with_file("data/shadows.json", r#"{"t": {"classic": {}}}"#)
        // An empty set of descriptors is one.
        .with_file("descriptors/b/p/k", "");
    assert_eq!(case.config().rule_set.rules().len(), 1);

    let refused = case.with_file("data/secrets.json", "[]").refused();
    assert!(
        refused.contains("secrets.json: the document is not an object"),
        "{refused}"
    );
    // Its data is missing now, which the rule says, too.
    assert!(refused.contains("functions.secrets_file"), "{refused}");
}

#[test]
fn a_source_over_the_network_is_refused_by_name() {
    let refused =
        Case::new("[functions]\nshadow_source = \"http://127.0.0.1:1/shadows\"").refused();
    assert!(refused.contains("shadows from files only"), "{refused}");
    let refused = Case::new("[functions]\nregistry_file = \"none.json\"").refused();
    assert!(refused.contains("none.json"), "{refused}");
}
