//! What the supervisor says of its processes, in `.haus/state.json`: written by `haus supervise`, read by all others.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// State of the embedded stack.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct State {
    pub supervisor: ProcessId,
    pub processes: Vec<ProcessState>,
    /// Why the stack cannot run, when it cannot.
    pub failure: Option<String>,
}

/// A process, safe against reuse of its number.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct ProcessId {
    pub pid: u32,
    /// Start time in clock ticks since boot (proc(5), field 22 of `stat`).
    pub start_ticks: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct ProcessState {
    pub name: String,
    pub phase: Phase,
    pub id: Option<ProcessId>,
    pub port: Option<u16>,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// How it last ended.
    pub last_end: Option<String>,
    /// When it became ready, ms since the Unix epoch.
    pub ready_at_ms: Option<u64>,
    /// How long it took from start to ready.
    pub start_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Waits for the processes it needs.
    Waiting,
    Starting,
    Ready,
    /// Ended by itself; waits to be started again.
    Ended,
}

impl ProcessId {
    /// The process of this number, as it is now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, so count from its end; field 3 follows it.
        let rest = stat.rsplit_once(')')?.1;
        let mut fields = rest.split_whitespace();
        let is_zombie = fields.next()? == "Z";
        let start_ticks = fields.nth(18)?.parse().ok()?;
        (!is_zombie).then_some(Self { pid, start_ticks })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Resident memory in bytes; for Postgres, of all its child processes too, shared pages counted once per process.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let own = resident_bytes(self.pid);
        own + children(self.pid).into_iter().map(private_bytes).sum::<u64>()
    }
}

fn status_kb(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.trim().parse().ok())
        .unwrap_or(0)
}

fn resident_bytes(pid: u32) -> u64 {
    status_kb(pid, "VmRSS:") * 1024
}

/// Memory that the process shares with nobody, as far as the kernel says cheaply: resident anonymous pages.
fn private_bytes(pid: u32) -> u64 {
    status_kb(pid, "RssAnon:") * 1024
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return vec![] };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

impl State {
    /// The state of a stack whose supervisor runs; `None` when none runs.
    ///
    /// # Errors
    /// When the file cannot be read as a state.
    pub fn read(haus_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = file(haus_dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let state: Self = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
        Ok(state.supervisor.runs().then_some(state))
    }

    /// Replaces the file as a whole, so that a reader never sees half of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, haus_dir: &Path) -> anyhow::Result<()> {
        let path = file(haus_dir);
        let fresh = path.with_extension("json.new");
        fs::write(&fresh, serde_json::to_vec_pretty(self)?).with_context(|| format!("write {}", fresh.display()))?;
        fs::rename(&fresh, &path).with_context(|| format!("write {}", path.display()))
    }

    #[must_use]
    pub fn all_ready(&self) -> bool {
        self.processes.iter().all(|process| process.phase == Phase::Ready)
    }
}

fn file(haus_dir: &Path) -> PathBuf {
    haus_dir.join("state.json")
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.runs());
        assert!(!ProcessId { start_ticks: own.start_ticks + 1, ..own }.runs());
        assert!(own.resident_bytes() > 1_000_000);
    }

    #[test]
    fn the_state_of_a_dead_supervisor_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        let own = ProcessId::of(std::process::id()).unwrap();
        let mut state = State { supervisor: own, processes: vec![], failure: None };
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap().as_ref(), Some(&state));
        state.supervisor.start_ticks += 1;
        state.write(dir.path()).unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), None);
    }
}
