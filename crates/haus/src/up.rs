//! `haus up` and `haus down`: start the supervisor and follow it, or stop it.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    connector, ports,
    render::duration_ms,
    settings::Settings,
    stack::Part,
    state::{Phase, State},
};

/// How long a cold start may take on a busy machine before `up` gives up following it.
const UP_DEADLINE: Duration = Duration::from_secs(180);
/// Data, logs and a Kafka segment need some room.
const FREE_BYTES_MIN: u64 = 1 << 30;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct UpOptions {
    /// Postgres, Kafka and the object store run already, at the addresses in .env.
    #[arg(long)]
    pub external: bool,
    /// Registers no connectors: `haus connector apply` does it later.
    #[arg(long)]
    pub no_connectors: bool,
}

/// What `up` did.
#[derive(Debug, serde::Serialize)]
pub struct UpReport {
    pub already_running: bool,
    pub seconds: f64,
    pub connectors: Vec<connector::Applied>,
}

/// Starts the stack when it does not run, waits until every part is ready, registers the connectors.
///
/// # Errors
/// A port that is taken (by whom), a full disk, a part that does not come up, a refused connector.
pub async fn up(settings: &Settings, options: UpOptions, quiet: bool) -> anyhow::Result<UpReport> {
    let begin = Instant::now();
    let dir = &settings.haus_dir;
    std::fs::create_dir_all(dir.join("logs")).with_context(|| format!("make {}", dir.display()))?;
    let running = State::read(dir)?;
    if running.is_none() {
        check_disk(dir)?;
        check_ports(settings, options.external)?;
        start_supervisor(dir, options.external)?;
    }
    follow(dir, quiet).await?;
    let connectors = if options.no_connectors { vec![] } else { connector::apply(settings, &[]).await? };
    Ok(UpReport { already_running: running.is_some(), seconds: begin.elapsed().as_secs_f64(), connectors })
}

fn check_ports(settings: &Settings, external: bool) -> anyhow::Result<()> {
    let wanted: Vec<u16> = Part::all(settings, &settings.haus_dir, external)?.iter().flat_map(Part::ports).collect();
    let taken = ports::taken(&wanted);
    if taken.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = taken.iter().map(|taken| format!("port {} is taken by {}", taken.port, taken.owner)).collect();
    bail!("{}\nstop what holds it, or choose other ports in .env", lines.join("\n"))
}

fn check_disk(dir: &Path) -> anyhow::Result<()> {
    let disk = rustix::fs::statvfs(dir).with_context(|| format!("look at the disk of {}", dir.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < FREE_BYTES_MIN {
        bail!(
            "the disk of {} has {} MB free, the stack needs {} MB; free some room (`make clean-data` forgets all data)",
            dir.display(),
            free >> 20,
            FREE_BYTES_MIN >> 20
        );
    }
    Ok(())
}

/// Starts `haus supervise` in a session of its own, so that it outlives the terminal.
fn start_supervisor(dir: &Path, external: bool) -> anyhow::Result<()> {
    let path = dir.join("logs/supervisor.log");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let _ = std::fs::remove_file(dir.join("state.json"));
    let own = std::env::current_exe().context("find the haus binary")?;
    let mut command = Command::new("setsid");
    command.arg(own).arg("supervise").arg("--haus-dir").arg(dir);
    if external {
        command.arg("--external");
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("start the supervisor")?;
    Ok(())
}

/// Follows the state file until all parts are ready, a line for each that becomes so.
async fn follow(dir: &Path, quiet: bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut seen: Vec<String> = Vec::new();
    loop {
        let state = State::read(dir)?;
        if let Some(state) = &state {
            if let Some(failure) = &state.failure {
                bail!("{failure}");
            }
            for process in state.processes.iter().filter(|process| process.phase == Phase::Ready) {
                if !seen.contains(&process.name) {
                    seen.push(process.name.clone());
                    let took = process.start_ms.map_or_else(String::new, |ms| {
                        #[expect(clippy::cast_precision_loss, reason = "display")]
                        let ms = ms as f64;
                        format!(" in {}", duration_ms(ms))
                    });
                    let port = process.port.map_or_else(String::new, |port| format!(" on port {port}"));
                    if !quiet {
                        bar.suspend(|| eprintln!("  {:<14} ready{port}{took}", process.name));
                    }
                }
            }
            if state.all_ready() {
                bar.finish_and_clear();
                return Ok(());
            }
            let waiting: Vec<_> = state
                .processes
                .iter()
                .filter(|process| process.phase != Phase::Ready)
                .map(|process| process.name.as_str())
                .collect();
            bar.set_message(format!("starting {}", waiting.join(", ")));
        } else if let Some(failure) = last_failure(dir) {
            bail!("{failure}");
        }
        if begin.elapsed() > UP_DEADLINE {
            bail!("{}", not_up(state.as_ref()));
        }
        bar.tick();
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// What a supervisor that is gone said last.
fn last_failure(dir: &Path) -> Option<String> {
    let text = std::fs::read(dir.join("state.json")).ok()?;
    let state: State = serde_json::from_slice(&text).ok()?;
    (!state.supervisor.runs()).then(|| {
        state
            .failure
            .unwrap_or_else(|| format!("the supervisor ended; see {}", dir.join("logs/supervisor.log").display()))
    })
}

fn not_up(state: Option<&State>) -> String {
    let Some(state) = state else { return "the supervisor did not start; see `haus logs supervisor`".to_owned() };
    let lines: Vec<_> = state
        .processes
        .iter()
        .filter(|process| process.phase != Phase::Ready)
        .map(|process| {
            format!("{} is not ready: {}", process.name, process.last_end.as_deref().unwrap_or("still starting"))
        })
        .collect();
    format!("{}\nsee `haus logs`", lines.join("\n"))
}

/// Stops the stack. `false` when none ran.
///
/// # Errors
/// When the supervisor does not stop in time.
pub async fn down(settings: &Settings) -> anyhow::Result<bool> {
    let Some(state) = State::read(&settings.haus_dir)? else { return Ok(false) };
    let pid =
        i32::try_from(state.supervisor.pid).ok().and_then(Pid::from_raw).context("the supervisor's process id")?;
    kill_process(pid, Signal::TERM).context("ask the supervisor to stop")?;
    let begin = Instant::now();
    while state.supervisor.runs() {
        if begin.elapsed() > Duration::from_secs(90) {
            bail!("the stack is still stopping; see `haus logs supervisor`");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}
