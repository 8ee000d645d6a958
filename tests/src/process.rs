//! Processes that a test starts: their output, readiness, resources and end.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{http, wait};

/// How much of a process's output an error or a failed test shows.
const TAIL_BYTES: usize = 4096;
const POLL_CONNECT: Duration = Duration::from_millis(200);

/// A running process with its output in files of a folder of its own. It is killed when dropped;
/// if the test is failing then, the end of its output is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    folder: TempDir,
}

/// What a process that has ended left behind.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The exit code; `None` if a signal ended the process.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Returns itself if the process reported success.
    ///
    /// # Errors
    /// The exit status and all output otherwise.
    pub fn expect_success(self) -> Result<Self> {
        if !self.status.success() {
            bail!(
                "{}\nstandard output:\n{}\nstandard error:\n{}",
                self.status,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }
}

/// Runs `command` to its end, without standard input.
///
/// # Errors
/// If it cannot be started, or does not end within `limit`; then it is killed.
pub fn run(name: &str, command: &mut Command, limit: Duration) -> Result<Finished> {
    Process::spawn(name, command)?.wait(limit)
}

/// As [`run`], with `input` on standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(
    name: &str,
    command: &mut Command,
    input: &[u8],
    limit: Duration,
) -> Result<Finished> {
    Process::spawn_with_input(name, command, input)?.wait(limit)
}

// === impl Process ===

impl Process {
    /// Starts `command`; `name` is what errors call it. `TMPDIR` is a folder that goes with it.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        Self::spawn_with_input(name, command, b"")
    }

    /// As [`Self::spawn`], with `input` on standard input.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_with_input(name: &str, command: &mut Command, input: &[u8]) -> Result<Self> {
        let folder = TempDir::with_prefix(format!("forebay-test-{name}-"))?;
        let stdin = folder.path().join("stdin");
        fs::write(&stdin, input)?;
        let child = command
            .env("TMPDIR", folder.path())
            .stdin(Stdio::from(File::open(stdin)?))
            .stdout(File::create(folder.path().join("stdout"))?)
            .stderr(File::create(folder.path().join("stderr"))?)
            .spawn()
            .with_context(|| {
                let program = command.get_program().to_string_lossy();
                format!("cannot start {name} ({program})")
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            folder,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder of its output files and temporary files; it goes when the process is dropped.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.output("stdout")
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.output("stderr")
    }

    fn output(&self, which: &str) -> String {
        let bytes = fs::read(self.folder.path().join(which)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether it is still running.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until `attempt` returns a value.
    ///
    /// # Errors
    /// If `attempt` fails, the process ends first, or `limit` passes; with the end of its output.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut attempt: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let waited = wait::until(what, limit, || {
            let running = self.is_running()?;
            match attempt(self)? {
                None if !running => bail!("{} ended before {what}", self.name),
                outcome => Ok(outcome),
            }
        });
        waited.with_context(|| format!("{}\n{}", self.name, self.tail()))
    }

    /// Waits for a complete line of standard output or standard error, and returns it.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_for_line(
        &mut self,
        what: &str,
        limit: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Result<String> {
        self.wait_until(what, limit, |process| {
            let outputs = [process.stdout(), process.stderr()];
            let complete = outputs.iter().filter_map(|text| text.rsplit_once('\n'));
            let mut lines = complete.flat_map(|(text, _)| text.lines());
            Ok(lines.find(|line| matches(line)).map(str::to_owned))
        })
    }

    /// Waits until something accepts connections at `address`.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_for_port(&mut self, address: SocketAddr, limit: Duration) -> Result<()> {
        self.wait_until(&format!("a listener at {address}"), limit, |_| {
            Ok(TcpStream::connect_timeout(&address, POLL_CONNECT)
                .ok()
                .map(drop))
        })
    }

    /// Waits until `GET path` is answered with status 200.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_for_ok(&mut self, address: SocketAddr, path: &str, limit: Duration) -> Result<()> {
        self.wait_until(&format!("200 from {address}{path}"), limit, |_| {
            let answer = http::get(address, path).ok();
            Ok(answer.filter(|answer| answer.status == 200).map(drop))
        })
    }

    /// Asks it to stop: SIGTERM.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Asks it to read its configuration again: SIGHUP.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    /// Sends a signal to it and to nothing else.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If `limit` passes first; then it is killed.
    pub fn wait(mut self, limit: Duration) -> Result<Finished> {
        let what = format!("the end of {}", self.name);
        let waited = wait::until(&what, limit, || Ok(self.child.try_wait()?));
        let status = waited.with_context(|| self.tail())?;
        Ok(Finished {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        })
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// As [`Self::terminate`] and [`Self::wait`].
    pub fn stop(self, limit: Duration) -> Result<Finished> {
        self.terminate()?;
        self.wait(limit)
    }

    /// Ends it at once: SIGKILL.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn kill(mut self) -> Result<Finished> {
        self.child.kill()?;
        self.wait(Duration::from_secs(10))
    }

    /// Memory that it holds now, in bytes.
    ///
    /// # Errors
    /// If it has ended, or `/proc` does not exist.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that it has held, in bytes.
    ///
    /// # Errors
    /// As [`Self::resident_bytes`].
    pub fn resident_bytes_max(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> Result<u64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes
            .with_context(|| format!("no {key} in /proc for {}", self.name))?
            .parse()?;
        Ok(kibibytes * 1024)
    }

    /// CPU time that it has used, user and system together.
    ///
    /// # Errors
    /// As [`Self::resident_bytes`].
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        // The second field is the name in parentheses, and may contain anything.
        let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
        let mut ticks = fields.split_ascii_whitespace().skip(11).take(2);
        let user: u64 = ticks.next().context("no user time")?.parse()?;
        let system: u64 = ticks.next().context("no system time")?.parse()?;
        let nanoseconds = (user + system) * 1_000_000_000;
        Ok(Duration::from_nanos(
            nanoseconds / rustix::param::clock_ticks_per_second(),
        ))
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join(file)
    }

    /// The end of its output, for a person who reads why a test failed.
    pub fn tail(&self) -> String {
        ["stdout", "stderr"]
            .map(|which| {
                let output = self.output(which);
                let start = output.len().saturating_sub(TAIL_BYTES);
                let end = output.get(output.ceil_char_boundary(start)..);
                format!("{} {which}: {}", self.name, end.unwrap_or_default())
            })
            .join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        // Both fail only if it has ended, which is what they are for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_finished_process_has_a_code_and_both_outputs() {
        let finished = run("sh", &mut shell("echo out; echo err >&2; exit 3"), LIMIT).unwrap();
        assert_eq!(finished.code(), Some(3));
        assert_eq!(finished.stdout, "out\n");
        assert_eq!(finished.stderr, "err\n");
        assert!(finished.expect_success().is_err());
    }

    #[test]
    fn a_process_reads_its_input_to_the_end() {
        let finished = run_with_input("cat", &mut Command::new("cat"), b"a\nb", LIMIT).unwrap();
        assert_eq!(finished.stdout, "a\nb");
        assert_eq!(
            run("cat", &mut Command::new("cat"), LIMIT).unwrap().stdout,
            ""
        );
    }

    #[test]
    fn a_line_is_found_once_it_is_complete() {
        let mut process =
            Process::spawn("sh", &mut shell("echo port 77; exec tail -f /dev/null")).unwrap();
        let line = process.wait_for_line("port", LIMIT, |line| line.starts_with("port"));
        assert_eq!(line.unwrap(), "port 77");
        assert!(process.is_running().unwrap());
        process.terminate().unwrap();
    }

    #[test]
    fn waiting_ends_when_the_process_does_and_shows_its_output() {
        let mut process = Process::spawn("sh", &mut shell("echo no luck >&2; exit 1")).unwrap();
        let error = process
            .wait_for_line("readiness", LIMIT, |line| line == "ready")
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("no luck"), "{text}");
        assert!(text.contains("ended before readiness"), "{text}");
    }

    #[test]
    fn a_process_that_does_not_end_in_time_is_an_error() {
        let limit = Duration::from_millis(20);
        let error = run("cat", &mut shell("exec tail -f /dev/null"), limit).unwrap_err();
        assert!(format!("{error:#}").contains("the end of cat"), "{error:#}");
    }

    #[test]
    fn a_signal_stops_only_its_process() {
        let process = Process::spawn("tail", &mut shell("exec tail -f /dev/null")).unwrap();
        let finished = process.stop(LIMIT).unwrap();
        assert_eq!(finished.code(), None);
        assert!(!finished.status.success());
    }

    #[test]
    fn memory_and_time_are_read_while_it_runs() {
        let mut process = Process::spawn("sh", &mut shell("while :; do :; done")).unwrap();
        let before = process.resident_bytes().unwrap();
        assert!(before > 0);
        let used = process.wait_until("a tick of CPU time", LIMIT, |process| {
            Ok(Some(process.cpu_time()?).filter(|used| *used > Duration::ZERO))
        });
        let used = used.unwrap();
        assert!(process.resident_bytes_max().unwrap() >= before);
        assert!(used < LIMIT, "{used:?}");
    }
}
