//! Unmodified Kinesis clients against the embedded stream server.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::foreign;
use forebay_tests::streams::StreamServer;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// Runs a suite, which is given the endpoint, and expects so many of its checks to pass.
fn suite_passes(
    name: &str,
    checks: usize,
    command: impl FnOnce(&str) -> Result<Command>,
) -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &[])?;
    let passed = foreign::suite(name, &mut command(&server.endpoint())?, LIMIT)?;
    ensure!(
        passed.len() == checks,
        "{} checks: {passed:?}",
        passed.len()
    );
    ensure!(server.stop(Duration::from_secs(10))?.code() == Some(0));
    Ok(())
}

#[test]
fn boto3() -> Result<()> {
    suite_passes("boto3", 11, |endpoint| {
        let mut command = foreign::python("boto3_kinesis.py")?;
        command.arg(endpoint);
        Ok(command)
    })
}

#[test]
fn the_aws_cli() -> Result<()> {
    suite_passes("aws", 9, |endpoint| {
        foreign::aws_cli("aws_cli_kinesis.sh", &[endpoint])
    })
}

/// This client prefers HTTP/2, also without TLS.
#[test]
fn the_sdk_for_javascript_over_http_2() -> Result<()> {
    suite_passes("js-sdk", 10, |endpoint| {
        let mut command = foreign::node("js_sdk_kinesis.js")?;
        command.arg(endpoint);
        Ok(command)
    })
}

#[test]
fn the_sdk_for_javascript_over_http_1() -> Result<()> {
    suite_passes("js-sdk", 10, |endpoint| {
        let mut command = foreign::node("js_sdk_kinesis.js")?;
        command.args([endpoint, "http1"]);
        Ok(command)
    })
}
