//! `rule import` as somebody types it, with what AWS's tools print.

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay;
use forebay_tests::process::{self, Finished};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::LIMIT;

/// A directory to run in.
struct Place(TempDir);

impl Place {
    fn new() -> Result<Self> {
        Ok(Self(TempDir::new()?))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Value> {
        let text = std::fs::read_to_string(self.path(name)).with_context(|| name.to_owned())?;
        Ok(serde_json::from_str(&text)?)
    }

    fn run(&self, words: &[&str], input: &str) -> Result<Finished> {
        let mut command = forebay::command(words.to_vec())?;
        command.current_dir(self.0.path());
        process::run_with_input("forebay", &mut command, input.as_bytes(), LIMIT)
    }

    /// Runs `rule import` with this input, which ends with this code.
    fn import(&self, words: &[&str], input: &str, code: i32) -> Result<Finished> {
        let words = [&["rule", "import"], words].concat();
        let finished = self.run(&words, input)?;
        ensure!(finished.code() == Some(code), "{code}: {finished:?}");
        Ok(finished)
    }

    /// The files of a directory, in the order of their names.
    fn files(&self, name: &str) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.path(name))?;
        let names: Result<Vec<_>> = entries
            .map(|entry| entry?.file_name().into_string().ok().context("a name"))
            .collect();
        let mut names = names?;
        names.sort();
        Ok(names)
    }
}

#[track_caller]
fn same(got: &str, expected: &str) -> Result<()> {
    ensure!(got == expected, "got:\n{got}\nexpected:\n{expected}");
    Ok(())
}

/// What `aws iot get-topic-rule` prints.
fn described(name: &str) -> String {
    format!(
        r#"{{
    "ruleArn": "arn:aws:iot:eu-west-1:123456789012:rule/{name}",
    "rule": {{
        "ruleName": "{name}",
        "sql": "SELECT *, topic(2) AS device FROM 'dt/+/{name}' WHERE temp > 20",
        "description": "hot",
        "createdAt": "2024-05-02T10:11:12.345000+00:00",
        "actions": [
            {{"kinesis": {{"roleArn": "arn:aws:iam::123456789012:role/rules", "streamName": "telemetry",
                "partitionKey": "${{topic(2)}}"}}}}
        ],
        "ruleDisabled": false,
        "awsIotSqlVersion": "2016-03-23",
        "errorAction": {{"republish": {{"roleArn": "arn:aws:iam::123456789012:role/rules",
            "topic": "errors/${{topic(2)}}", "qos": 1}}}}
    }}
}}
"#
    )
}

#[test]
fn a_rule_of_aws_iot_becomes_a_file_that_the_server_takes() -> Result<()> {
    let place = Place::new()?;
    let finished = place.import(&["-"], &described("hot"), 0)?;
    ensure!(finished.stderr.is_empty(), "{}", finished.stderr);
    same(
        &finished.stdout,
        "rule  result    from  reason\nhot   imported  hot\n1 imported; written to rules.d\n",
    )?;
    let role = "arn:aws:iam::123456789012:role/rules";
    let expected = json!({
        "sql": "SELECT *, topic(2) AS device FROM 'dt/+/hot' WHERE temp > 20",
        "description": "hot", "ruleDisabled": false, "awsIotSqlVersion": "2016-03-23",
        "actions": [{"kinesis": {"roleArn": role, "streamName": "telemetry", "partitionKey": "${topic(2)}"}}],
        "errorAction": {"republish": {"roleArn": role, "topic": "errors/${topic(2)}", "qos": 1}},
    });
    ensure!(place.read("rules.d/hot.json")? == expected);
    let meta = json!({"createdAtMs": 1_714_644_672_345_i64, "tags": []});
    ensure!(place.read("rules.d/.meta/hot.json")? == meta);
    ensure!(place.files("rules.d")? == [".meta", "hot.json"]);
    let finished = place.run(&["validate", "--no-network"], "")?;
    ensure!(finished.code() == Some(0), "{finished:?}");

    // Once more it is there already; with another statement it does not take the place of the one that is there.
    let finished = place.import(&["-"], &described("hot"), 0)?;
    ensure!(
        finished.stdout.contains("1 unchanged; nothing was written"),
        "{finished:?}"
    );
    let other = described("hot").replace("temp > 20", "temp > 30");
    let finished = place.import(&["-"], &other, 1)?;
    ensure!(
        finished
            .stdout
            .contains("refused  hot   rules.d/hot.json exists and says something else"),
        "{finished:?}"
    );
    ensure!(place.read("rules.d/hot.json")? == expected);
    Ok(())
}

const TEMPLATE: &str = "
AWSTemplateFormatVersion: 2010-09-09
Parameters:
  Stage: {Type: String}
Resources:
  Stream:
    Type: AWS::Kinesis::Stream
    Properties: {ShardCount: 4}
  Telemetry:
    Type: AWS::IoT::TopicRule
    Properties:
      RuleName: telemetry
      Tags:
        - {Key: team, Value: iot}
      TopicRulePayload:
        AwsIotSqlVersion: 2016-03-23
        Sql: SELECT *, topic(2) AS device FROM 'dt/+/telemetry'
        Actions:
          - Kinesis:
              StreamName: telemetry
              PartitionKey: ${topic(2)}
              RoleArn: !GetAtt Role.Arn
  Named:
    Type: AWS::IoT::TopicRule
    Properties:
      TopicRulePayload:
        Sql: SELECT * FROM 'dt/+/named'
        Actions:
          - Kinesis: {StreamName: !Ref Stream, RoleArn: r}
";

#[test]
fn a_template_gives_what_does_not_depend_on_its_stack() -> Result<()> {
    let place = Place::new()?;
    place.write("stack.yaml", TEMPLATE)?;
    let table = "\
rule       result           from       reason
Named      refused          Named      actions[0].kinesis.streamName holds the CloudFormation function \"Ref\", which only CloudFormation can resolve
telemetry  partly imported  Telemetry  actions[0].kinesis.roleArn is a placeholder for Fn::GetAtt
";
    let finished = place.import(&["stack.yaml", "--dir", "new/rules", "--dry-run"], "", 1)?;
    let summary = "1 partly imported, 1 refused; nothing was written (--dry-run)\n";
    same(&finished.stdout, &format!("{table}{summary}"))?;
    ensure!(!place.path("new").exists());

    let finished = place.import(&["stack.yaml", "--dir", "new/rules"], "", 1)?;
    let summary = "1 partly imported, 1 refused; written to new/rules\n";
    same(&finished.stdout, &format!("{table}{summary}"))?;
    ensure!(place.files("new/rules")? == [".meta", "telemetry.json"]);
    let document = place.read("new/rules/telemetry.json")?;
    let role = &document["actions"][0]["kinesis"]["roleArn"];
    ensure!(role == r#"{"Fn::GetAtt":["Role","Arn"]}"#, "{document:#}");
    let meta = place.read("new/rules/.meta/telemetry.json")?;
    ensure!(
        meta["tags"] == json!([{"Key": "team", "Value": "iot"}]),
        "{meta:#}"
    );
    place.write("forebay.toml", "[rules]\ndir = \"new/rules\"\n")?;
    let finished = place.run(&["validate", "--no-network"], "")?;
    ensure!(finished.code() == Some(0), "{finished:?}");
    Ok(())
}

/// What `terraform show -json` prints, with a rule in a module of a module.
fn state() -> String {
    let rule = |address: &str, values: Value| json!({"address": address, "mode": "managed", "type": "aws_iot_topic_rule", "values": values});
    let kinesis = json!([{"stream_name": "telemetry", "partition_key": "", "role_arn": "r"}]);
    let first = json!({
        "name": "first", "sql": "SELECT * FROM 'dt/#'", "sql_version": "2016-03-23", "enabled": true,
        "kinesis": kinesis, "lambda": [], "error_action": [], "description": "", "tags": {"team": "iot"},
    });
    let second = json!({
        "name": "second", "sql": "SELECT * FROM 'dt/#'", "sql_version": "2015-10-08", "enabled": false,
        "kinesis": kinesis, "lambda": [{"function_arn": "f"}], "tags": null,
        "error_action": [{"sqs": [{"queue_url": "q", "role_arn": "r", "use_base64": false}], "kinesis": []}],
    });
    let third = json!({
        "name": "third", "sql": "SELECT * FROM", "sql_version": "2016-03-23", "enabled": true, "kinesis": kinesis,
    });
    json!({
        "format_version": "1.0", "terraform_version": "1.9.8",
        "values": {"root_module": {
            "resources": [rule("aws_iot_topic_rule.first", first)],
            "child_modules": [{
                "address": "module.fleet",
                "child_modules": [{"address": "module.fleet.module.rules", "resources": [
                    rule("module.fleet.module.rules.aws_iot_topic_rule.second", second),
                    rule("module.fleet.module.rules.aws_iot_topic_rule.third", third),
                ]}],
            }],
        }},
    })
    .to_string()
}

#[test]
fn the_state_of_terraform_gives_the_rules_of_all_modules() -> Result<()> {
    let place = Place::new()?;
    place.write("state.json", &state())?;
    let finished = place.import(&["state.json", "--json"], "", 1)?;
    let table: Value = serde_json::from_str(&finished.stdout)?;
    let rows = table["rules"].as_array().context("rows")?;
    let results: Vec<_> = rows
        .iter()
        .map(|row| (&row["rule"], &row["result"]))
        .collect();
    ensure!(
        json!(results)
            == json!([
                ["first", "imported"],
                ["second", "partly imported"],
                ["third", "refused"]
            ]),
        "{table:#}"
    );
    let reasons = json!([
        "actions[1]: action \"lambda\" is kept and not run",
        "errorAction: action \"sqs\" is kept and not run",
    ]);
    ensure!(rows[1]["reasons"] == reasons, "{table:#}");
    ensure!(rows[1]["from"] == "module.fleet.module.rules.aws_iot_topic_rule.second");
    ensure!(
        rows[2]["reasons"][0]
            .as_str()
            .is_some_and(|reason| reason.starts_with("sql: ")),
        "{table:#}"
    );
    ensure!(place.files("rules.d")? == [".meta", "first.json", "second.json"]);
    let second = place.read("rules.d/second.json")?;
    ensure!(second["ruleDisabled"] == true && second["awsIotSqlVersion"] == "2015-10-08");
    let finished = place.run(&["rule", "list"], "")?;
    ensure!(
        finished
            .stdout
            .contains("kinesis telemetry, lambda (not run); on failure sqs (not run)"),
        "{finished:?}"
    );
    Ok(())
}

#[test]
fn a_list_of_rules_says_what_to_ask_for() -> Result<()> {
    let place = Place::new()?;
    let list = json!({"rules": [{"ruleArn": "a", "ruleName": "hot", "topicPattern": "dt/#", "ruleDisabled": false}]});
    let finished = place.import(&["-"], &list.to_string(), 1)?;
    ensure!(
        finished.stdout.contains("hot   needs get-topic-rule"),
        "{finished:?}"
    );
    ensure!(!place.path("rules.d").exists());
    Ok(())
}

#[test]
fn rules_of_the_configuration_keep_their_names() -> Result<()> {
    let place = Place::new()?;
    let inline = "[[rules.inline]]\nname = \"hot\"\nsql = \"SELECT * FROM 'a'\"\naction.kinesis.stream_name = \"s\"\n";
    place.write("forebay.toml", inline)?;
    let finished = place.import(&["-"], &described("hot"), 1)?;
    ensure!(
        finished
            .stdout
            .contains("the configuration has a rule of this name"),
        "{finished:?}"
    );
    // Settings that are about a rule's functions count, too.
    let secret = described("secret").replace(
        "topic(2) AS device",
        "get_secret('s', 'SecretString', 'r') AS s",
    );
    let finished = place.import(&["-"], &secret, 1)?;
    ensure!(finished.stdout.contains("functions."), "{finished:?}");
    Ok(())
}

#[test]
fn what_is_no_input_ends_with_the_code_for_it() -> Result<()> {
    let place = Place::new()?;
    for (input, code, reason) in [
        ("", 65, "stdin: there is no rule in it"),
        ("{\"a\": [1", 65, "stdin: not JSON"),
        ("a: 1\na: 2\n", 65, "stdin: not YAML: line 2, column 4"),
        ("{\"a\": 1}", 65, "help: `rule import` takes"),
        ("{\"Resources\": {}}", 65, "stdin: there is no rule in it"),
    ] {
        let finished = place.import(&["-"], input, code)?;
        ensure!(finished.stderr.contains(reason), "{input}: {finished:?}");
        ensure!(finished.stdout.is_empty(), "{finished:?}");
    }
    place.import(&["missing.json"], "", 74)?;
    place.import(&[], "", 2)?;
    place.import(&["-", "--dir", "d", "-c", "forebay.toml"], "", 2)?;
    place.write("forebay.toml", "[rules]\ndirr = \"x\"\n")?;
    place.import(&["-"], &described("hot"), 78)?;
    // A file stands where the directory should be.
    place.write("taken", "")?;
    let finished = place.import(&["-", "--dir", "taken"], &described("hot"), 74)?;
    ensure!(
        finished.stderr.contains("taken/hot.json cannot be written"),
        "{finished:?}"
    );
    Ok(())
}
