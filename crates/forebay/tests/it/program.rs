//! Runs the program in a directory of its own, away from anybody's settings and AWS account.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for a line of a program that serves.
const LINE_WAIT: Duration = Duration::from_secs(30);
/// Lines that may wait to be read.
const LINES: usize = 10_000;

/// A directory to run in.
pub(crate) struct Place {
    directory: TempDir,
}

/// What a program that has ended left.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self {
            directory: TempDir::new().unwrap(),
        };
        place.write("rules.d/.keep", "");
        place
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("FOREBAY") || text.starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("NO_COLOR", "1")
            .current_dir(self.directory.path())
            .args(words);
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        Self::finish(&mut self.command(words), "")
    }

    /// Runs to the end with something on standard input.
    pub(crate) fn feed(&self, words: &[&str], input: &str) -> Ended {
        Self::finish(&mut self.command(words), input)
    }

    pub(crate) fn finish(command: &mut Command, input: &str) -> Ended {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that ends without reading closes the pipe; that is its right.
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap_or_default();
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts something that serves; its lines come from standard error, or standard output when `data` says so.
    pub(crate) fn serve(&self, words: &[&str], data: bool) -> Serving {
        let mut command = self.command(words);
        command.stdin(Stdio::null());
        if data {
            command.stdout(Stdio::piped()).stderr(Stdio::null());
        } else {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        let lines: Box<dyn BufRead + Send> = if data {
            Box::new(BufReader::new(child.stdout.take().unwrap()))
        } else {
            Box::new(BufReader::new(child.stderr.take().unwrap()))
        };
        let (sender, receiver) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Serving {
            child,
            lines: receiver,
        }
    }

    /// Starts the embedded stream server and returns its endpoint.
    pub(crate) fn stream(&self, stream: &str) -> (Serving, String) {
        let words = [
            "stream",
            "serve",
            "--bind",
            "127.0.0.1:0",
            "--data-dir",
            "stream",
            "--stream",
            stream,
        ];
        let serving = self.serve(&words, true);
        let endpoint = serving.line();
        assert!(endpoint.starts_with("http://"), "{endpoint}");
        (serving, endpoint)
    }

    /// Starts the server on free ports, with further settings, and waits until it is ready.
    pub(crate) fn server(&self, words: &[&str]) -> Server {
        let mut all = vec![
            "run",
            "--set",
            "listeners.default.bind=127.0.0.1:0",
            "--set",
            "admin.bind=127.0.0.1:0",
            "--set",
            "kinesis.region=us-east-1",
            "--set",
            "log.format=json",
            "--set",
            "spool.segment=16MiB",
            "--set",
            "spool.allow_volatile=true",
        ];
        all.extend_from_slice(words);
        let serving = self.serve(&all, false);
        let mut broker = None;
        let mut admin = None;
        loop {
            let event: Value = serde_json::from_str(&serving.line()).unwrap();
            let address = || -> SocketAddr { event["address"].as_str().unwrap().parse().unwrap() };
            match event["message"].as_str().unwrap() {
                "listener open" => broker = Some(address()),
                "admin open" => admin = Some(address()),
                "ready" => break,
                _ => {}
            }
        }
        Server {
            serving,
            broker: format!("mqtt://{}", broker.unwrap()),
            admin: admin.unwrap(),
        }
    }
}

/// A program that runs; it is killed when this is dropped.
pub(crate) struct Serving {
    child: Child,
    lines: Receiver<String>,
}

impl Serving {
    /// The next line.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(LINE_WAIT).expect("a line in time")
    }

    /// Asks it to stop, waits for the end and returns the exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    pub(crate) fn signal(&self) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// A server that is ready.
pub(crate) struct Server {
    pub(crate) serving: Serving,
    /// Its URL.
    pub(crate) broker: String,
    pub(crate) admin: SocketAddr,
}
