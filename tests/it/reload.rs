//! Reading the configuration again while messages flow.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{self, Builder, Forebay};
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::{http, kinesis, process, wait};
use serde_json::{Value, json};

use crate::bed::{self, Bed, LIMIT};
use crate::control_api::document;

fn write(forebay: &Forebay, path: &str, text: &str) -> Result<()> {
    fs::write(forebay.folder().join(path), text).with_context(|| path.to_owned())
}

/// `forebay reload`, by the token in its usual place.
fn reload(forebay: &Forebay) -> Result<process::Finished> {
    let mut command = forebay::command(["reload", "--json", "--admin"])?;
    command
        .arg(format!("http://{}", forebay.admin()))
        .current_dir(forebay.folder());
    process::run("forebay", &mut command, LIMIT)
}

fn applied(forebay: &Forebay) -> Result<Value> {
    let finished = reload(forebay)?.expect_success()?;
    serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))
}

#[test]
fn rules_settings_and_the_log_level_change_without_a_restart() -> Result<()> {
    let bed = Bed::start(&["telemetry:1"], |builder| {
        builder.kinesis_rule("old", "SELECT n, 'old' AS by FROM 'a'", "telemetry", "k")
    })?;
    let forebay = &bed.forebay;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "device")?;
    let mut publish = |n: u32| client.publish(Publish::new("a", json!({ "n": n }).to_string(), 1));
    publish(0)?;

    fs::remove_file(forebay.folder().join("rules.d/old.json"))?;
    let new = document("SELECT n, 'new' AS by FROM 'a'", "telemetry");
    write(forebay, "rules.d/new.json", &new.to_string())?;
    let config = fs::read_to_string(forebay.folder().join("forebay.toml"))?;
    let changed = config
        .replace("[log]\n", "[log]\nlevel = \"debug\"\n")
        .replace("name = \"under-test\"", "name = \"renamed\"")
        + "\n[[rules.inline]]\nname = \"inline\"\nsql = \"SELECT n, 'inline' AS by FROM 'a'\"\nsql_version = \"2016-03-23\"\n\
           [rules.inline.action.kinesis]\nstream_name = \"telemetry\"\npartition_key = \"k\"\n\
           [rule.new]\nordering = \"strict\"\n";
    write(forebay, "forebay.toml", &changed)?;
    let done = applied(forebay)?;
    ensure!(done["rules"] == 2, "{done:#}");
    ensure!(
        done["changed_rules"] == json!(["inline", "new", "old"]),
        "{done:#}"
    );
    ensure!(done["applied"] == json!(["log.level"]), "{done:#}");
    ensure!(done["needs_restart"] == json!(["server.name"]), "{done:#}");
    publish(1)?;
    client.ping()?;
    client.disconnect()?;

    let records = kinesis::read_until(&bed.streams.endpoint(), "telemetry", 3, LIMIT)?;
    let mut by: Vec<String> = Vec::new();
    for record in &records {
        let record = record.json()?;
        by.push(format!(
            "{} {}",
            record["n"],
            record["by"].as_str().unwrap_or_default()
        ));
    }
    by.sort();
    ensure!(by == ["0 old", "1 inline", "1 new"], "{by:?}");
    let metrics = forebay.metrics()?;
    ensure!(metrics.value("forebay_rules_loaded", &[])? == 2.0);
    ensure!(metrics.value("forebay_rules_reload_total", &[("result", "applied")])? == 1.0);
    let again = applied(forebay)?;
    ensure!(
        again["changed_rules"] == json!([]) && again["applied"] == json!([]),
        "{again:#}"
    );
    ensure!(
        again["needs_restart"] == json!(["server.name"]),
        "{again:#}"
    );
    bed.stop()
}

/// Whatever is wrong leaves everything as it was, and says what it is.
#[test]
fn what_is_wrong_leaves_the_rules_in_force() -> Result<()> {
    let bed = Bed::start(&["telemetry:1"], |builder| {
        builder.kinesis_rule("good", "SELECT * FROM 'a'", "telemetry", "k")
    })?;
    let forebay = &bed.forebay;
    let config = fs::read_to_string(forebay.folder().join("forebay.toml"))?;
    let good = fs::read_to_string(forebay.folder().join("rules.d/good.json"))?;
    for (path, text, part) in [
        (
            "rules.d/bad.json",
            "{\"sql\": \"SELECT * FROM x\", \"actions\": []}",
            "R005",
        ),
        ("rules.d/bad.json", "not JSON", "R101"),
        ("rules.d/.meta/good.json", "not JSON", ".meta/good.json"),
        ("forebay.toml", "[server]\nnme = \"x\"\n", "nme"),
        ("forebay.toml", "[server\n", "not TOML"),
    ] {
        let file = forebay.folder().join(path);
        fs::create_dir_all(file.parent().context("a folder")?)?;
        // The rule would be gone, were anything applied.
        fs::remove_file(forebay.folder().join("rules.d/good.json"))?;
        if path.contains(".meta") {
            write(forebay, "rules.d/good.json", &good.replace("'a'", "'b'"))?;
        }
        fs::write(&file, text)?;
        let finished = reload(forebay)?;
        ensure!(
            finished.code() == Some(78) && finished.stderr.contains(part),
            "{path}: {finished:?}"
        );
        let mut client = Client::simple(forebay.mqtt(), Version::V5, "device")?;
        client.publish(Publish::new("a", "{}", 1))?;
        client.disconnect()?;
        fs::remove_file(&file)?;
        write(forebay, "rules.d/good.json", &good)?;
        write(forebay, "forebay.toml", &config)?;
    }
    let metrics = forebay.metrics()?;
    ensure!(metrics.value("forebay_rules_reload_total", &[("result", "refused")])? == 5.0);
    ensure!(metrics.sum("forebay_rule_matched_total", &[("rule", "good")]) == 5.0);
    let done = applied(forebay)?;
    ensure!(done["changed_rules"] == json!([]), "{done:#}");
    bed.stop()
}

#[test]
fn sighup_reloads_and_ends_nothing() -> Result<()> {
    let mut forebay = Builder::new()?.start()?;
    let reloads = |forebay: &Forebay| forebay.events("reloaded").len();
    write(
        &forebay,
        "rules.d/late.json",
        &document("SELECT * FROM 'a'", "s").to_string(),
    )?;
    forebay.process().hang_up()?;
    wait::until_true("the reload", LIMIT, || Ok(reloads(&forebay) == 1))?;
    ensure!(forebay.metrics()?.value("forebay_rules_loaded", &[])? == 1.0);
    write(&forebay, "rules.d/late.json", "{}")?;
    forebay.process().hang_up()?;
    wait::until_true("the refusal", LIMIT, || {
        Ok(!forebay
            .events("reload refused: everything stays as it was")
            .is_empty())
    })?;
    ensure!(forebay.metrics()?.value("forebay_rules_loaded", &[])? == 1.0);
    bed::stop(forebay)
}

/// The API writes the directory that a reload reads: neither undoes the other.
#[test]
fn the_api_and_a_reload_agree() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let path = "/rules/made";
    crate::control_api::done(&forebay, "POST", path, &document("SELECT * FROM 'a'", "s"))?;
    let before = crate::control_api::call(&forebay, "GET", path, b"")?.body;
    ensure!(applied(&forebay)?["changed_rules"] == json!([]));
    ensure!(crate::control_api::call(&forebay, "GET", path, b"")?.body == before);
    // A file that nobody loaded is not overwritten.
    write(
        &forebay,
        "rules.d/by_hand.json",
        &document("SELECT * FROM 'h'", "s").to_string(),
    )?;
    let body = document("SELECT * FROM 'x'", "s").to_string();
    let refused = crate::control_api::call(&forebay, "POST", "/rules/by_hand", body.as_bytes())?;
    ensure!(
        refused.status == 409 && refused.body.contains("reload first"),
        "{refused:?}"
    );
    let bearer = forebay.bearer()?;
    let json_type = ("Content-Type", "application/json");
    let reloaded = http::post(
        forebay.admin(),
        "/api/v1/reload",
        &[("Authorization", &bearer), json_type],
        b"",
    )?;
    ensure!(
        reloaded.status == 200 && reloaded.body.contains("by_hand"),
        "{reloaded:?}"
    );
    let mut list = forebay::command(["rule", "list", "--admin"])?;
    list.arg(format!("http://{}", forebay.admin()))
        .current_dir(forebay.folder());
    let listed = process::run("forebay", &mut list, LIMIT)?.expect_success()?;
    ensure!(
        listed.stdout.contains("by_hand") && listed.stdout.contains("made"),
        "{listed:?}"
    );
    let mut lines = listed.stdout.lines();
    let made = lines.find(|line| line.starts_with("made"));
    ensure!(
        made.is_some_and(|line| line.contains(" a ") && line.ends_with("kinesis s")),
        "{listed:?}"
    );
    bed::stop(forebay)
}
