use forebay_core::QoS;
use serde_json::{Value, json};

use super::{Found, FoundRule, ImportError, ImportedRule, find};
use crate::{Action, DocumentError, SqlVersion};

fn found(value: Value) -> Vec<Found> {
    find(value, Some("stem")).expect("a known form")
}

fn rule(found: &Found) -> &ImportedRule {
    match &found.outcome {
        FoundRule::Rule(rule) => rule,
        other => panic!("{}: {other:?}", found.place),
    }
}

fn refusal(found: &Found) -> String {
    match &found.outcome {
        FoundRule::Refused(error) => error.to_string(),
        other => panic!("{}: {other:?}", found.place),
    }
}

fn gaps(found: &Found) -> Vec<String> {
    rule(found).gaps.iter().map(ToString::to_string).collect()
}

fn payload() -> Value {
    json!({"sql": "SELECT * FROM 'a'", "actions": [{"kinesis": {"streamName": "s", "roleArn": "r"}}]})
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn a_lone_document_is_named_by_itself_or_by_its_file() {
    let alone = found(payload());
    assert_eq!(
        (&*alone[0].place, alone[0].name.as_deref()),
        ("stem", Some("stem"))
    );
    assert_eq!(rule(&alone[0]).document.version, SqlVersion::V2015);

    let wrapped = json!({
        "topicRulePayload": payload(), "ruleName": "own", "tags": "team=iot+core&a%2Fb=%C3%A9&flag",
    });
    let wrapped = found(wrapped);
    assert_eq!(wrapped[0].name.as_deref(), Some("own"));
    assert_eq!(
        rule(&wrapped[0]).tags,
        [pair("team", "iot core"), pair("a/b", "é"), pair("flag", "")]
    );

    let mut described = payload();
    described["ruleName"] = json!("described");
    for (created, expected) in [
        (json!(1_700_000_000.25), Some(1_700_000_000_250)),
        (json!("2023-11-14T23:13:20+01:00"), Some(1_700_000_000_000)),
        (json!("yesterday"), None),
        (json!(-1e300), None),
    ] {
        described["createdAt"] = created;
        let found = found(json!({"ruleArn": "arn", "rule": described}));
        assert_eq!(found[0].name.as_deref(), Some("described"));
        assert_eq!(rule(&found[0]).created_ms, expected);
    }
    let nameless = find(payload(), None).expect("a known form");
    assert_eq!(
        refusal(&nameless[0]),
        "the document names no rule and no name was given"
    );
}

#[test]
fn what_no_tool_writes_is_no_input() {
    for value in [
        json!(1),
        json!({"a": 1}),
        json!([[], {"Type": "AWS::S3::Bucket"}]),
    ] {
        assert!(matches!(find(value, None), Err(DocumentError::Form { .. })));
    }
    // Known forms without rules.
    for value in [
        json!({"Resources": {"B": {"Type": "AWS::S3::Bucket"}}}),
        json!({"format_version": "1.0", "terraform_version": "1.9.8"}),
        json!({"values": {"root_module": {}}}),
        json!({"rules": []}),
    ] {
        assert_eq!(found(value), []);
    }
}

#[test]
fn a_list_of_rules_says_only_their_names() {
    let list =
        found(json!({"rules": [{"ruleArn": "arn", "ruleName": "a", "ruleDisabled": false}]}));
    assert_eq!(list[0].name.as_deref(), Some("a"));
    assert_eq!(list[0].outcome, FoundRule::Listed);
}

#[test]
fn descriptions_of_several_rules_are_taken_together() {
    let described = |name: &str| {
        let mut payload = payload();
        payload["ruleName"] = json!(name);
        json!({"ruleArn": "arn", "rule": payload})
    };
    let several = found(json!([described("a"), described("b")]));
    let names: Vec<_> = several
        .iter()
        .filter_map(|found| found.name.as_deref())
        .collect();
    assert_eq!(names, ["a", "b"]);
}

fn resource(payload: &Value) -> Value {
    json!({"Type": "AWS::IoT::TopicRule", "Properties": {"TopicRulePayload": payload}})
}

#[test]
fn a_template_gives_a_rule_for_each_resource() {
    let mut named = resource(&json!({
        "Sql": "SELECT * FROM 'a'", "AwsIotSqlVersion": "2016-03-23", "RuleDisabled": "true",
        "Description": {"Fn::Sub": "rule of ${AWS::StackName}"},
        "Actions": [
            {"Kinesis": {"StreamName": "s", "PartitionKey": "${topic()}", "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]}}},
            {"Lambda": {"FunctionArn": {"Fn::GetAtt": ["F", "Arn"]}}},
            {"Ref": "AWS::NoValue"},
        ],
        "ErrorAction": {"Republish": {"Topic": "errors", "Qos": 1, "RoleArn": "r",
            "Headers": {"UserProperties": [{"Key": "k", "Value": "v"}]}}},
    }));
    named["Properties"]["RuleName"] = json!("telemetry");
    named["Properties"]["Tags"] =
        json!([{"Key": "team", "Value": "iot"}, {"Key": "stage", "Value": {"Ref": "Stage"}}]);
    named["Condition"] = json!("IsProduction");
    let mut computed = resource(&json!({"Sql": "SELECT * FROM 'a'", "Actions": []}));
    computed["Properties"]["RuleName"] = json!({"Fn::Sub": "${Stage}_x"});
    let template = json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": {
        "Role": {"Type": "AWS::IAM::Role"},
        "Telemetry": named,
        "Other-Rule": computed,
    }});
    let rules = found(template);
    let [other, telemetry] = &rules[..] else {
        panic!("{rules:?}");
    };
    assert_eq!(
        (&*other.place, other.name.as_deref()),
        ("Other-Rule", Some("OtherRule"))
    );
    assert_eq!(
        gaps(other),
        ["RuleName is Fn::Sub: named after its logical id"]
    );
    assert_eq!(
        (&*telemetry.place, telemetry.name.as_deref()),
        ("Telemetry", Some("telemetry"))
    );
    assert_eq!(
        gaps(telemetry),
        [
            "taken without looking at its condition \"IsProduction\"",
            "actions[0].kinesis.roleArn is a placeholder for Fn::GetAtt",
            "actions[1].lambda.functionArn is a placeholder for Fn::GetAtt",
            "description is a placeholder for Fn::Sub",
            "Tags[1].Value is a placeholder for Ref",
            "actions[1]: action \"lambda\" is kept and not run",
        ]
    );
    let telemetry = rule(telemetry);
    assert_eq!(
        telemetry.tags,
        [pair("team", "iot"), pair("stage", r#"{"Ref":"Stage"}"#)]
    );
    let document = &telemetry.document;
    assert!(document.disabled);
    assert_eq!(document.actions.len(), 2);
    assert_eq!(
        document.actions[0].role_arn(),
        Some(r#"{"Fn::GetAtt":["Role","Arn"]}"#)
    );
    let Some(Action::Republish(republish)) = &document.error_action else {
        panic!("{:?}", document.error_action);
    };
    assert_eq!(
        (republish.qos, &*republish.topic),
        (QoS::AtLeastOnce, "errors")
    );
    let headers = republish.headers.as_ref().expect("headers");
    assert_eq!(headers.user_properties, [pair("k", "v")]);
}

#[test]
fn what_only_cloudformation_knows_refuses_the_rule_where_it_counts() {
    let sub = json!({"Fn::Sub": "x"});
    let kinesis = |stream: &Value, key: &Value| json!([{"Kinesis": {"StreamName": stream, "PartitionKey": key, "RoleArn": "r"}}]);
    let sql = json!("SELECT * FROM 'a'");
    let rule = |sql: &Value, actions: Value| json!({"Sql": sql, "Actions": actions});
    let (s, k) = (json!("s"), json!("k"));
    let mut with_error_action = rule(&sql, kinesis(&s, &k));
    with_error_action["ErrorAction"] = json!({"Fn::If": ["C", {}, {"Ref": "AWS::NoValue"}]});
    let mut disabled = rule(&sql, kinesis(&s, &k));
    disabled["RuleDisabled"] = json!({"Ref": "Off"});
    let republish = json!([{"Republish": {"Topic": sub, "RoleArn": "r"}}]);
    let conditional = json!([{"Kinesis": {"Fn::If": ["C", {}, {}]}}]);
    for (payload, field, function) in [
        (rule(&sub, kinesis(&s, &k)), "sql", "Fn::Sub"),
        (
            rule(&sql, kinesis(&json!({"Ref": "S"}), &k)),
            "actions[0].kinesis.streamName",
            "Ref",
        ),
        (
            rule(&sql, kinesis(&s, &sub)),
            "actions[0].kinesis.partitionKey",
            "Fn::Sub",
        ),
        (
            rule(&sql, republish),
            "actions[0].republish.topic",
            "Fn::Sub",
        ),
        (rule(&sql, conditional), "actions[0].kinesis", "Fn::If"),
        (rule(&sql, json!([{"Fn::If": []}])), "actions[0]", "Fn::If"),
        (rule(&sql, json!({"Fn::If": []})), "actions", "Fn::If"),
        (with_error_action, "errorAction", "Fn::If"),
        (disabled, "ruleDisabled", "Ref"),
    ] {
        let found = found(json!({"Resources": {"R": resource(&payload)}}));
        assert_eq!(
            refusal(&found[0]),
            format!(
                "{field} holds the CloudFormation function {function:?}, which only CloudFormation can resolve"
            )
        );
    }
    let looped = json!({"Fn::ForEach::Rules": ["N", ["a"], {"R${N}": resource(&json!({}))}],
        "Fn::ForEach::Buckets": ["N", ["a"], {"B${N}": {"Type": "AWS::S3::Bucket"}}]});
    let found = found(json!({"Resources": looped}));
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].outcome,
        FoundRule::Refused(ImportError::Generated("Fn::ForEach::Rules".to_owned()))
    );
}

fn terraform(values: &Value) -> Value {
    json!({"address": "aws_iot_topic_rule.r", "type": "aws_iot_topic_rule", "values": values})
}

fn state(resources: &[Value]) -> Value {
    json!({"format_version": "1.0", "values": {"root_module": {"resources": resources}}})
}

#[test]
fn a_state_of_terraform_gives_the_rules_of_all_modules() {
    let values = json!({
        "name": "hot", "description": "", "enabled": false, "sql": "SELECT * FROM 'a'",
        "sql_version": "2016-03-23", "tags": {"team": "iot"}, "tags_all": {"team": "iot"}, "id": "hot",
        "dynamodbv2": [{"put_item": [{"table_name": "t"}], "role_arn": "r"}],
        "kinesis": [
            {"stream_name": "s", "partition_key": "", "role_arn": "r"},
            {"stream_name": "t", "partition_key": "k", "role_arn": "r"},
        ],
        "republish": [{"topic": "b", "qos": 1, "role_arn": "r"}],
        "step_functions": [{"execution_name_prefix": null, "state_machine_name": "m", "role_arn": "r"}],
        "cloudwatch_alarm": [], "lambda": null,
        "error_action": [{"kinesis": [{"stream_name": "errors", "role_arn": "r"}], "s3": []}],
    });
    let plain = json!({"name": "cold", "enabled": true, "sql": "", "sql_version": "beta"});
    let state = json!({"values": {"root_module": {
        "resources": [terraform(&plain), {"type": "aws_kinesis_stream", "values": {}}],
        "child_modules": [{"child_modules": [{"resources": [terraform(&values)]}]}],
    }}});
    let rules = found(state);
    let [cold, hot] = &rules[..] else {
        panic!("{rules:?}");
    };
    assert_eq!(
        (&*cold.place, cold.name.as_deref()),
        ("aws_iot_topic_rule.r", Some("cold"))
    );
    assert!(!rule(cold).document.disabled);
    assert_eq!(
        Value::Object(rule(hot).document.to_payload()),
        json!({
            "sql": "SELECT * FROM 'a'", "awsIotSqlVersion": "2016-03-23", "ruleDisabled": true,
            "actions": [
                {"kinesis": {"streamName": "s", "roleArn": "r"}},
                {"kinesis": {"streamName": "t", "partitionKey": "k", "roleArn": "r"}},
                {"republish": {"topic": "b", "qos": 1, "roleArn": "r"}},
                {"dynamoDBv2": {"putItem": {"tableName": "t"}, "roleArn": "r"}},
                {"stepFunctions": {"stateMachineName": "m", "roleArn": "r"}},
            ],
            "errorAction": {"kinesis": {"streamName": "errors", "roleArn": "r"}},
        })
    );
    assert_eq!(rule(hot).tags, [pair("team", "iot")]);
    assert_eq!(
        gaps(hot),
        [
            "actions[3]: action \"dynamoDBv2\" is kept and not run",
            "actions[4]: action \"stepFunctions\" is kept and not run",
        ]
    );
}

#[test]
fn what_terraform_leaves_out_refuses_the_rule() {
    let with = |member: &str, value: Value| {
        let mut values = json!({"name": "r", "sql": "SELECT * FROM 'a'", "sql_version": "beta", "enabled": true});
        values[member] = value;
        refusal(&found(state(&[terraform(&values)]))[0])
    };
    assert_eq!(
        with("name", Value::Null),
        "the document names no rule and no name was given"
    );
    assert_eq!(with("sql", Value::Null), "sql is missing");
    assert_eq!(with("enabled", json!("yes")), "enabled is not a boolean");
    assert_eq!(
        with("error_action", json!([{"s3": []}])),
        "error_action has 0 action blocks; it needs one"
    );
    assert_eq!(with("tags", json!({"a": 1})), "tags is not a map of texts");
    assert_eq!(
        with("kinesis", json!([{"stream_name": "s"}])),
        "actions[0].kinesis.roleArn is missing"
    );
    assert_eq!(
        with("name", json!("a-b")),
        "rule name \"a-b\" is not 1 to 128 of the characters a-z A-Z 0-9 _"
    );
}
