//! `validate`: everything that a start would judge, without starting.

use anyhow::{Result, ensure};
use forebay_tests::forebay::{self, Builder};
use forebay_tests::process::{self, Finished};
use forebay_tests::streams::StreamServer;
use serde_json::json;
use tempfile::TempDir;

use super::{expect_code, expect_text, json_of};
use crate::bed::LIMIT;

/// Writes the configuration of `builder` and validates it.
fn validate(builder: &Builder, arguments: &[&str]) -> Result<Finished> {
    let file = builder.write()?;
    let mut command = forebay::command(["validate"])?;
    command.arg(file).args(arguments);
    process::run("forebay", &mut command, LIMIT)
}

fn with_rule() -> Result<Builder> {
    Builder::new()?.kinesis_rule(
        "telemetry",
        "SELECT * FROM 'dt/#'",
        "telemetry",
        "${topic()}",
    )
}

#[test]
fn a_good_configuration_is_summed_up() -> Result<()> {
    let finished = validate(&with_rule()?, &["--no-network", "--strict"])?;
    expect_code(&finished, 0)?;
    ensure!(finished.stderr.is_empty(), "{finished:?}");
    expect_text(
        &finished.stdout,
        &["listener default", "rule telemetry: dt/#"],
    )?;
    let result = json_of(&validate(&with_rule()?, &["--no-network", "--json"])?, 0)?;
    ensure!(
        result["valid"] == true && result["errors"] == 0,
        "{result:#}"
    );
    Ok(())
}

#[test]
fn every_mistake_is_shown_with_its_place_and_what_to_do() -> Result<()> {
    let builder = with_rule()?
        .more_config(
            "[mqtt]\nkeep_alive_max = \"20m\"\nallow_empty_client_ids = false\n\n\
             [listeners.lan]\nbind = \"0.0.0.0:1883\"\n\n\
             [memory]\ningest = \"16MB\"\n",
        )
        .file(
            "rules.d/broken.json",
            "{\"sql\": \"SELECT uper(a) FROM 'b'\", \"actions\": []}",
        )?
        .file("rules.d/worse.json", "{")?;
    let finished = validate(&builder, &["--no-network"])?;
    expect_code(&finished, 78)?;
    ensure!(finished.stdout.is_empty(), "{finished:?}");
    let parts = [
        "error[C002]: unknown key `mqtt.allow_empty_client_ids`",
        "did you mean `allow_empty_client_id`?",
        "forebay.toml:",
        "error[C006]: `listeners.lan.bind`",
        "`listeners.lan.allow_anonymous = true`",
        "write MiB",
        "rules.d/broken.json: sql, column 8",
        "did you mean `upper`?",
        "rules.d/worse.json:1:",
        "5 errors",
    ];
    expect_text(&finished.stderr, &parts)?;
    let result = json_of(&validate(&builder, &["--no-network", "--json"])?, 78)?;
    ensure!(
        result["valid"] == false && result["errors"] == 5,
        "{result:#}"
    );

    // A start says the same, and nothing is open then.
    let refused = builder.run_to_end()?;
    expect_code(&refused, 78)?;
    expect_text(&refused.stderr, &parts)
}

#[test]
fn a_warning_fails_only_a_strict_check() -> Result<()> {
    let builder = with_rule()?.more_config("[rule.\"telemetri\"]\nack = \"accept\"");
    for (arguments, code) in [
        (&["--no-network"][..], 0),
        (&["--no-network", "--strict"], 1),
    ] {
        let finished = validate(&builder, arguments)?;
        expect_code(&finished, code)?;
        expect_text(&finished.stderr, &["warning[C101]", "telemetri"])?;
    }
    Ok(())
}

#[test]
fn with_network_it_looks_at_the_streams() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &["--stream", "telemetry:3"])?;
    let builder = with_rule()?.kinesis_rule("other", "SELECT * FROM 'x'", "missing", "k")?;
    let endpoint = format!("kinesis.endpoint={:?}", server.endpoint());
    let finished = validate(&builder, &["--set", &endpoint])?;
    expect_code(&finished, 0)?;
    expect_text(
        &finished.stdout,
        &["stream telemetry: ACTIVE, 3 open shards"],
    )?;
    expect_text(
        &finished.stderr,
        &["warning[C104]", "missing", "ResourceNotFoundException"],
    )?;
    let result = json_of(
        &validate(&builder, &["--set", &endpoint, "--json", "--strict"])?,
        1,
    )?;
    ensure!(
        result["valid"] == true && result["warnings"] == json!(1),
        "{result:#}"
    );
    Ok(())
}

/// The sample of the manual.
#[test]
fn a_file_that_does_not_exist_is_an_error() -> Result<()> {
    let finished = super::run(["validate", "no-such-file.toml"])?;
    expect_code(&finished, 78)?;
    expect_text(&finished.stderr, &["no-such-file.toml"])
}
