//! Checks in the built program that what rumqttd brings along stays outside.
//!
//! rumqttd names an exporter with an older hyper and an older metrics registry. Only its codec
//! is called, so the linker has nothing to keep of the rest. Two traces prove that it is so: the
//! names of functions, and the source files that the messages of panics name.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// Without these the check would pass for a program without any trace.
const PRESENT: [&str; 2] = ["7rumqttd8protocol", "/hyper-1."];

/// Modules of rumqttd in the two forms that names of functions have, and source files.
const ABSENT: [&str; 10] = [
    "7rumqttd4link",
    "7rumqttd6router",
    "7rumqttd6server",
    "7rumqttd8segments",
    "rumqttd..link",
    "rumqttd..router",
    "rumqttd..server",
    "/hyper-0.",
    "/metrics-0.22.",
    "/metrics-exporter-prometheus-0.13.",
];

/// Fails if the program contains more of rumqttd than its codec.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let program = workspace.program();
    let bytes = fs::read(&program)
        .with_context(|| format!("cannot read {}; build it first", program.display()))?;
    let wrong = violations(&bytes);
    if !wrong.is_empty() {
        bail!("{} has {}", program.display(), wrong.join(", "));
    }
    println!("of rumqttd the codec only");
    Ok(())
}

fn violations(program: &[u8]) -> Vec<String> {
    let has = |trace: &str| {
        program
            .windows(trace.len())
            .any(|at| at == trace.as_bytes())
    };
    let missing = PRESENT.into_iter().filter(|trace| !has(trace));
    let extra = ABSENT.into_iter().filter(|trace| has(trace));
    missing
        .map(|trace| format!("no trace of `{trace}`"))
        .chain(extra.map(|trace| format!("a trace of `{trace}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODEC_ONLY: &str = "_ZN7rumqttd8protocol2v44read17h0E\0/registry/hyper-1.12.0/src/ext.rs\
                              \0/registry/metrics-0.24.6/src/lib.rs\0";

    #[test]
    fn a_program_with_only_the_codec_passes() {
        assert_eq!(violations(CODEC_ONLY.as_bytes()), Vec::<String>::new());
    }

    #[test]
    fn the_broker_and_the_crates_that_come_with_the_codec_are_seen() {
        for trace in [
            "_ZN7rumqttd6router7routing3run17h0E",
            "_ZN4core3ptr45drop_in_place$LT$rumqttd..router..Router$GT$17h0E",
            "_RNvMNtCsk1_7rumqttd6serverNtB2_6Broker3new",
            "/registry/hyper-0.14.32/src/server/conn.rs",
            "/registry/metrics-0.22.4/src/recorder.rs",
        ] {
            let program = format!("{CODEC_ONLY}{trace}\0");
            assert_eq!(violations(program.as_bytes()).len(), 1, "{trace}");
        }
    }

    #[test]
    fn a_program_without_traces_proves_nothing_and_fails() {
        assert_eq!(violations(b"stripped").len(), PRESENT.len());
    }
}
