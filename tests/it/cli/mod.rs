//! The commands as somebody types them: what they print, and what they end with.

mod load;
mod messages;
mod rule_test;
mod settings;
mod streams;
mod usage;
mod validate;

use std::ffi::OsStr;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay;
use forebay_tests::process::{self, Finished};
use serde_json::Value;

use crate::bed::LIMIT;

/// Runs `forebay` to its end.
fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Finished> {
    process::run("forebay", &mut forebay::command(arguments)?, LIMIT)
}

/// Runs `forebay` to its end with something on standard input.
fn run_with_input(arguments: &[&str], input: &[u8]) -> Result<Finished> {
    process::run_with_input("forebay", &mut forebay::command(arguments)?, input, LIMIT)
}

/// Standard output of a command that must succeed.
fn output_of<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<String> {
    Ok(run(arguments)?.expect_success()?.stdout)
}

/// The JSON that a command prints, which must end with this code.
fn json_of(finished: &Finished, code: i32) -> Result<Value> {
    expect_code(finished, code)?;
    serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))
}

fn expect_code(finished: &Finished, code: i32) -> Result<()> {
    ensure!(
        finished.code() == Some(code),
        "not exit code {code}: {finished:?}"
    );
    Ok(())
}

fn expect_text(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    Ok(())
}

fn broker_url(broker: SocketAddr) -> String {
    format!("mqtt://{broker}")
}
