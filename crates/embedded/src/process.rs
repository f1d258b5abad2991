//! One child process: what to start, how to see that it is ready, how to stop it well.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{EmbeddedError, file_error};

/// How long a process may take to stop well before it is killed.
pub const STOP_DEADLINE: Duration = Duration::from_secs(25);
/// How often a condition is looked at while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How much of a log is read to find a ready line or to show in an error.
const LOG_TAIL_BYTES: u64 = 64 * 1024;

/// The signal that asks a server to stop well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// What most servers understand.
    Terminate,
    /// Postgres' "fast shutdown": ends sessions, writes a checkpoint. Its SIGTERM waits for clients to leave.
    Interrupt,
}

/// A process to be started.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Added to the environment of the parent.
    pub env: Vec<(String, String)>,
    pub dir: Option<PathBuf>,
    /// stdout and stderr are appended here.
    pub log: PathBuf,
    pub stop_signal: StopSignal,
    /// The kernel kills the process when the *thread* that spawned it ends, however that comes about
    /// (`PR_SET_PDEATHSIG`, by `setpriv`). So spawn from a thread that lives as long as the process shall.
    pub dies_with_parent: bool,
}

/// A started process. Dropping it kills it: a test that fails leaves nothing behind.
#[derive(Debug)]
pub struct Running {
    spec: ProcessSpec,
    child: Child,
    pid: u32,
    /// Length of the log when the process started: what comes after it is this process' own.
    log_start_bytes: u64,
}

impl ProcessSpec {
    /// Starts the process.
    ///
    /// # Errors
    /// When the program is missing or its log cannot be opened.
    pub fn spawn(self) -> Result<Running, EmbeddedError> {
        if let Some(folder) = self.log.parent() {
            std::fs::create_dir_all(folder).map_err(file_error("make folder", folder))?;
        }
        let log =
            File::options().create(true).append(true).open(&self.log).map_err(file_error("open log", &self.log))?;
        let log_start_bytes = log.metadata().map_err(file_error("look at log", &self.log))?.len();
        let stderr = log.try_clone().map_err(file_error("open log", &self.log))?;
        // Postgres as root goes through setpriv itself: a change of user forgets the signal, so it is set in that same call.
        let mut command = if self.dies_with_parent && self.program.as_os_str() == "setpriv" {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]);
            command
        } else if self.dies_with_parent {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(stderr)
            // A group of its own: Ctrl-C in the terminal reaches the supervisor only, which stops all in order.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let child = command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                EmbeddedError::ProgramMissing { program: self.program.display().to_string() }
            }
            _ => EmbeddedError::Process { action: "start", name: self.name.clone(), source },
        })?;
        let pid = child.id().unwrap_or_default();
        Ok(Running { spec: self, child, pid, log_start_bytes })
    }
}

impl Running {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    #[must_use]
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    /// When the process ends, or `deadline` passes; with the end of its log.
    pub async fn wait_ready<F>(&mut self, deadline: Duration, mut ready: impl FnMut() -> F) -> Result<(), EmbeddedError>
    where
        F: Future<Output = bool>,
    {
        let begin = Instant::now();
        while !ready().await {
            self.may_still_come(begin, deadline)?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Whether a process that is not ready may still become so.
    ///
    /// # Errors
    /// When it ended, or `deadline` has passed since `begin`; with the end of its log.
    pub fn may_still_come(&mut self, begin: Instant, deadline: Duration) -> Result<(), EmbeddedError> {
        if let Some(status) = self.ended() {
            return Err(EmbeddedError::Ended {
                name: self.spec.name.clone(),
                status,
                log: self.spec.log.clone(),
                tail: self.log_tail(),
            });
        }
        if begin.elapsed() > deadline {
            return Err(EmbeddedError::NotReady {
                name: self.spec.name.clone(),
                seconds: deadline.as_secs(),
                log: self.spec.log.clone(),
                tail: self.log_tail(),
            });
        }
        Ok(())
    }

    /// Waits until this process wrote `line` into its log.
    ///
    /// # Errors
    /// As [`Running::wait_ready`].
    pub async fn wait_log_line(&mut self, deadline: Duration, line: &str) -> Result<(), EmbeddedError> {
        let log = self.spec.log.clone();
        let start = self.log_start_bytes;
        self.wait_ready(deadline, || std::future::ready(read_from(&log, start).contains(line))).await
    }

    /// How the process ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Waits until the process ends by itself.
    pub async fn wait(&mut self) -> String {
        self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    /// Asks the process to stop and waits; kills it after [`STOP_DEADLINE`]. `true` when it stopped by itself.
    pub async fn stop(mut self) -> bool {
        let signal = match self.spec.stop_signal {
            StopSignal::Terminate => Signal::TERM,
            StopSignal::Interrupt => Signal::INT,
        };
        self.signal(signal);
        let stopped = tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.is_ok();
        if !stopped {
            tracing::warn!("{} did not stop within {STOP_DEADLINE:?}, killed", self.spec.name);
            self.kill().await;
        }
        stopped
    }

    /// Ends the process as `kill -9` does, and waits until it is gone.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Sends a signal to the process, by its id.
    pub fn signal(&self, signal: Signal) {
        // After `wait` the id could belong to another process: tokio answers `None` then.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The end of what this process logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = read_from(&self.spec.log, self.log_start_bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Text of a file from a position on, the last [`LOG_TAIL_BYTES`] of it; empty when it cannot be read.
fn read_from(path: &Path, start: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str, log: &Path) -> ProcessSpec {
        ProcessSpec {
            name: "script".into(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![],
            dir: None,
            log: log.to_owned(),
            stop_signal: StopSignal::Terminate,
            dies_with_parent: true,
        }
    }

    #[tokio::test]
    async fn a_process_that_ends_while_starting_is_reported_with_its_log() {
        let log = std::env::temp_dir().join(format!("embedded-{}.log", uuid::Uuid::new_v4()));
        let mut running = shell("echo no space left; exit 3", &log).spawn().unwrap();
        let error = running.wait_log_line(Duration::from_secs(20), "ready").await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no space left"), "{error}");
        std::fs::remove_file(log).unwrap();
    }

    #[tokio::test]
    async fn a_process_stops_when_asked() {
        let log = std::env::temp_dir().join(format!("embedded-{}.log", uuid::Uuid::new_v4()));
        let mut running = shell("echo ready; exec sleep 1000", &log).spawn().unwrap();
        running.wait_log_line(Duration::from_secs(20), "ready").await.unwrap();
        assert!(running.stop().await);
        std::fs::remove_file(log).unwrap();
    }
}
