//! `rule test --cases`, `rule validate`, `rule explain`, `rule list` and `rule diff` as somebody types them.

use std::path::{Path, PathBuf};

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

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
        Ok(())
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<()> {
        self.write(name, &value.to_string())
    }

    fn rule(&self, words: &[&str], input: &str) -> Result<Finished> {
        let words = [&["rule"], words].concat();
        let mut command = forebay::command(words)?;
        command.current_dir(self.0.path());
        process::run_with_input("forebay", &mut command, input.as_bytes(), LIMIT)
    }

    /// Runs a command that ends with this code and returns what it printed.
    fn expect(&self, words: &[&str], code: i32) -> Result<(String, String)> {
        let finished = self.rule(words, "")?;
        ensure!(finished.code() == Some(code), "{code}: {finished:?}");
        Ok((finished.stdout, finished.stderr))
    }
}

fn kinesis(sql: &str, key: &str) -> Value {
    json!({
        "sql": sql, "awsIotSqlVersion": "2016-03-23",
        "actions": [{"kinesis": {"streamName": "telemetry", "partitionKey": key, "roleArn": "r"}}],
    })
}

fn conformance(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conformance")
        .join(file)
}

#[track_caller]
fn same(got: &str, expected: &str) -> Result<()> {
    ensure!(got == expected, "got:\n{got}\nexpected:\n{expected}");
    Ok(())
}

#[test]
fn a_message_that_is_republished_and_a_failure_are_shown() -> Result<()> {
    let place = Place::new()?;
    let document = json!({
        "sql": "SELECT id FROM 'a'", "awsIotSqlVersion": "2016-03-23",
        "actions": [
            {"republish": {"topic": "$$aws/things/${id}/shadow/update", "qos": 1, "roleArn": "r",
                "headers": {"contentType": "application/json", "userProperties": [{"key": "k", "value": "${id}"}]}}},
            {"kinesis": {"streamName": "${id}/x", "roleArn": "r"}},
        ],
        "errorAction": {"kinesis": {"streamName": "errors", "partitionKey": "${id}", "roleArn": "r"}},
    });
    place.write_json("r.json", &document)?;
    let words = ["test", "--rule", "r.json", "--topic", "a", "--payload", "-"];
    let finished = place.rule(&words, "{\"id\": \"t1\"}")?;
    ensure!(finished.code() == Some(0), "{finished:?}");
    same(
        &finished.stdout,
        "output         {\"id\":\"t1\"}
bytes          11
topic          $aws/things/t1/shadow/update
QoS            1
content type   application/json
user k         t1
rule error     template
failure        Failed to put record. The error received was streamName: stream name \"t1/x\" is not 1 to 128 of the \
characters a-z A-Z 0-9 _ . -. Message arrived on: a, Action: kinesis, Stream: t1/x
told to        stream errors, partition key t1
",
    )
}

#[test]
fn every_case_of_the_language_passes() -> Result<()> {
    let place = Place::new()?;
    for file in ["sql.jsonl", "templates.jsonl"] {
        let file = conformance(file);
        let cases = std::fs::read_to_string(&file)?.lines().count();
        let words = ["test", "--cases", file.to_str().context("a path")?];
        let (stdout, stderr) = place.expect(&words, 0)?;
        ensure!(stderr.is_empty(), "{stderr}");
        same(
            stdout.lines().last().unwrap_or_default(),
            &format!("{cases} passed, 0 failed"),
        )?;
    }
    Ok(())
}

/// A case about `{"a": 1}` on the topic `t`.
fn case(id: &str, sql: &str, expect: &Value) -> String {
    let case = json!({
        "id": id, "sql": sql, "sqlVersion": "2016-03-23", "topic": "t", "payload": "{\"a\": 1}", "expect": expect,
    });
    format!("{case}\n")
}

#[test]
fn differences_are_shown_and_counted_by_group() -> Result<()> {
    let place = Place::new()?;
    let long = "x".repeat(200);
    let cases = [
        case(
            "g.one-1",
            "SELECT a FROM 't'",
            &json!({"text": "{\"a\":1}"}),
        ),
        case(
            "g.one-2",
            "SELECT a FROM 't'",
            &json!({"json": {"a": 2}, "text": "{\"a\":2}"}),
        ),
        case(
            "g.two-1",
            "SELECT a FROM 't' WHERE a > 1",
            &json!({"json": {"a": 1}}),
        ),
        case(
            "g.two-2",
            &format!("SELECT '{long}1' AS x FROM 't'"),
            &json!({"text": format!("{{\"x\":\"{long}2\"}}")}),
        ),
    ];
    place.write("cases.jsonl", &cases.concat())?;
    let (stdout, stderr) = place.expect(&["test", "--cases", "cases.jsonl"], 1)?;
    same(&stderr, "")?;
    let around = "x".repeat(50);
    same(
        &stdout,
        &format!(
            "g.one-2 failed (cases.jsonl)
  tried     SELECT a FROM 't'
  differs   text
  expected  {{\"a\":2}}
  got       {{\"a\":1}}
  differs   json.a
  expected  2
  got       1
g.two-1 failed (cases.jsonl)
  tried     SELECT a FROM 't' WHERE a > 1
  differs   outcome
  expected  the output {{\"a\":1}}
  got       no action: WHERE is not true
g.two-2 failed (cases.jsonl)
  tried     SELECT '{long}1' AS x FROM 't'
  differs   text
  expected  …{around}2\"}} (from character 206 of 209)
  got       …{around}1\"}} (from character 206 of 209)
group passed failed
g.one      1      1
g.two      0      2
1 passed, 3 failed
"
        ),
    )?;
    let (stdout, _) = place.expect(&["test", "--cases", "cases.jsonl", "--json"], 1)?;
    let report: Value = serde_json::from_str(&stdout)?;
    ensure!(report["passed"] == 1 && report["failed"] == 3, "{report:#}");
    ensure!(report["groups"]["g.two"]["failed"] == 2, "{report:#}");
    ensure!(
        report["failures"][0]["differences"][1]["path"] == ".a",
        "{report:#}"
    );
    Ok(())
}

#[test]
fn a_directory_may_hold_cases_of_both_forms() -> Result<()> {
    let place = Place::new()?;
    place.write(
        "cases/own.jsonl",
        &case("own-1", "SELECT a FROM 't'", &json!({"json": {"a": 1}})),
    )?;
    // As AWS's tool writes it: the number goes through binary64 before it is published.
    place.write(
        "cases/tool.json",
        "{\n  \"topic\": \"t\",\n  \"inputPayload\": {\"L1\": 36.903999599999999},\n  \
         \"inputSql\": \"SELECT L1 FROM 't'\",\n  \"expectedOutput\": {\"L1\": 36.9039996}\n}\n",
    )?;
    place.write("cases/readme.txt", "not a case")?;
    let (stdout, _) = place.expect(&["test", "--cases", "cases"], 0)?;
    same(
        &stdout,
        "group passed failed\nown        1      0\ntool       1      0\n2 passed, 0 failed\n",
    )?;
    let (stdout, _) = place.expect(&["test", "--cases", "cases/tool.json"], 0)?;
    same(&stdout, "1 passed, 0 failed\n")
}

#[test]
fn what_is_no_case_is_65_and_the_others_still_run() -> Result<()> {
    let place = Place::new()?;
    let good = case("g-1", "SELECT a FROM 't'", &json!({"json": {"a": 1}}));
    place.write("broken.jsonl", &format!("{good}{{\"id\": \"g-2\", \n"))?;
    let (stdout, stderr) = place.expect(&["test", "--cases", "broken.jsonl"], 65)?;
    same(&stdout, "1 passed, 0 failed\n")?;
    ensure!(
        stderr.contains("error[R130]: not JSON") && stderr.contains("broken.jsonl:2:"),
        "{stderr}"
    );
    // A member that nobody reads is reported; one of `expect` would be a check that is not made.
    let typo = good.replace("\"topic\"", "\"clientID\":\"c\",\"topic\"");
    place.write("typo.jsonl", &typo)?;
    let (stdout, stderr) = place.expect(&["test", "--cases", "typo.jsonl"], 0)?;
    same(&stdout, "1 passed, 0 failed\n")?;
    ensure!(
        stderr.contains("warning[R131]: unknown member `clientID`")
            && stderr.contains("did you mean `clientId`?"),
        "{stderr}"
    );
    place.write("expect.jsonl", &good.replace("\"json\"", "\"jsn\""))?;
    let (_, stderr) = place.expect(&["test", "--cases", "expect.jsonl"], 65)?;
    ensure!(
        stderr.contains("error[R131]: unknown member `jsn`"),
        "{stderr}"
    );
    place.write("rule.json", &kinesis("SELECT * FROM 'a'", "k").to_string())?;
    place.expect(&["test", "--cases", "rule.json"], 65)?;
    place.write("empty.jsonl", "")?;
    place.expect(&["test", "--cases", "empty.jsonl"], 65)?;
    place.expect(&["test", "--cases", "nowhere.jsonl"], 74)?;
    place.expect(&["test", "--cases", "broken.jsonl", "--topic", "t"], 2)?;
    place.expect(&["test", "--sql", "SELECT * FROM 'a'"], 2)?;
    Ok(())
}

#[test]
fn the_time_of_a_case_without_one_can_be_given() -> Result<()> {
    let place = Place::new()?;
    place.write(
        "now.jsonl",
        &case(
            "now-1",
            "SELECT timestamp() AS t FROM 't'",
            &json!({"json": {"t": 7}}),
        ),
    )?;
    place.expect(&["test", "--cases", "now.jsonl", "--now", "7"], 0)?;
    place.expect(&["test", "--cases", "now.jsonl"], 1)?;
    Ok(())
}

#[test]
fn documents_of_every_form_are_judged() -> Result<()> {
    let place = Place::new()?;
    let payload = kinesis("SELECT * FROM 'a'", "${topic()}");
    place.write_json("f1.json", &payload)?;
    place.write_json(
        "f2.json",
        &json!({"topicRulePayload": payload, "ruleName": "f2"}),
    )?;
    let mut described = payload.clone();
    described["ruleName"] = json!("f3");
    place.write_json("f3.json", &json!({"ruleArn": "arn", "rule": described}))?;
    let resource = json!({"Type": "AWS::IoT::TopicRule", "Properties": {"TopicRulePayload": {
        "Sql": "SELECT * FROM 'a'", "AwsIotSqlVersion": "2016-03-23",
        "Actions": [{"Kinesis": {"StreamName": "s", "PartitionKey": "k", "RoleArn": "r"}}],
    }}});
    place.write_json("more/f4.json", &resource)?;
    let (stdout, stderr) =
        place.expect(&["validate", "f1.json", "f2.json", "f3.json", "more"], 0)?;
    same(&stderr, "")?;
    same(
        &stdout,
        "f1.json: rule f1, valid\nf2.json: rule f2, valid\nf3.json: rule f3, valid\nmore/f4.json: rule f4, valid\n",
    )?;
    let finished = place.rule(&["validate", "-"], &payload.to_string())?;
    same(&finished.stdout, "stdin: rule stdin, valid\n")?;
    place.expect(&["validate", "f1.json", "nowhere.json"], 74)?;
    place.expect(&["validate"], 2)?;
    Ok(())
}

#[test]
fn everything_that_is_wrong_with_documents_is_shown_at_its_place() -> Result<()> {
    let place = Place::new()?;
    place.write(
        "shape.json",
        "{\"topicRulePayload\": {\"sql\": \"SELECT * FROM 'a'\", \"actions\": [\n  \
         {\"kinesis\": {\"streamName\": \"s\", \"partitionKee\": \"k\", \"roleArn\": \"r\"}}]}}",
    )?;
    place.write_json(
        "texts.json",
        &kinesis("SELECT uper(c) AS c FROM 'a'", "${topic(2}"),
    )?;
    let mut odd = kinesis("SELECT substring() AS s FROM 'a'", "k");
    let actions = odd["actions"].as_array_mut().context("actions")?;
    actions.push(json!({"lambda": {"functionArn": "x"}}));
    place.write_json("odd.json", &odd)?;
    let words = ["validate", "shape.json", "texts.json", "odd.json"];
    let (stdout, stderr) = place.expect(&words, 65)?;
    same(
        &stdout,
        "shape.json: not valid, 1 error\ntexts.json: rule texts, not valid, 2 errors\n\
         odd.json: rule odd, valid, 2 warnings\n",
    )?;
    same(
        &stderr,
        r#"error[R110]: unknown member "partitionKee" in actions[0].kinesis
 --> shape.json:2:35
  |
2 |   {"kinesis": {"streamName": "s", "partitionKee": "k", "roleArn": "r"}}]}}
  |                                   ^^^^^^^^^^^^^^
  |
  = help: did you mean "partitionKey"?

error[R014]: unknown function `uper`
 --> texts.json: sql, column 8
  |
1 | SELECT uper(c) AS c FROM 'a'
  |        ^^^^ did you mean `upper`?

error[R005]: expected `,` or `)`, found `}`
 --> texts.json: actions[0].kinesis.partitionKey, column 10
  |
1 | ${topic(2}
  |          ^

warning[R017]: the function `substring` takes 2 to 3 arguments, not 0: the call is Undefined
 --> odd.json: sql, column 8
  |
1 | SELECT substring() AS s FROM 'a'
  |        ^^^^^^^^^^^

warning[C013]: actions[1]: action "lambda" is not supported by this version of Forebay; it is kept and fails when it runs
--> odd.json

3 errors, 2 warnings
"#,
    )?;
    let (stdout, _) = place.expect(&["validate", "shape.json", "--json"], 65)?;
    let result: Value = serde_json::from_str(&stdout)?;
    ensure!(result["files"][0]["valid"] == false, "{result:#}");
    let diagnostic = &result["diagnostics"][0];
    ensure!(
        diagnostic["code"] == "R110" && diagnostic["line"] == 2,
        "{result:#}"
    );
    Ok(())
}

#[test]
fn a_rule_is_explained_and_its_cost_measured() -> Result<()> {
    let place = Place::new()?;
    let sql = "SELECT *, topic(2) AS d, 60 * 60 AS h FROM 'dt/+/telemetry' WHERE t > 50";
    place.write_json("rules.d/telemetry.json", &kinesis(sql, "${topic(2)}-${k}"))?;
    place.write(
        "forebay.toml",
        "[rule.telemetry]\nack = \"accept\"\nexplicit_hash_key = \"7\"\n[kinesis]\nordering = \"strict\"\n",
    )?;
    let (stdout, _) = place.expect(&["explain", "rules.d/telemetry.json"], 0)?;
    let head = stdout.split("cost per message").next().unwrap_or_default();
    same(
        head,
        &format!(
            "rule telemetry
  sql          {sql}
  version      2016-03-23
  topics       dt/+/telemetry
statement
  output       spliced: the payload's own bytes with members added before the last brace
  payload      parsed as JSON, once for all rules of the message
  reads        t
  calls        topic (asks the message)
  converts     `t` to a number, where it is none
  folded       `60 * 60` = 3600
actions[0].kinesis.partitionKey
  template     ${{topic(2)}}-${{k}}
  payload      parsed as JSON, once for all rules of the message
  reads        k
  calls        topic (asks the message)
records
  0 stream     telemetry
  0 key        ${{topic(2)}}-${{k}}
  hash key     7
settings in force
  ack          accept (rule)
  on_full      block (memory.on_full)
  ordering     strict (kinesis.ordering)
  select_star  verbatim
  on_config_error hold
"
        ),
    )?;
    // The made-up message has what the rule reads and is one that the rule selects.
    ensure!(
        stdout.contains("  topic        dt/device-1/telemetry\n"),
        "{stdout}"
    );
    ensure!(stdout.contains("  outcome      selected\n"), "{stdout}");

    place.write("payload.json", "{\"t\": 1e2, \"k\": \"x\"}")?;
    let words = [
        "explain",
        "rules.d/telemetry.json",
        "--payload",
        "payload.json",
        "--json",
    ];
    let (stdout, _) = place.expect(&words, 0)?;
    let cost = &serde_json::from_str::<Value>(&stdout)?["cost"];
    let of = |name: &str| cost[name].as_f64().unwrap_or_default();
    let (min, median, max) = (of("min_ns"), of("median_ns"), of("max_ns"));
    ensure!(min > 0.0 && min <= median && median <= max, "{cost:#}");
    ensure!(
        of("evaluations_per_round") >= 1.0 && cost["payload_bytes"] == 20,
        "{cost:#}"
    );
    let reader = cost["read_by"].as_str().unwrap_or_default();
    ensure!(reader.starts_with("the exact parser"), "{cost:#}");

    // Division is that of the configuration.
    place.write_json("half.json", &kinesis("SELECT 7 / 2 AS h FROM 'a'", "k"))?;
    let half = [
        "explain",
        "half.json",
        "--set",
        "rules.int_division=decimal",
    ];
    let (stdout, _) = place.expect(&half, 0)?;
    ensure!(stdout.contains("`7 / 2` = 3.5\n"), "{stdout}");

    let words = ["explain", "rules.d/telemetry.json", "--topic", "elsewhere"];
    let (stdout, _) = place.expect(&words, 0)?;
    ensure!(
        stdout.contains("  outcome      the topic does not match\n"),
        "{stdout}"
    );
    place.expect(&["explain", "nowhere.json"], 74)?;
    place.write_json("wrong.json", &kinesis("SELEC", "k"))?;
    place.expect(&["explain", "wrong.json"], 65)?;
    Ok(())
}

#[test]
fn rules_are_listed_from_a_configuration_or_a_directory() -> Result<()> {
    let place = Place::new()?;
    place.write_json("rules.d/a.json", &kinesis("SELECT * FROM 'dt/#'", "k"))?;
    let mut off = kinesis("SELECT *", "k");
    off["ruleDisabled"] = json!(true);
    off["actions"] = json!([{"lambda": {"functionArn": "x"}}]);
    place.write_json("rules.d/longer.json", &off)?;
    place.write(
        "forebay.toml",
        "[[rules.inline]]\nname = \"inline\"\nsql = \"SELECT * FROM 'i'\"\n[rule.inline]\nordering = \"none\"\n",
    )?;
    let (stdout, _) = place.expect(&["list", "rules.d"], 0)?;
    let note = "note: rule longer: actions[0]: action \"lambda\" is not supported by this version of Forebay; \
         it is kept and fails when it runs\n";
    same(
        &stdout,
        &format!(
            "rule    state     version     topics          actions
a       enabled   2016-03-23  dt/#            kinesis telemetry
longer  disabled  2016-03-23  (Basic Ingest)  lambda (not run)
{note}"
        ),
    )?;
    let (stdout, _) = place.expect(&["list", "--json"], 0)?;
    let rules = &serde_json::from_str::<Value>(&stdout)?["rules"];
    let names: Vec<_> = rules
        .as_array()
        .context("rules")?
        .iter()
        .map(|rule| &rule["name"])
        .collect();
    ensure!(names == ["inline", "a", "longer"], "{rules:#}");
    ensure!(
        rules[0]["settings"] == json!({"ordering": "none"}),
        "{rules:#}"
    );
    place.expect(&["list", "rules.d", "-c", "forebay.toml"], 2)?;
    place.expect(&["list", "nowhere"], 74)?;
    place.write("rules.d/bad.json", "{}")?;
    place.expect(&["list"], 78)?;
    place.expect(&["list", "rules.d"], 65)?;
    Ok(())
}

#[test]
fn rules_differ_in_what_they_do_and_not_in_how_they_look() -> Result<()> {
    let place = Place::new()?;
    place.write_json(
        "a/x.json",
        &kinesis("SELECT *, topic(2) AS d FROM 'dt/+' WHERE t > 50", "k"),
    )?;
    let same_rule = kinesis("select *,Topic( 2 ) as d\nfrom 'dt/+'   where t>50", "k");
    place.write_json("b/x.json", &json!({"topicRulePayload": same_rule}))?;
    let (stdout, _) = place.expect(&["diff", "a", "b"], 0)?;
    same(&stdout, "no difference\n")?;
    // Documents by themselves are compared whatever their files are called.
    place.write_json("y.json", &same_rule)?;
    place.expect(&["diff", "a/x.json", "y.json"], 0)?;

    place.write_json("b/x.json", &kinesis("SELECT * FROM 'dt/+'", "${topic(2)}"))?;
    place.write_json("b/only.json", &kinesis("SELECT * FROM 'o'", "k"))?;
    let (stdout, _) = place.expect(&["diff", "a", "b"], 1)?;
    same(
        &stdout,
        "--- a
+++ b
rule only
  only in the second
  + SELECT * FROM 'o'
rule x
  actions[0].kinesis.partitionKey
  - k
  + ${topic(2)}
  sql
  - SELECT * , topic ( 2 ) AS d FROM 'dt/+' WHERE t > 50
  + SELECT * FROM 'dt/+'
",
    )?;
    place.write(
        "one.toml",
        "[rules]\ndir = \"a\"\n[rule.x]\nack = \"accept\"\n",
    )?;
    let (stdout, _) = place.expect(&["diff", "one.toml", "a", "--json"], 1)?;
    let result: Value = serde_json::from_str(&stdout)?;
    let expected = json!([{"rule": "x", "member": "settings.ack", "a": "accept", "b": null}]);
    ensure!(result["differences"] == expected, "{result:#}");
    place.expect(&["diff", "a", "nowhere"], 74)?;
    place.write("c/x.json", "{}")?;
    place.expect(&["diff", "a", "c"], 65)?;
    Ok(())
}
