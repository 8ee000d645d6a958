//! `mosquitto_pub`, `mosquitto_sub` and a browser: from PATH, or from Debian packages that are
//! unpacked without being installed.

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

/// A browser that runs without a window, under the name `chromium`.
pub(super) fn browser(folder: &Path, tools: &mut BTreeMap<&'static str, Tool>) -> Result<()> {
    let found = BROWSERS.iter().find_map(|name| process::on_path(name));
    let tool = match found {
        Some(program) => Tool::new([program]),
        None => unpacked_browser(folder)
            .context("a browser is needed: package `chromium` (Debian, Homebrew)")?,
    };
    tools.insert("chromium", tool);
    Ok(())
}

/// The names under which a browser of this family may be on PATH.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const BROWSER: &str = "chromium";

fn unpacked_browser(folder: &Path) -> Result<Tool> {
    let usr = folder.join("usr");
    if !is_current(folder, BROWSER) {
        start_over(folder)?;
        let packages = missing_for(BROWSER).or_else(|_| {
            println!("the package lists may be old or empty: apt-get update");
            process::output(&mut apt_get("update"))?;
            missing_for(BROWSER)
        })?;
        fetch(folder, &packages)?;
        set_current(folder, BROWSER)?;
    }
    let program = usr.join("lib").join("chromium").join("chromium");
    let libraries = folder_with(&usr.join("lib"), "libgtk-3.so.0")?;
    // Some libraries lie in folders that only an installed package is linked to.
    let paths = std::env::join_paths([libraries.join("pulseaudio"), libraries])?;
    Ok(Tool::new([&program]).with("LD_LIBRARY_PATH", Path::new(&paths)))
}

/// The package and those that it needs and that are not installed.
fn missing_for(package: &str) -> Result<Vec<String>> {
    let mut simulate = apt_get("install");
    simulate.args(["--simulate", "--no-install-recommends", package]);
    let planned = process::output(&mut simulate)?;
    let lines = planned.lines();
    let names: Vec<_> = lines
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        bail!("apt-get would install nothing for {package}: {planned}");
    }
    Ok(names)
}

fn unpacked(folder: &Path) -> Result<Vec<Tool>> {
    let wanted = PACKAGES.join("\n");
    if !is_current(folder, &wanted) {
        start_over(folder)?;
        fetch(folder, &PACKAGES.map(str::to_owned))?;
        set_current(folder, &wanted)?;
    }
    let usr = folder.join("usr");
    let libraries = folder_with(&usr.join("lib"), LIBRARY)?;
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

fn fetch(folder: &Path, packages: &[String]) -> Result<()> {
    if process::on_path("apt-get").is_none() || process::on_path("dpkg").is_none() {
        bail!("neither on PATH, nor are there apt-get and dpkg to fetch them with");
    }
    println!("fetching {}", packages.join(", "));
    let download = || process::output(apt_get("download").current_dir(folder).args(packages));
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

/// The folder of unpacked libraries that has this one; its name contains the machine's architecture.
fn folder_with(lib: &Path, library: &str) -> Result<PathBuf> {
    let folders = fs::read_dir(lib).with_context(|| format!("cannot list {}", lib.display()))?;
    folders
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|folder| folder.join(library).exists())
        .with_context(|| format!("no {library} under {}", lib.display()))
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
