//! `rule test`: what a statement makes of a message, down to the shard.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{expect_code, expect_text, json_of, run_with_input};

/// Stream sizes that the vectors know.
const SHARDS: [&str; 8] = ["1", "2", "3", "4", "7", "16", "128", "1000"];

fn rule_test(arguments: &[&str], payload: &str) -> Result<Value> {
    let all = [&["rule", "test", "--json", "--payload", "-"], arguments].concat();
    json_of(&run_with_input(&all, payload.as_bytes())?, 0)
}

/// Lines of a file of vectors. Lines end at line feeds only: keys contain other line separators.
fn vectors(file: &str) -> Result<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conformance")
        .join(file);
    let text = std::fs::read_to_string(file)?;
    let lines = text.split('\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Every eighth vector, so that all categories of keys occur, each with another number of shards.
#[test]
fn hash_and_shard_are_those_of_the_vectors() -> Result<()> {
    for (index, vector) in vectors("partition_keys.jsonl")?
        .iter()
        .enumerate()
        .step_by(8)
    {
        let key = vector["partition_key"].as_str().context("partition_key")?;
        let shards = SHARDS[index / 8 % SHARDS.len()];
        let payload = json!({ "key": key }).to_string();
        let arguments = [
            "--sql",
            "SELECT * FROM 'a'",
            "--topic",
            "a",
            "--partition-key",
            "${key}",
        ];
        let result = rule_test(&[&arguments[..], &["--shards", shards]].concat(), &payload)?;
        let record = &result["records"][0];
        let shard = vector["shard"][shards].as_u64().context("shard")?;
        ensure!(record["partition_key"] == key, "{result:#}");
        ensure!(
            record["hash_key"] == vector["hash_key"],
            "{vector}: {result:#}"
        );
        ensure!(
            record["shard"] == format!("shardId-{shard:012}"),
            "{vector}: {result:#}"
        );
    }
    Ok(())
}

#[test]
fn an_explicit_hash_key_overrides_the_hash_of_the_partition_key() -> Result<()> {
    for vector in vectors("explicit_hash_keys.jsonl")?.iter().step_by(8) {
        let key = vector["explicit_hash_key"]
            .as_str()
            .context("explicit_hash_key")?;
        let payload = json!({ "hash": key }).to_string();
        let arguments = [
            "--sql",
            "SELECT * FROM 'a'",
            "--topic",
            "a",
            "--shards",
            "16",
            "--explicit-hash-key",
            "${hash}",
        ];
        let result = rule_test(&arguments, &payload)?;
        let record = &result["records"][0];
        let shard = vector["shard"]["16"].as_u64().context("shard")?;
        ensure!(record["hash_key_from"] == "explicit", "{result:#}");
        ensure!(
            record["shard"] == format!("shardId-{shard:012}"),
            "{vector}: {result:#}"
        );
    }
    Ok(())
}

#[test]
fn the_output_is_what_the_record_will_hold() -> Result<()> {
    let sql = "SELECT temperature AS t, topic(2) AS device, timestamp() AS at, clientid() AS who \
               FROM 'dt/+' WHERE temperature > 50";
    let arguments = [
        "--sql",
        sql,
        "--topic",
        "dt/oven",
        "--client-id",
        "c-1",
        "--now",
        "1700000000000",
        "--stream",
        "plant-${plant}",
        "--partition-key",
        "${topic(2)}",
    ];
    let payload = r#"{"temperature": 51.50, "plant": 7}"#;
    let result = rule_test(&arguments, payload)?;
    let record = &result["records"][0];
    let output: Value = serde_json::from_str(record["output"].as_str().context("output")?)?;
    let wanted = json!({ "t": 51.5, "device": "oven", "at": 1_700_000_000_000_i64, "who": "c-1" });
    ensure!(output == wanted, "{result:#}");
    ensure!(
        record["stream"] == "plant-7" && record["partition_key"] == "oven",
        "{result:#}"
    );

    // For people the same, one line each.
    let all = [&["rule", "test", "--payload", "-"], &arguments[..]].concat();
    let finished = run_with_input(&all, payload.as_bytes())?.expect_success()?;
    expect_text(&finished.stdout, &["plant-7", "oven", "\"who\":\"c-1\""])
}

#[test]
fn a_where_that_says_no_is_no_failure() -> Result<()> {
    let arguments = ["--sql", "SELECT * FROM 'a' WHERE x > 1", "--topic", "a"];
    let result = rule_test(&arguments, r#"{"x": 1}"#)?;
    ensure!(
        result["matched"] == true && result["selected"] == false,
        "{result:#}"
    );
    ensure!(result["records"] == json!([]), "{result:#}");
    let result = rule_test(&["--sql", "SELECT * FROM 'a'", "--topic", "b"], "{}")?;
    ensure!(result["matched"] == false, "{result:#}");
    Ok(())
}

#[test]
fn what_cannot_be_read_ends_with_65_and_shows_where() -> Result<()> {
    let folder = TempDir::new()?;
    let document = folder.path().join("broken.json");
    std::fs::write(
        &document,
        "{\"sql\": \"SELECT * FROM 'a'\", \"actions\": [}",
    )?;
    let document = document.to_string_lossy();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--sql", "SELEKT * FROM 'a'"], &["error[R", "SELEKT", "^"]),
        (
            &["--sql", "SELECT * FROM 'a' WHERE"],
            &["error[R", "column"],
        ),
        (
            &["--sql", "SELECT uper(a) FROM 'a'"],
            &["uper", "did you mean `upper`?"],
        ),
        (&["--sql", "SELECT * FROM 'a/#/b'"], &["error[R", "a/#/b"]),
        (
            &["--sql", "SELECT * FROM 'a'", "--partition-key", "${topic("],
            &["--partition-key"],
        ),
        (
            &["--sql", "SELECT * FROM 'a'", "--sql-version", "2020-01-01"],
            &["2020-01-01"],
        ),
        (&["--rule", &document], &["broken.json:1:"]),
    ];
    for (arguments, parts) in cases {
        let fixed = ["rule", "test", "--topic", "a", "--payload", "-"];
        let finished = run_with_input(&[&fixed[..], arguments].concat(), b"{}")?;
        expect_code(&finished, 65)?;
        expect_text(&finished.stderr, parts)?;
    }
    Ok(())
}
