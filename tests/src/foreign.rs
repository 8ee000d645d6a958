//! Other people's programs, as `cargo xtask tools` found or fetched them, and the scripts of
//! `tests/foreign` that use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::process;

/// A command that starts `name`: `aws`, `chromium`, `ministack`, `mosquitto_pub`, `mosquitto_sub`, `node` or
/// `python`. Credentials are set to something that no real service accepts.
///
/// # Errors
/// If `cargo xtask tools` has not run yet.
pub fn tool(name: &str) -> Result<Command> {
    let (file, tools) = list()?;
    let tool = &tools[name];
    let words: Option<Vec<_>> = tool["command"]
        .as_array()
        .and_then(|words| words.iter().map(Value::as_str).collect());
    let words = words.unwrap_or_default();
    let (program, arguments) = words
        .split_first()
        .with_context(|| format!("{} has no `{name}`", file.display()))?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (key, value) in tool["environment"].as_object().into_iter().flatten() {
        command.env(key, value.as_str().unwrap_or_default());
    }
    without_account(&mut command);
    Ok(command)
}

/// A command that runs a Python script of `tests/foreign`.
///
/// # Errors
/// As [`tool`].
pub fn python(script: &str) -> Result<Command> {
    scripted("python", script)
}

/// A command that runs a JavaScript file of `tests/foreign`.
///
/// # Errors
/// As [`tool`].
pub fn node(script: &str) -> Result<Command> {
    scripted("node", script)
}

/// A command that runs a shell script of `tests/foreign` with these arguments, followed by the
/// words that start the AWS CLI.
///
/// # Errors
/// As [`tool`].
pub fn aws_cli(script: &str, arguments: &[&str]) -> Result<Command> {
    let cli = tool("aws")?;
    let mut command = Command::new("bash");
    command.arg(scripts().join(script)).args(arguments);
    command.arg(cli.get_program()).args(cli.get_args());
    without_account(&mut command);
    Ok(command)
}

/// Runs a suite, which prints `ok NAME` or `FAILED NAME reason` for each of its checks, and
/// returns the names of those that passed.
///
/// # Errors
/// Its whole output if a check failed, or if it does not end within `limit`.
pub fn suite(name: &str, command: &mut Command, limit: Duration) -> Result<Vec<String>> {
    let finished = process::run(name, command, limit)?.expect_success()?;
    let passed: Vec<_> = finished
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("ok ").map(str::to_owned))
        .collect();
    ensure!(!passed.is_empty(), "{name} checked nothing");
    Ok(passed)
}

fn scripted(interpreter: &str, script: &str) -> Result<Command> {
    let mut command = tool(interpreter)?;
    command.arg(scripts().join(script));
    Ok(command)
}

/// The folder of the scripts.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign")
}

/// Takes settings of the developer's own AWS account out of a command's environment, and puts
/// credentials and a region there that reach nothing.
pub fn without_account(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
}

/// The list that `cargo xtask tools` wrote, found from where this test runs in the target folder.
fn list() -> Result<(PathBuf, Value)> {
    let program = std::env::current_exe()?;
    let file = program
        .ancestors()
        .map(|folder| folder.join("foreign").join("tools.json"))
        .find(|file| file.is_file())
        .context("no foreign tools: run `cargo xtask tools` once")?;
    let text = fs::read_to_string(&file)?;
    let tools = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    Ok((file, tools))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<Vec<String>> {
        let mut command = Command::new("sh");
        suite("sh", command.args(["-c", script]), Duration::from_secs(10))
    }

    #[test]
    fn a_suite_passes_only_if_it_checked_something_and_nothing_failed() {
        assert_eq!(run("echo ok a; echo ok b").unwrap(), ["a", "b"]);
        assert!(run("true").is_err());
        let error = run("echo ok a; echo FAILED b why; exit 1").unwrap_err();
        assert!(error.to_string().contains("FAILED b why"), "{error}");
    }
}
