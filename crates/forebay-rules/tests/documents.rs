//! The forms of rule documents, and what is wrong with the ones that are refused.

use forebay_rules::{Action, DocumentError, KinesisAction, RuleDocument, SqlVersion};
use proptest::prelude::*;
use serde_json::json;

fn read(document: &serde_json::Value) -> Result<RuleDocument, DocumentError> {
    RuleDocument::from_json(document.to_string().as_bytes(), Some("r"))
}

fn kinesis(stream: &str, key: Option<&str>, role: &str) -> Action {
    Action::Kinesis(KinesisAction {
        stream_name: stream.to_owned(),
        partition_key: key.map(str::to_owned),
        role_arn: role.to_owned(),
    })
}

const ROLE: &str = "arn:aws:iam::123456789012:role/aws_iot_kinesis";

#[test]
fn the_examples_of_the_developer_guide_load_unchanged() {
    let first = br#"{
        "topicRulePayload": {
            "sql": "SELECT * FROM 'some/topic'",
            "ruleDisabled": false,
            "awsIotSqlVersion": "2016-03-23",
            "actions": [
                {
                    "kinesis": {
                        "streamName": "my_kinesis_stream",
                        "partitionKey": "${topic()}",
                        "roleArn": "arn:aws:iam::123456789012:role/aws_iot_kinesis"
                    }
                }
            ]
        }
    }"#;
    let rule = RuleDocument::from_json(first, Some("first")).expect("the first example");
    assert_eq!(rule.name, "first");
    assert_eq!(rule.version, SqlVersion::V2016);
    assert_eq!(
        rule.actions,
        [kinesis("my_kinesis_stream", Some("${topic()}"), ROLE)]
    );
    let second = br#"{
        "topicRulePayload": {
            "sql": "SELECT * FROM 'some/topic'",
            "ruleDisabled": false,
            "awsIotSqlVersion": "2016-03-23",
            "actions": [
                {
                    "kinesis": {
                        "streamName": "${topic()}",
                        "partitionKey": "${timestamp()}",
                        "roleArn": "arn:aws:iam::123456789012:role/aws_iot_kinesis"
                    }
                }
            ]
        }
    }"#;
    let rule = RuleDocument::from_json(second, Some("second")).expect("the second example");
    assert_eq!(
        rule.actions,
        [kinesis("${topic()}", Some("${timestamp()}"), ROLE)]
    );
}

#[test]
fn all_forms_say_the_same() {
    let payload = json!({
        "sql": "SELECT * FROM 'a'",
        "description": "d",
        "ruleDisabled": true,
        "awsIotSqlVersion": "beta",
        "actions": [
            {"kinesis": {"streamName": "s", "roleArn": ROLE}},
            {"dynamoDBv2": {"roleArn": ROLE, "putItem": {"tableName": "t"}}},
        ],
        "errorAction": {"sns": {"targetArn": "arn", "roleArn": ROLE}},
        "somethingNew": 1,
    });
    let expected = read(&payload).expect("the payload form");
    assert!(expected.disabled);
    assert_eq!(expected.actions[0], kinesis("s", None, ROLE));
    assert_eq!(expected.actions[1].kind(), "dynamoDBv2");
    let mut described = payload.clone();
    described["ruleName"] = json!("r");
    described["createdAt"] = json!(1_700_000_000.5);
    let properties = json!({
        "RuleName": "r",
        "Tags": [{"Key": "k", "Value": "v"}],
        "TopicRulePayload": {
            "Sql": "SELECT * FROM 'a'",
            "Description": "d",
            "RuleDisabled": "true",
            "AwsIotSqlVersion": "beta",
            "Actions": [
                {"Kinesis": {"StreamName": "s", "RoleArn": ROLE}},
                {"DynamoDBv2": {"RoleArn": ROLE, "PutItem": {"TableName": "t"}}},
            ],
            "ErrorAction": {"Sns": {"TargetArn": "arn", "RoleArn": ROLE}},
        },
    });
    for form in [
        json!({"ruleName": "r", "topicRulePayload": payload, "tags": "k=v"}),
        json!({"ruleArn": "arn:aws:iot:eu-west-1:123456789012:rule/r", "rule": described}),
        json!({"Type": "AWS::IoT::TopicRule", "Properties": properties}),
        properties,
    ] {
        let bytes = form.to_string();
        assert_eq!(
            RuleDocument::from_json(bytes.as_bytes(), None).as_ref(),
            Ok(&expected),
            "{bytes}"
        );
        assert_eq!(read(&form).as_ref(), Ok(&expected), "{bytes}");
    }
}

#[test]
fn a_document_that_says_little_gets_the_defaults_of_aws() {
    let rule = read(&json!({"sql": "", "actions": []}))
        .expect("an empty statement is for the parser to refuse");
    assert_eq!(
        rule,
        RuleDocument {
            name: "r".to_owned(),
            sql: String::new(),
            description: None,
            disabled: false,
            version: SqlVersion::V2015,
            actions: Vec::new(),
            error_action: None,
        }
    );
}

#[test]
fn refusals_name_the_member_and_what_to_do() {
    let action = |action| json!({"sql": "SELECT * FROM 'a'", "actions": [action]});
    for (document, code, message, help) in [
        (
            json!([]),
            "R102",
            "not a rule document: it is not a JSON object",
            Some("an object with \"sql\" and \"actions\""),
        ),
        (
            json!({"Type": "AWS::SNS::Topic"}),
            "R102",
            "not a rule document: it is a resource of type \"AWS::SNS::Topic\", not \"AWS::IoT::TopicRule\"",
            None,
        ),
        (
            json!({"rules": []}),
            "R102",
            "not a rule document: it has none of the members \"sql\", \"topicRulePayload\", \"rule\", \"TopicRulePayload\"",
            None,
        ),
        (json!({"actions": []}), "R105", "sql is missing", None),
        (
            json!({"sql": "SELECT * FROM 'a'"}),
            "R105",
            "actions is missing",
            None,
        ),
        (
            json!({"sql": 1, "actions": []}),
            "R106",
            "sql is not a string",
            None,
        ),
        (
            json!({"sql": "", "actions": {}}),
            "R106",
            "actions is not an array",
            None,
        ),
        (
            json!({"sql": "", "actions": [], "ruleDisabled": "yes"}),
            "R106",
            "ruleDisabled is not a boolean",
            None,
        ),
        (
            json!({"sql": "", "actions": [], "awsIotSqlVersion": "2016-03-24"}),
            "R111",
            "unknown awsIotSqlVersion \"2016-03-24\"",
            Some("known are \"2015-10-08\", \"2016-03-23\", \"beta\""),
        ),
        (
            json!({"sql": "", "actions": [], "ruleName": "other"}),
            "R104",
            "the document is for rule \"other\", but it is stored as \"r\"",
            Some("name the file after the rule, or remove \"ruleName\" from the document"),
        ),
        (
            json!({"sql": "x".repeat(128 * 1024), "actions": []}),
            "R107",
            "document too large: 131095 > 131072 bytes",
            None,
        ),
        (
            json!({"sql": "", "actions": vec![json!({"sns": {}}); 11]}),
            "R108",
            "too many actions: 11 > 10",
            None,
        ),
        (
            action(json!({})),
            "R109",
            "actions[0] has 0 keys; an action has exactly one, its name",
            None,
        ),
        (
            action(json!({"sns": {}, "sqs": {}})),
            "R109",
            "actions[0] has 2 keys; an action has exactly one, its name",
            None,
        ),
        (
            action(json!({"kinesis": {"roleArn": "r"}})),
            "R105",
            "actions[0].kinesis.streamName is missing",
            None,
        ),
        (
            action(json!({"kinesis": {"streamName": "s"}})),
            "R105",
            "actions[0].kinesis.roleArn is missing",
            Some("AWS IoT requires it"),
        ),
        (
            action(json!({"kinesis": {"stream": "s", "roleArn": "r"}})),
            "R110",
            "unknown member \"stream\" in actions[0].kinesis",
            Some("did you mean \"streamName\"?"),
        ),
        (
            action(json!({"kinesis": {"streamName": "s", "partitionkey": "k", "roleArn": "r"}})),
            "R110",
            "unknown member \"partitionkey\" in actions[0].kinesis",
            Some("did you mean \"partitionKey\"?"),
        ),
        (
            action(json!({"kinesis": {"streamName": {"Ref": "S"}, "roleArn": "r"}})),
            "R112",
            "actions[0].kinesis.streamName holds the CloudFormation function \"Ref\", which only CloudFormation can resolve",
            Some("aws iot get-topic-rule"),
        ),
    ] {
        let error = read(&document).expect_err(message);
        assert_eq!(error.code(), code, "{document}");
        assert_eq!(error.to_string(), message);
        if let Some(help) = help {
            assert!(
                error.help().is_some_and(|text| text.contains(help)),
                "{:?}",
                error.help()
            );
        }
    }
    let Err(DocumentError::Json { line, column, .. }) =
        RuleDocument::from_json(b"{\n  \"sql\": ,\n}", None)
    else {
        panic!("broken JSON was read");
    };
    assert_eq!((line, column), (2, 10));
}

proptest! {
    #[test]
    fn no_document_makes_the_reader_panic(text in "[\\[\\]{}:,\"a-z0-9 ]{0,60}", member in "sql|actions|kinesis|rule|Type|Properties") {
        RuleDocument::from_json(text.as_bytes(), Some("r")).ok();
        for value in [json!(null), json!([]), json!({}), json!([[]]), json!([{"kinesis": []}]), json!(text)] {
            let document = json!({"sql": "SELECT *", "actions": [], member.as_str(): value});
            read(&document).ok();
            read(&json!({member.as_str(): value, "TopicRulePayload": value})).ok();
        }
    }
}

#[test]
fn names_are_those_of_aws() {
    let named = |name: &str| RuleDocument::from_json(br#"{"sql": "", "actions": []}"#, Some(name));
    for name in ["r", "Rule_1", &"x".repeat(128)] {
        assert!(named(name).is_ok(), "{name}");
    }
    for name in ["", "a-b", "a b", "é", "a.b", &"x".repeat(129)] {
        assert!(
            matches!(named(name), Err(DocumentError::Name { .. })),
            "{name}"
        );
    }
    assert_eq!(
        RuleDocument::from_json(br#"{"sql": "", "actions": []}"#, None),
        Err(DocumentError::NoName)
    );
}

#[test]
fn a_role_that_cloudformation_would_fill_in_is_kept() {
    let rule = read(
        &json!({"Properties": {"TopicRulePayload": {"Sql": "SELECT *", "Actions": [
            {"Kinesis": {"StreamName": "s", "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]}}},
        ]}}}),
    )
    .expect("a role may stay open");
    assert_eq!(
        rule.actions,
        [kinesis("s", None, r#"{"Fn::GetAtt":["Role","Arn"]}"#)]
    );
}
