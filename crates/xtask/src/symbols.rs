//! Checks in the symbols of the built program that what rumqttd brings along stays outside.
//!
//! rumqttd names an exporter with an older hyper and an older metrics registry. Only its codec
//! is called, so the linker has nothing to keep of the rest; this proves that it is so.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// Crates of which the program contains one version.
const ONCE: [&str; 2] = ["hyper", "metrics"];
const CODEC: &str = "rumqttd";
const CODEC_MODULE: &str = "protocol";
const OTHER_MODULES: [&str; 4] = ["link", "router", "segments", "server"];

/// Fails if the program contains two versions of a crate, or more of rumqttd than its codec.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let program = workspace.program();
    let bytes = fs::read(&program)
        .with_context(|| format!("cannot read {}; build it first", program.display()))?;
    let wrong = violations(&bytes);
    if !wrong.is_empty() {
        bail!("{}:\n  {}", program.display(), wrong.join("\n  "));
    }
    println!("one {}, of {CODEC} the codec only", ONCE.join(", one "));
    Ok(())
}

fn violations(program: &[u8]) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in ONCE {
        let versions = versions(program, name).len();
        if versions != 1 {
            wrong.push(format!("{versions} versions of {name}"));
        }
    }
    if !has_module(program, CODEC, CODEC_MODULE) {
        wrong.push(format!("no symbol of {CODEC}::{CODEC_MODULE}"));
    }
    for module in OTHER_MODULES {
        if has_module(program, CODEC, module) {
            wrong.push(format!("symbols of {CODEC}::{module}"));
        }
    }
    wrong
}

/// The identifiers that the compiler gave to the crates of this name: in a mangled symbol a crate
/// is `Cs`, the identifier, `_`, the length of its name and the name.
fn versions<'a>(program: &'a [u8], name: &str) -> BTreeSet<&'a [u8]> {
    let mut versions = BTreeSet::new();
    for at in positions(program, &mangled(name)) {
        let before = &program[..at];
        let digits = before
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_alphanumeric());
        // The identifier has base 62, so the `Cs` before it looks like a part of it; what stands
        // before the last `Cs` belongs to the path in front.
        let run = &before[at - digits.count()..];
        if let Some(start) = run.windows(2).rposition(|pair| pair == b"Cs") {
            versions.insert(&run[start + 2..]);
        }
    }
    versions
}

fn has_module(program: &[u8], name: &str, module: &str) -> bool {
    let mut path = mangled(name);
    path.extend(format!("{}{module}", module.len()).bytes());
    positions(program, &path).next().is_some()
}

fn mangled(name: &str) -> Vec<u8> {
    format!("_{}{name}", name.len()).into_bytes()
}

fn positions<'a>(program: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let windows = program.windows(wanted.len()).enumerate();
    windows.filter_map(move |(at, window)| (window == wanted).then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "_RNvNtCs8aBc_5hyper6client4send\0_RNvCsZZ9_7metrics3set\0\
                         _RNvMNtNtCsk1_7rumqttd8protocol2v4V4read\0_RNvCs1_10hyper_util3new\0";

    #[test]
    fn a_program_with_one_version_of_each_and_only_the_codec_passes() {
        assert_eq!(violations(CLEAN.as_bytes()), Vec::<String>::new());
    }

    #[test]
    fn a_second_version_is_seen_by_its_identifier() {
        let program = format!("{CLEAN}_RNvNtCs8aBc_5hyper6server\0_RNvNtCsOld_5hyper6server\0");
        assert_eq!(violations(program.as_bytes()), ["2 versions of hyper"]);
    }

    #[test]
    fn the_broker_that_comes_with_the_codec_is_seen() {
        let program = format!("{CLEAN}_RNvMNtCsk1_7rumqttd6routerNtB2_6Router3run\0");
        assert_eq!(
            violations(program.as_bytes()),
            ["symbols of rumqttd::router"]
        );
    }

    #[test]
    fn a_program_without_symbols_proves_nothing_and_fails() {
        assert_eq!(violations(b"stripped").len(), 3);
    }
}
