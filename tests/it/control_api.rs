//! AWS's own tools manage the rules of a running broker.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::http::{self, Response};
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::{foreign, kinesis, process};
use serde_json::{Value, json};

use crate::bed::{self, Bed, LIMIT};

const SUITE_LIMIT: Duration = Duration::from_secs(180);
/// What a caller on this machine sends where no keys are configured: it is looked at and not verified.
const SIGNED: (&str, &str) = (
    "Authorization",
    "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/iot/aws4_request, SignedHeaders=host, Signature=0",
);
const KEYS: &str = "AKIDGOOD:s3cret/+=\nAKIDREAD:other/secret:read\n";

/// A rule that fills a stream.
pub(crate) fn document(sql: &str, stream: &str) -> Value {
    json!({
        "sql": sql,
        "awsIotSqlVersion": "2016-03-23",
        "actions": [{ "kinesis": {
            "streamName": stream,
            "partitionKey": "${topic()}",
            "roleArn": "arn:aws:iam::000000000000:role/ignored",
        }}],
    })
}

/// Calls the API as somebody on this machine.
pub(crate) fn call(forebay: &Forebay, method: &str, path: &str, body: &[u8]) -> Result<Response> {
    http::send(forebay.admin(), method, path, &[SIGNED], body)
}

/// The same, expecting success.
pub(crate) fn done(forebay: &Forebay, method: &str, path: &str, body: &Value) -> Result<()> {
    let answer = call(forebay, method, path, body.to_string().as_bytes())?;
    ensure!(answer.status == 200, "{method} {path}: {answer:?}");
    Ok(())
}

fn suite(script: &str, forebay: &Forebay, more: &[&str], checks: usize) -> Result<()> {
    let mut command = foreign::python(script)?;
    command
        .arg(format!("http://{}", forebay.admin()))
        .args(more);
    let passed = foreign::suite(script, &mut command, SUITE_LIMIT)?;
    ensure!(
        passed.len() == checks,
        "{} checks: {passed:?}",
        passed.len()
    );
    Ok(())
}

#[test]
fn boto3_does_everything_that_it_knows_of_rules() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    suite("boto3_iot.py", &forebay, &[], 10)?;
    bed::stop(forebay)
}

#[test]
fn signatures_are_verified_where_there_are_keys() -> Result<()> {
    let builder = Builder::new()?
        .file("keys", KEYS)?
        .set("admin.access_keys_file", "\"keys\"");
    fs::set_permissions(
        builder.folder().join("keys"),
        fs::Permissions::from_mode(0o600),
    )?;
    let forebay = builder.start()?;
    let keys = ["AKIDGOOD", "s3cret/+=", "AKIDREAD", "other/secret"];
    suite("boto3_iot_keys.py", &forebay, &keys, 9)?;
    // What is only looked at without keys is verified with them.
    let answer = call(&forebay, "GET", "/rules", b"")?;
    ensure!(answer.status == 403, "{answer:?}");
    bed::stop(forebay)
}

/// Runs the AWS CLI and returns what it prints.
fn aws(forebay: &Forebay, arguments: &[&str]) -> Result<String> {
    let mut command = foreign::tool("aws")?;
    command.args(arguments).args(["--output", "json"]);
    command.args(["--endpoint-url", &format!("http://{}", forebay.admin())]);
    let finished = process::run("aws", &mut command, Duration::from_secs(60))?;
    Ok(finished.expect_success()?.stdout)
}

/// Publishes one message for each stage of the rule's life, and finds those that a rule in force should have taken.
#[test]
fn a_rule_lives_by_the_aws_cli_while_messages_flow() -> Result<()> {
    let bed = Bed::start(&["telemetry:2"], Ok)?;
    let forebay = &bed.forebay;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "device")?;
    let mut publish = |stage: &str| -> Result<()> {
        let payload = json!({ "stage": stage }).to_string();
        client.publish(Publish::new("dt/1/telemetry", payload, 1))?;
        Ok(())
    };
    let rule = |command: &str, more: &[&str]| {
        let mut arguments = vec!["iot", command];
        arguments.extend(more);
        aws(forebay, &arguments)
    };
    let named = ["--rule-name", "hot"];
    let first = document("SELECT *, 1 AS version FROM 'dt/+/telemetry'", "telemetry").to_string();
    let second = document("SELECT *, 2 AS version FROM 'dt/#'", "telemetry").to_string();
    let with_document = |text: &str| {
        let more = ["--rule-name", "hot", "--topic-rule-payload", text];
        more.map(str::to_owned)
    };

    publish("before")?;
    let creation = with_document(&first);
    let creation: Vec<&str> = creation
        .iter()
        .map(String::as_str)
        .chain(["--tags", "a=b"])
        .collect();
    rule("create-topic-rule", &creation)?;
    publish("created")?;
    rule("disable-topic-rule", &named)?;
    publish("disabled")?;
    rule("enable-topic-rule", &named)?;
    publish("enabled")?;
    let replacement = with_document(&second);
    let replacement: Vec<&str> = replacement.iter().map(String::as_str).collect();
    rule("replace-topic-rule", &replacement)?;
    publish("replaced")?;
    let shown: Value = serde_json::from_str(&rule("get-topic-rule", &named)?)?;
    ensure!(
        shown["rule"]["sql"] == "SELECT *, 2 AS version FROM 'dt/#'",
        "{shown:#}"
    );
    let listed: Value = serde_json::from_str(&rule("list-topic-rules", &[])?)?;
    ensure!(listed["rules"][0]["topicPattern"] == "dt/#", "{listed:#}");
    let arn = shown["ruleArn"].as_str().context("an ARN")?;
    let tags = rule("list-tags-for-resource", &["--resource-arn", arn])?;
    ensure!(tags.contains("\"a\"") && tags.contains("\"b\""), "{tags}");
    let kept = fs::read_to_string(forebay.folder().join("rules.d/hot.json"))?;
    let kept: Value = serde_json::from_str(&kept)?;
    ensure!(kept["sql"] == shown["rule"]["sql"], "{kept:#}");
    rule("delete-topic-rule", &named)?;
    publish("deleted")?;
    ensure!(!forebay.folder().join("rules.d/hot.json").exists());

    let records = kinesis::read_until(&bed.streams.endpoint(), "telemetry", 3, LIMIT)?;
    let mut taken = Vec::new();
    for record in &records {
        let record = record.json()?;
        taken.push((record["stage"].clone(), record["version"].clone()));
    }
    let expected = [("created", 1), ("enabled", 1), ("replaced", 2)];
    let expected = expected.map(|(stage, version)| (json!(stage), json!(version)));
    ensure!(taken == expected, "{taken:?}");
    client.disconnect()?;
    bed.stop()
}

/// What was answered is there after a restart, tags and time of creation included.
#[test]
fn rules_and_tags_outlive_the_process() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let body = document("SELECT * FROM 'a'", "s").to_string();
    let headers = [SIGNED, ("x-amz-tagging", "k=v")];
    let made = http::send(
        forebay.admin(),
        "POST",
        "/rules/kept",
        &headers,
        body.as_bytes(),
    )?;
    ensure!(made.status == 200 && made.body.is_empty(), "{made:?}");
    done(&forebay, "POST", "/rules/kept/disable", &json!({}))?;
    let tags_path = "/tags?resourceArn=arn%3Aaws%3Aiot%3Aus-east-1%3A000000000000%3Arule%2Fkept";
    let look = |forebay: &Forebay| -> Result<[String; 2]> {
        let rule = call(forebay, "GET", "/rules/kept", b"")?;
        let tags = call(forebay, "GET", tags_path, b"")?;
        ensure!(
            rule.status == 200 && tags.status == 200,
            "{rule:?} {tags:?}"
        );
        Ok([rule.body, tags.body])
    };
    let before = look(&forebay)?;
    ensure!(
        before[1] == r#"{"tags":[{"Key":"k","Value":"v"}]}"#,
        "{before:?}"
    );
    let folder = forebay.kill()?;
    let mut command = forebay_tests::forebay::command(["run", "-c", "forebay.toml"])?;
    command.current_dir(folder.path());
    let process = process::Process::spawn("forebay", &mut command)?;
    let forebay = Forebay::ready(process, folder)?;
    ensure!(look(&forebay)? == before);
    bed::stop(forebay)
}

/// A rule of the configuration is shown, and changed nowhere but there.
#[test]
fn rules_of_the_configuration_are_read_only() -> Result<()> {
    let inline = "[[rules.inline]]\nname = \"fixed\"\nsql = \"SELECT * FROM 'a'\"\n\
                  [rules.inline.action.kinesis]\nstream_name = \"s\"\n";
    let forebay = Builder::new()?.more_config(inline).start()?;
    let shown = call(&forebay, "GET", "/rules/fixed", b"")?;
    ensure!(
        shown.status == 200 && shown.body.contains("SELECT * FROM 'a'"),
        "{shown:?}"
    );
    let body = document("SELECT * FROM 'b'", "s").to_string();
    for (method, path, body) in [
        ("PATCH", "/rules/fixed", body.as_bytes()),
        ("DELETE", "/rules/fixed", b"".as_slice()),
        ("POST", "/rules/fixed/disable", b""),
        ("POST", "/rules/fixed/enable", b""),
        (
            "POST",
            "/tags",
            br#"{"resourceArn": "arn:aws:iot:us-east-1:000000000000:rule/fixed", "tags": [{"Key": "a", "Value": "b"}]}"#,
        ),
    ] {
        let refused = call(&forebay, method, path, body)?;
        let name = refused.header("x-amzn-errortype");
        ensure!(
            refused.status == 409 && name == Some("ConflictingResourceUpdateException"),
            "{method} {path}: {refused:?}"
        );
    }
    let exists = call(&forebay, "POST", "/rules/fixed", body.as_bytes())?;
    ensure!(
        exists.header("x-amzn-errortype") == Some("ResourceAlreadyExistsException"),
        "{exists:?}"
    );
    bed::stop(forebay)
}

/// Every write is in the audit trail, also the refused one, and no secret is.
#[test]
fn writes_leave_a_trail() -> Result<()> {
    let forebay = Builder::new()?
        .set("admin.audit_file", "\"audit.log\"")
        .start()?;
    let body = document("SELECT * FROM 'a'", "s");
    done(&forebay, "POST", "/rules/traced", &body)?;
    call(
        &forebay,
        "POST",
        "/rules/traced",
        body.to_string().as_bytes(),
    )?;
    call(&forebay, "GET", "/rules/traced", b"")?;
    done(&forebay, "DELETE", "/rules/traced", &json!({}))?;
    let trail = fs::read_to_string(forebay.folder().join("audit.log"))?;
    let lines: Vec<Value> = trail
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (&line["route"], &line["result"], line["after"].is_null()))
        .collect();
    let expected = [
        ("CreateTopicRule", "ok", false),
        ("CreateTopicRule", "ResourceAlreadyExistsException", true),
        ("DeleteTopicRule", "ok", true),
    ];
    ensure!(seen.len() == 3, "{trail}");
    for ((route, result, gone), expected) in seen.into_iter().zip(expected) {
        ensure!(
            (route.as_str(), result.as_str(), gone)
                == (Some(expected.0), Some(expected.1), expected.2),
            "{trail}"
        );
    }
    ensure!(lines[0]["after"] == lines[2]["before"] && lines[0]["object"] == "traced");
    let mode = fs::metadata(forebay.folder().join("audit.log"))?
        .permissions()
        .mode();
    ensure!(mode & 0o077 == 0, "{mode:o}");
    bed::stop(forebay)
}

/// What a page of another origin could make a browser send changes nothing.
#[test]
fn a_page_of_another_origin_changes_nothing() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let body = document("SELECT * FROM 'a'", "s").to_string();
    let admin = forebay.admin();
    let own = admin.to_string();
    // A form, a fetch without preflight, a page under a rebound name, and one that somehow knows the header.
    let attempts: [(&[(&str, &str)], u16); 5] = [
        (&[("Content-Type", "text/plain")], 403),
        (
            &[
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Origin", "http://evil.example"),
            ],
            403,
        ),
        (&[SIGNED, ("Origin", "http://evil.example")], 403),
        (&[SIGNED, ("Origin", "null")], 403),
        (&[SIGNED, ("Host", "evil.example")], 421),
    ];
    for (headers, status) in attempts {
        for (method, path) in [
            ("POST", "/rules/stolen"),
            ("POST", "/topics/stolen?qos=1&retain=true"),
        ] {
            let answer = http::send(admin, method, path, headers, body.as_bytes())?;
            ensure!(answer.status == status, "{headers:?}: {answer:?}");
            ensure!(
                answer
                    .headers
                    .iter()
                    .all(|(name, _)| !name.to_ascii_lowercase().starts_with("access-control-")),
                "{answer:?}"
            );
        }
    }
    let preflight = [
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "POST"),
    ];
    let answer = http::send(admin, "OPTIONS", "/rules/stolen", &preflight, b"")?;
    ensure!(answer.status == 403, "{answer:?}");
    let query = "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=0";
    let answer = http::send(
        admin,
        "POST",
        &format!("/rules/stolen{query}"),
        &[],
        body.as_bytes(),
    )?;
    ensure!(answer.status == 403, "{answer:?}");
    let listed = http::send(admin, "GET", "/rules", &[SIGNED, ("Host", &own)], b"")?;
    ensure!(listed.body == r#"{"rules":[]}"#, "{listed:?}");
    ensure!(forebay.metrics()?.sum("forebay_retained_messages", &[]) == 0.0);
    bed::stop(forebay)
}

/// Beyond loopback there must be keys or a token, and somebody must have said that nothing is encrypted.
#[test]
fn an_open_admin_port_needs_keys_or_a_token() -> Result<()> {
    let open = || -> Result<Builder> { Ok(Builder::new()?.set("admin.bind", "\"0.0.0.0:0\"")) };
    let refused = |builder: Builder, part: &str| -> Result<()> {
        let finished = builder.run_to_end()?;
        ensure!(
            finished.code() == Some(78) && finished.stderr.contains(part),
            "{part}: {finished:?}"
        );
        Ok(())
    };
    refused(open()?, "admin.access_keys_file")?;
    refused(
        open()?.set("admin.insecure", "true"),
        "admin.access_keys_file",
    )?;
    let token =
        || -> Result<Builder> { Ok(open()?.set("admin.token_file", "\"data/admin-token\"")) };
    refused(token()?, "admin.insecure")?;
    refused(
        open()?
            .set("admin.access_keys_file", "\"missing\"")
            .set("admin.insecure", "true"),
        "cannot be read",
    )?;
    let empty = open()?.file("keys", "# none\n")?;
    fs::set_permissions(
        empty.folder().join("keys"),
        fs::Permissions::from_mode(0o600),
    )?;
    refused(
        empty.set("admin.access_keys_file", "\"keys\""),
        "it holds no access key",
    )?;
    let readable = open()?.file("keys", KEYS)?;
    fs::set_permissions(
        readable.folder().join("keys"),
        fs::Permissions::from_mode(0o644),
    )?;
    refused(
        readable.set("admin.access_keys_file", "\"keys\""),
        "everybody can read it",
    )?;

    let forebay = token()?.set("admin.insecure", "true").start()?;
    let admin = ([127, 0, 0, 1], forebay.admin().port()).into();
    ensure!(http::get(admin, "/metrics")?.status == 401);
    let answer = http::send(admin, "GET", "/rules", &[SIGNED], b"")?;
    ensure!(
        answer.status == 403 && answer.body.contains("access_keys_file"),
        "{answer:?}"
    );
    let bearer = forebay.bearer()?;
    let answer = http::send(admin, "GET", "/rules", &[("Authorization", &bearer)], b"")?;
    ensure!(answer.status == 200, "{answer:?}");
    bed::stop(forebay)
}

/// A rule is replaced a thousand times while a device publishes: each message is taken by exactly one version, none is
/// lost or doubled, and no version comes back.
#[test]
fn a_rule_is_replaced_under_load() -> Result<()> {
    const REPLACEMENTS: u32 = 1000;
    let bed = Bed::start(&["telemetry:2"], Ok)?;
    let forebay = &bed.forebay;
    let version = |version: u32| {
        let sql = format!("SELECT n, {version} AS version FROM 'load/#'");
        document(&sql, "telemetry")
    };
    done(forebay, "POST", "/rules/load", &version(0))?;
    let over = AtomicBool::new(false);
    let published = thread::scope(|scope| -> Result<u32> {
        let device = scope.spawn(|| -> Result<u32> {
            let mut client = Client::simple(forebay.mqtt(), Version::V5, "device")?;
            let mut n = 0;
            while !over.load(Ordering::SeqCst) {
                let batch = (n..n + 100)
                    .map(|n| Publish::new("load/device", json!({ "n": n }).to_string(), 1));
                let outcomes = client.publish_all(batch, 50)?;
                ensure!(outcomes.len() == 100);
                n += 100;
            }
            client.disconnect()?;
            Ok(n)
        });
        let replaced = (1..=REPLACEMENTS)
            .try_for_each(|number| done(forebay, "PATCH", "/rules/load", &version(number)));
        over.store(true, Ordering::SeqCst);
        let published = device.join();
        replaced?;
        match published {
            Ok(published) => published,
            Err(_) => bail!("the device panicked"),
        }
    })?;
    let count = published as usize;
    let records = kinesis::read_until(&bed.streams.endpoint(), "telemetry", count, LIMIT)?;
    ensure!(
        records.len() == count,
        "{} records of {count} messages",
        records.len()
    );
    let mut versions = BTreeMap::new();
    for record in &records {
        let record = record.json()?;
        let number = |member: &str| record[member].as_u64().context("a number");
        let before = versions.insert(number("n")?, number("version")?);
        ensure!(before.is_none(), "twice: {record}");
    }
    ensure!(versions.len() == count && versions.keys().copied().eq(0..u64::from(published)));
    let mut last = 0;
    for (n, version) in &versions {
        ensure!(
            *version >= last,
            "message {n}: version {version} after {last}"
        );
        last = *version;
    }
    let seen: std::collections::BTreeSet<_> = versions.values().collect();
    ensure!(
        seen.len() > 10,
        "{} versions met a message of {count}",
        seen.len()
    );
    let metrics = forebay.metrics()?;
    ensure!(metrics.sum("forebay_records_conservation_difference", &[]) == 0.0);
    ensure!(metrics.sum("forebay_rule_matched_total", &[("rule", "load")]) == f64::from(published));
    ensure!(
        metrics.sum("forebay_connections", &[]) == 0.0
            || metrics.sum("forebay_disconnects_total", &[]) <= 1.0
    );
    bed.stop()
}
