//! `mosquitto_pub` and `mosquitto_sub`: from PATH, or from Debian packages that are unpacked
//! without being installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Tool, is_current, set_current, start_over};
use crate::process;

const PROGRAMS: [&str; 2] = ["mosquitto_pub", "mosquitto_sub"];
/// The clients and the two libraries that a minimal Debian or Ubuntu does not have.
const PACKAGES: [&str; 3] = ["mosquitto-clients", "libmosquitto1", "libcjson1"];
const LIBRARY: &str = "libmosquitto.so.1";

pub(super) fn mosquitto_clients(
    folder: &Path,
    tools: &mut BTreeMap<&'static str, Tool>,
) -> Result<()> {
    let on_path: Vec<_> = PROGRAMS
        .iter()
        .filter_map(|name| process::on_path(name))
        .collect();
    let found = if on_path.len() == PROGRAMS.len() {
        on_path.into_iter().map(|path| Tool::new([path])).collect()
    } else {
        unpacked(folder).context(
            "mosquitto_pub and mosquitto_sub are needed: package `mosquitto-clients` (Debian, \
             Ubuntu) or `mosquitto` (Homebrew)",
        )?
    };
    tools.extend(PROGRAMS.into_iter().zip::<Vec<Tool>>(found));
    Ok(())
}

fn unpacked(folder: &Path) -> Result<Vec<Tool>> {
    let wanted = PACKAGES.join("\n");
    if !is_current(folder, &wanted) {
        start_over(folder)?;
        fetch(folder)?;
        set_current(folder, &wanted)?;
    }
    let usr = folder.join("usr");
    let libraries = libraries(&usr.join("lib"))?;
    PROGRAMS
        .iter()
        .map(|name| {
            let program = usr.join("bin").join(name);
            let tool = Tool::new([&program]).with("LD_LIBRARY_PATH", &libraries);
            starts(&program, &libraries)?;
            Ok(tool)
        })
        .collect()
}

fn fetch(folder: &Path) -> Result<()> {
    if process::on_path("apt-get").is_none() || process::on_path("dpkg").is_none() {
        bail!("neither on PATH, nor are there apt-get and dpkg to fetch them with");
    }
    println!("fetching {}", PACKAGES.join(", "));
    let download = || process::output(apt_get("download").current_dir(folder).args(PACKAGES));
    if download().is_err() {
        println!("the package lists may be old or empty: apt-get update");
        process::output(&mut apt_get("update"))?;
        download()?;
    }
    for entry in fs::read_dir(folder)? {
        let archive = entry?.path();
        if archive.extension().is_some_and(|suffix| suffix == "deb") {
            process::output(Command::new("dpkg").arg("-x").arg(&archive).arg(folder))?;
        }
    }
    Ok(())
}

fn apt_get(verb: &str) -> Command {
    let mut command = Command::new("apt-get");
    // The unprivileged user that apt prefers for downloads cannot write into a checkout.
    command.args(["--quiet", "--option", "APT::Sandbox::User=root", verb]);
    command
}

/// The folder of the unpacked libraries; its name contains the machine's architecture.
fn libraries(lib: &Path) -> Result<PathBuf> {
    let folders = fs::read_dir(lib).with_context(|| format!("cannot list {}", lib.display()))?;
    folders
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|folder| folder.join(LIBRARY).exists())
        .with_context(|| format!("no {LIBRARY} under {}", lib.display()))
}

fn starts(program: &Path, libraries: &Path) -> Result<()> {
    let output = Command::new(program)
        .arg("--version")
        .env("LD_LIBRARY_PATH", libraries)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    // The exit status of --version is 1 in some releases, so the text has to tell.
    if !String::from_utf8_lossy(&output.stdout).contains("version") {
        bail!(
            "{} does not run here: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
