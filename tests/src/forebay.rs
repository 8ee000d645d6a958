//! The program under test: its configuration, its start, where it listens and what it logs.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::foreign;
use crate::http::{self, Response};
use crate::metrics::{self, Metrics};
use crate::process::{Finished, Process};

const START_LIMIT: Duration = Duration::from_secs(20);
const CONFIG: &str = r#"
[server]
name = "under-test"
data_dir = "data"
ack = "stored"

[spool]
segment = "16MiB"
max_bytes = "64MiB"
reserve = 0
allow_volatile = true

[listeners.default]
bind = "127.0.0.1:0"

[admin]
bind = "127.0.0.1:0"

[kinesis]
region = "us-east-1"

[log]
format = "json"
"#;

/// The `forebay` binary: `FOREBAY_BIN`, else the one built beside this test.
///
/// # Errors
/// If it has not been built.
pub fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("FOREBAY_BIN") {
        return Ok(program.into());
    }
    // This test is in the `deps` folder of its profile, the program in the profile's folder.
    let test = std::env::current_exe()?;
    let program = test.ancestors().nth(2).map(|folder| folder.join("forebay"));
    program
        .filter(|program| program.is_file())
        .context("no `forebay` beside the tests: run `cargo build --package forebay` first")
}

/// A command that runs `forebay` with these arguments, away from the developer's own settings
/// and AWS account.
///
/// # Errors
/// As [`program`].
pub fn command<S: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = S>,
) -> Result<Command> {
    let mut command = Command::new(program()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FOREBAY_") {
            command.env_remove(name);
        }
    }
    foreign::without_account(&mut command);
    command.env("NO_COLOR", "1").args(arguments);
    Ok(command)
}

/// What `forebay run` is started with: a folder with `forebay.toml` and `rules.d`, further
/// settings, environment. Listener `default` and admin are on free ports of loopback.
#[derive(Debug)]
pub struct Builder {
    folder: TempDir,
    config: String,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

/// A `forebay run` that has said it is ready.
#[derive(Debug)]
pub struct Forebay {
    process: Process,
    folder: TempDir,
    listeners: BTreeMap<String, SocketAddr>,
    admin: Option<SocketAddr>,
}

// === impl Builder ===

impl Builder {
    /// The defaults, without any rule.
    ///
    /// # Errors
    /// If there is no place for temporary files.
    pub fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("forebay-test-run-")?;
        fs::create_dir(folder.path().join("rules.d"))?;
        fs::create_dir(folder.path().join("data"))?;
        Ok(Self {
            folder,
            config: CONFIG.to_owned(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
        })
    }

    /// Replaces the whole configuration file.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.config);
        self
    }

    /// Adds text to the configuration file, usually further tables.
    #[must_use]
    pub fn more_config(mut self, toml: &str) -> Self {
        self.config.push('\n');
        self.config.push_str(toml);
        self
    }

    /// `--set key=value`; the value is TOML.
    #[must_use]
    pub fn set(self, key: &str, value: &str) -> Self {
        self.argument("--set").argument(&format!("{key}={value}"))
    }

    /// Acknowledges what is in the spool, as the program does by default: a small one. Without this, what the stream has.
    #[must_use]
    pub fn spooled(self) -> Self {
        self.set("server.ack", "\"spool\"")
    }

    /// The Kinesis endpoint.
    #[must_use]
    pub fn endpoint(self, url: &str) -> Self {
        self.set("kinesis.endpoint", &format!("{url:?}"))
    }

    /// One more argument of the command line.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// One environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes `rules.d/NAME.json`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn rule(self, name: &str, document: &Value) -> Result<Self> {
        self.file(&format!("rules.d/{name}.json"), &format!("{document:#}"))
    }

    /// Writes a rule document with one Kinesis action.
    ///
    /// # Errors
    /// As [`Self::rule`].
    pub fn kinesis_rule(
        self,
        name: &str,
        sql: &str,
        stream: &str,
        partition_key: &str,
    ) -> Result<Self> {
        let document = serde_json::json!({
            "sql": sql,
            "awsIotSqlVersion": "2016-03-23",
            "ruleDisabled": false,
            "actions": [{ "kinesis": {
                "streamName": stream,
                "partitionKey": partition_key,
                "roleArn": "arn:aws:iam::000000000000:role/ignored",
            }}],
        });
        self.rule(name, &document)
    }

    /// Writes any file beside `forebay.toml`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn file(self, path: &str, text: &str) -> Result<Self> {
        let file = self.folder.path().join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(self)
    }

    /// The folder of `forebay.toml`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// If it ends instead, or does neither within 20 s; with the end of its output.
    pub fn start(self) -> Result<Forebay> {
        let process = self.spawn()?;
        Forebay::ready(process, self.folder)
    }

    /// Starts it, expecting it to end by itself: a configuration that it must refuse.
    ///
    /// # Errors
    /// If it cannot be started, or still runs after 20 s.
    pub fn run_to_end(&self) -> Result<Finished> {
        self.spawn()?.wait(START_LIMIT)
    }

    /// Writes the configuration file and returns where it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self) -> Result<PathBuf> {
        let file = self.folder.path().join("forebay.toml");
        fs::write(&file, &self.config)?;
        Ok(file)
    }

    /// The command that starts it; the builder's folder must outlive the process.
    ///
    /// # Errors
    /// As [`Self::write`], and if the program has not been built.
    pub fn command(&self) -> Result<Command> {
        let mut command = command(["run", "-c"])?;
        command
            .arg(self.write()?)
            .args(&self.arguments)
            .envs(&self.environment)
            .current_dir(self.folder.path());
        Ok(command)
    }

    fn spawn(&self) -> Result<Process> {
        Process::spawn("forebay", &mut self.command()?)
    }
}

// === impl Forebay ===

impl Forebay {
    /// A process that logs JSON, once it has said that it is ready; `folder` is kept for it.
    ///
    /// # Errors
    /// If it ends instead, or does neither within 20 s; with the end of its output.
    pub fn ready(mut process: Process, folder: TempDir) -> Result<Self> {
        process.wait_for_line("readiness", START_LIMIT, |line| {
            event(line).is_some_and(|event| message(&event) == Some("ready"))
        })?;
        let mut forebay = Self {
            process,
            folder,
            listeners: BTreeMap::new(),
            admin: None,
        };
        for event in forebay.events("listener open") {
            let name = field(&event, "listener").context("a listener without name")?;
            forebay.listeners.insert(name.to_owned(), address(&event)?);
        }
        if let Some(event) = forebay.events("admin open").first() {
            forebay.admin = Some(address(event)?);
        }
        Ok(forebay)
    }

    /// The address of the listener `default`.
    ///
    /// # Panics
    /// If the configuration has none of that name; use [`Self::listener`] then.
    pub fn mqtt(&self) -> SocketAddr {
        self.listener("default").expect("listener `default`")
    }

    /// The address of a listener.
    ///
    /// # Errors
    /// If it has not said that this listener is open.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        let address = self.listeners.get(name).copied();
        address.with_context(|| format!("no listener `{name}` among {:?}", self.listeners))
    }

    /// The address of the admin server.
    ///
    /// # Panics
    /// If the configuration turned it off.
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the admin server is on")
    }

    /// Scrapes its metrics.
    ///
    /// # Errors
    /// As [`metrics::scrape`].
    pub fn metrics(&self) -> Result<Metrics> {
        metrics::scrape(self.admin())
    }

    /// `GET path` of the admin server as its administrator.
    ///
    /// # Errors
    /// If the server has made no token, or as [`http::get`].
    pub fn get(&self, path: &str) -> Result<Response> {
        http::send(
            self.admin(),
            "GET",
            path,
            &[("Authorization", &self.bearer()?)],
            b"",
        )
    }

    /// The file of the token that the server made at its first start.
    pub fn token_file(&self) -> PathBuf {
        self.folder().join("data/admin-token")
    }

    /// The value of an Authorization header that bears it.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn bearer(&self) -> Result<String> {
        let token = fs::read_to_string(self.token_file()).context("no admin token")?;
        Ok(format!("Bearer {}", token.trim()))
    }

    /// The process: signals, memory, CPU time, output.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The folder of its configuration and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The log events so far whose message is `wanted`.
    pub fn events(&self, wanted: &str) -> Vec<Value> {
        let log = self.process.stderr();
        let events = log.lines().filter_map(event);
        events
            .filter(|event| message(event) == Some(wanted))
            .collect()
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// If it has ended already, or does not end within `limit`.
    pub fn stop(self, limit: Duration) -> Result<Finished> {
        self.process.stop(limit)
    }

    /// Waits for its end without asking for it.
    ///
    /// # Errors
    /// If `limit` passes first; then it is killed.
    pub fn wait(self, limit: Duration) -> Result<Finished> {
        self.process.wait(limit)
    }

    /// Ends it at once with SIGKILL and returns its folder, from which it can be started again.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn kill(self) -> Result<TempDir> {
        self.process.kill()?;
        Ok(self.folder)
    }
}

/// A line of the log as JSON.
fn event(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}

fn message(event: &Value) -> Option<&str> {
    field(event, "message")
}

/// A field of a log event, whether the format nests fields or not.
pub fn field<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    event["fields"][name].as_str().or(event[name].as_str())
}

fn address(event: &Value) -> Result<SocketAddr> {
    let Some(address) = field(event, "address") else {
        bail!("no address in {event}");
    };
    address.parse().with_context(|| format!("in {event}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_log_events_are_found_nested_or_not() {
        for line in [
            r#"{"fields":{"message":"admin open","address":"127.0.0.1:9"},"level":"INFO"}"#,
            r#"{"message":"admin open","address":"127.0.0.1:9","level":"INFO"}"#,
        ] {
            let event = event(line).unwrap();
            assert_eq!(message(&event), Some("admin open"));
            assert_eq!(address(&event).unwrap().port(), 9);
        }
        assert!(event("ready").is_none());
    }
}
