//! Usage, version, and the exit codes of commands that cannot do what they are asked.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::streams;
use tempfile::TempDir;

use super::{expect_code, expect_text, output_of, run};

#[test]
fn help_and_version_are_data() -> Result<()> {
    let help = output_of(["--help"])?;
    expect_text(
        &help,
        &[
            "run", "demo", "validate", "rule", "pub", "sub", "stream", "bench",
        ],
    )?;
    ensure!(output_of(["--version"])?.starts_with("forebay "));
    expect_text(
        &output_of(["stream", "serve", "--help"])?,
        &["--limits", "--retention"],
    )
}

#[test]
fn what_cannot_be_understood_ends_with_2() -> Result<()> {
    let cases: &[&[&str]] = &[
        &["--no-such-option"],
        &["no-such-command"],
        &["pub", "-t", "a"],
        &["pub", "-t", "a", "-m", "x", "-q", "3"],
        &["sub"],
        &["run", "--kinesis-stream", "s"],
        &["rule", "test", "--topic", "a"],
        &["stream", "serve", "--stream", "a"],
        &["stream", "tail"],
        &["bench", "quick", "--duration", "10"],
        &["bench", "quick", "--connections", "5", "--keys", "4"],
        &["demo", "--devices", "0"],
    ];
    for arguments in cases {
        let finished = run(*arguments)?;
        expect_code(&finished, 2)?;
        ensure!(
            finished.stdout.is_empty() && !finished.stderr.is_empty(),
            "{finished:?}"
        );
    }
    Ok(())
}

#[test]
fn an_address_in_use_ends_with_69_and_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for key in ["listeners.default.bind", "admin.bind"] {
        let builder = Builder::new()?.set(key, &format!("{address:?}"));
        let finished = builder.run_to_end()?;
        expect_code(&finished, 69)?;
        expect_text(&finished.stderr, &[&address])?;
    }
    let data = TempDir::new()?;
    let folder = data.path().to_string_lossy();
    let finished = run(["stream", "serve", "--bind", &address, "--data-dir", &folder])?;
    expect_code(&finished, 69)?;
    expect_text(&finished.stderr, &[&address])
}

#[test]
fn nobody_there_ends_with_69() -> Result<()> {
    let address = streams::free_address()?;
    let (broker, endpoint) = (format!("mqtt://{address}"), format!("http://{address}"));
    let cases: &[&[&str]] = &[
        &["pub", "-t", "a", "-m", "x", "-q", "1", "--broker", &broker],
        &["sub", "-t", "a", "--broker", &broker],
        &["stream", "list", "--endpoint", &endpoint],
        &["stream", "describe", "s", "--endpoint", &endpoint],
        &["stream", "tail", "s", "--endpoint", &endpoint],
        &[
            "bench",
            "quick",
            "--connections",
            "1",
            "--duration",
            "1s",
            "--broker",
            &broker,
        ],
    ];
    for arguments in cases {
        let finished = run(*arguments)?;
        expect_code(&finished, 69)?;
        expect_text(&finished.stderr, &["error: "])?;
    }
    Ok(())
}

#[test]
fn a_data_directory_that_cannot_be_used_ends_with_74() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().to_string_lossy();
    let serve = ["stream", "serve", "--bind", "127.0.0.1:0", "--data-dir"];
    let finished = run([&serve[..], &[&path]].concat())?;
    expect_code(&finished, 74)?;
    expect_text(&finished.stderr, &[&path])
}
