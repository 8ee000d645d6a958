//! Where settings come from, and which one wins.

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{self, Builder, Forebay};
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Connect, Publish, Version, id};
use forebay_tests::process::Process;
use forebay_tests::streams::StreamServer;
use tempfile::TempDir;

use super::{expect_code, expect_text};
use crate::bed::{self, LIMIT};

fn receive_maximum(forebay: &Forebay) -> Result<u32> {
    let wanted = Connect::new(Version::V5, "reader-of-connack");
    let (_, connack) = Client::connect(forebay.mqtt(), &wanted)?;
    connack
        .properties
        .number(id::RECEIVE_MAXIMUM)
        .context("no Receive Maximum")
}

fn limit(value: u32) -> String {
    format!("[limits]\nreceive_maximum = {value}\n")
}

fn with_file(builder: Builder) -> Result<Builder> {
    Ok(builder.more_config(&limit(20)))
}

fn with_fragments(builder: Builder) -> Result<Builder> {
    with_file(builder)?
        .file("conf.d/10.toml", &limit(30))?
        .file("conf.d/20.toml", &limit(31))
}

fn with_environment(builder: Builder) -> Result<Builder> {
    Ok(with_fragments(builder)?.env("FOREBAY__LIMITS__RECEIVE_MAXIMUM", "40"))
}

fn with_option(builder: Builder) -> Result<Builder> {
    Ok(with_environment(builder)?.set("limits.receive_maximum", "50"))
}

/// The name of a layer, what is in force with it and all before it, and how it is added.
type Layer = (&'static str, u32, fn(Builder) -> Result<Builder>);

/// Defaults, file, `conf.d` in the order of names, environment, `--set`: the later one wins.
#[test]
fn each_layer_overrides_the_one_before() -> Result<()> {
    let layers: [Layer; 5] = [
        ("defaults", 256, Ok),
        ("file", 20, with_file),
        ("conf.d", 31, with_fragments),
        ("environment", 40, with_environment),
        ("--set", 50, with_option),
    ];
    for (layer, wanted, configure) in layers {
        let forebay = configure(Builder::new()?)?.start().context(layer)?;
        ensure!(receive_maximum(&forebay)? == wanted, "{layer}");
        bed::stop(forebay)?;
    }
    Ok(())
}

/// Tables merge key by key, and a listener's own limit wins over the general one.
#[test]
fn the_environment_reaches_nested_tables() -> Result<()> {
    let builder = Builder::new()?
        .set("limits.receive_maximum", "50")
        .env("FOREBAY__LISTENERS__DEFAULT__LIMITS__RECEIVE_MAXIMUM", "7")
        .env("FOREBAY__SERVER__NAME", "from-environment");
    let forebay = builder.start()?;
    ensure!(receive_maximum(&forebay)? == 7);
    let status = forebay.get("/statusz")?.body;
    expect_text(&status, &["\"from-environment\""])?;
    bed::stop(forebay)
}

#[test]
fn a_mistake_in_the_environment_or_an_option_is_shown_there() -> Result<()> {
    let finished = Builder::new()?
        .env("FOREBAY__KINESIS__LINGR", "10ms")
        .run_to_end()?;
    expect_code(&finished, 78)?;
    expect_text(
        &finished.stderr,
        &["FOREBAY__KINESIS__LINGR", "did you mean `linger`?"],
    )?;
    let finished = Builder::new()?.set("kinesis.linger", "10").run_to_end()?;
    expect_code(&finished, 78)?;
    expect_text(
        &finished.stderr,
        &["--set", "kinesis.linger", "a duration with a unit"],
    )
}

/// `FOREBAY_CONFIG` names the file; paths in it are from its own directory.
#[test]
fn the_configuration_file_can_be_named_by_the_environment() -> Result<()> {
    let builder = Builder::new()?
        .rule(
            "named",
            &serde_json::json!({ "sql": "SELECT * FROM 'a'", "actions": [] }),
        )?
        .file("elsewhere/placeholder", "")?;
    let folder = builder.folder();
    std::fs::write(
        folder.join("named.toml"),
        "[listeners.default]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"off\"\n[log]\nformat = \"json\"\n",
    )?;
    let mut command = forebay::command(["run"])?;
    command.env("FOREBAY_CONFIG", folder.join("named.toml"));
    command.current_dir(folder.join("elsewhere"));
    let mut process = Process::spawn("forebay", &mut command)?;
    process.wait_for_line("readiness", LIMIT, |line| {
        line.contains("\"message\":\"ready\"")
    })?;
    let finished = process.stop(LIMIT)?;
    expect_code(&finished, 0)?;
    expect_text(&finished.stderr, &["\"rule\":\"named\"", "named.toml"])
}

/// A stream, a statement, and no file at all.
#[test]
fn three_options_are_a_whole_configuration() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &["--stream", "telemetry:2"])?;
    let folder = TempDir::new()?;
    let endpoint = format!("kinesis.endpoint={:?}", server.endpoint());
    let mut command = forebay::command([
        "run",
        "--kinesis-stream",
        "telemetry",
        "--rule",
        "SELECT *, clientid() AS who FROM 'dt/#'",
        "--partition-key",
        "${clientid()}",
        "--set",
        &endpoint,
        "--set",
        "listeners.default.bind=127.0.0.1:0",
        "--set",
        "admin.bind=127.0.0.1:0",
        "--set",
        "log.format=json",
    ])?;
    let process = Process::spawn("forebay", command.current_dir(folder.path()))?;
    let forebay = Forebay::ready(process, folder)?;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "meter-1")?;
    client.publish(Publish::new("dt/x", "{\"t\":1}", 1))?;
    let records = kinesis::read_stream(&server.endpoint(), "telemetry")?;
    ensure!(
        records.len() == 1 && records[0].partition_key == "meter-1",
        "{records:?}"
    );
    ensure!(
        records[0].data == b"{\"t\":1,\"who\":\"meter-1\"}",
        "{records:?}"
    );
    bed::stop(forebay)
}

#[test]
fn the_log_has_text_for_people_when_asked_for() -> Result<()> {
    let builder = Builder::new()?
        .set("log.format", "\"text\"")
        .set("log.level", "\"info\"");
    let mut command = builder.command()?;
    let mut process = Process::spawn("forebay", &mut command)?;
    let line = process.wait_for_line("readiness", LIMIT, |line| line.ends_with(" ready"))?;
    ensure!(
        line.contains("INFO") && !line.contains('{') && !line.contains('\u{1b}'),
        "{line}"
    );
    expect_code(&process.stop(LIMIT)?, 0)
}
