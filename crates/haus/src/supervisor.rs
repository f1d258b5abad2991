//! `haus supervise`: starts the parts of the embedded stack in order, starts again what ends, stops all in reverse order.
//!
//! Runs detached from the terminal; `haus up` starts it and follows `.haus/state.json`. Its children die with it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use embedded::{EmbeddedError, Running};
use service::{Backoff, Context};
use tokio::sync::watch;

use crate::{
    databases,
    settings::Settings,
    stack::{Kind, Part},
    state::{Phase, ProcessId, ProcessState, State, now_ms},
};

/// How long one of our services may take to answer its health check.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// Runs the stack until the service context stops.
///
/// # Errors
/// When a part cannot run at all on this machine; the reason also stands in the state file.
pub async fn supervise(settings: Settings, external: bool, context: &Context) -> anyhow::Result<()> {
    let dir = absolute(&settings.haus_dir)?;
    let settings = Settings { haus_dir: dir.clone(), haus_home: absolute(&settings.haus_home)?, ..settings };
    let parts = Part::all(&settings, &dir, external)?;
    let board = Board::new(&dir, &parts)?;
    let stages: HashMap<&'static str, watch::Sender<Stage>> =
        parts.iter().map(|part| (part.name, watch::channel(Stage::Waiting).0)).collect();
    let stages = Arc::new(stages);
    for part in parts.iter().cloned() {
        let dependents =
            parts.iter().filter(|other| other.needs.contains(&part.name)).map(|other| other.name).collect();
        let keeper = Keeper {
            part,
            dependents,
            settings: settings.clone(),
            logs: dir.join("logs"),
            board: board.clone(),
            stages: Arc::clone(&stages),
            context: context.clone(),
        };
        context.tasks.spawn(keeper.part.name, keeper.keep());
    }
    let result = context.tasks.join().await;
    if let Err(error) = &result {
        board.fail(format!("{error:#}"));
    } else {
        let _ = std::fs::remove_file(dir.join("state.json"));
    }
    result
}

/// Where a part stands, for the parts around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Ready,
    /// Stopped for good.
    Stopped,
}

/// Keeps one part running.
struct Keeper {
    part: Part,
    dependents: Vec<&'static str>,
    settings: Settings,
    logs: PathBuf,
    board: Board,
    stages: Arc<HashMap<&'static str, watch::Sender<Stage>>>,
    context: Context,
}

impl Keeper {
    async fn keep(self) -> anyhow::Result<()> {
        let result = self.keep_running().await;
        self.set_stage(Stage::Stopped);
        result
    }

    async fn keep_running(&self) -> anyhow::Result<()> {
        for need in self.part.needs {
            if !self.wait_for(need, Stage::Ready).await {
                return Ok(());
            }
        }
        let mut backoff = Backoff::default();
        loop {
            let ended = match self.start().await {
                Ok(None) => {
                    // A step, done: nothing to watch.
                    self.context.stop.cancelled().await;
                    return Ok(());
                }
                Ok(Some(mut running)) => {
                    backoff.reset();
                    tokio::select! {
                        status = running.wait() => status,
                        () = self.context.stop.cancelled() => {
                            self.wait_for_dependents().await;
                            running.stop().await;
                            return Ok(());
                        }
                    }
                }
                Err(error) if self.context.stop.is_cancelled() => {
                    tracing::info!("{}: {error:#}", self.part.name);
                    return Ok(());
                }
                Err(error) if can_mend_itself(&error) => format!("{error:#}"),
                Err(error) => return Err(error),
            };
            tracing::warn!("{} ended: {ended}; it is started again", self.part.name);
            self.board.update(self.part.name, |state| {
                state.phase = Phase::Ended;
                state.id = None;
                state.restarts += 1;
                state.last_end = Some(ended);
            });
            if !backoff.wait(&self.context.stop).await {
                return Ok(());
            }
        }
    }

    /// Starts the part and waits until it is ready. `None` when it is a step without a process.
    async fn start(&self) -> anyhow::Result<Option<Running>> {
        let begin = Instant::now();
        self.board.update(self.part.name, |state| state.phase = Phase::Starting);
        let running = match self.part.spec(&self.settings, &self.logs).await? {
            None => {
                databases::migrate(&self.settings).await?;
                None
            }
            Some(spec) => {
                let mut running = spec.spawn()?;
                let id = ProcessId::of(running.pid());
                self.board.update(self.part.name, |state| state.id = id);
                self.wait_ready(&mut running).await?;
                Some(running)
            }
        };
        let start_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.board.update(self.part.name, |state| {
            state.phase = Phase::Ready;
            state.ready_at_ms = Some(now_ms());
            state.start_ms = Some(start_ms);
        });
        self.set_stage(Stage::Ready);
        Ok(running)
    }

    async fn wait_ready(&self, running: &mut Running) -> anyhow::Result<()> {
        match &self.part.kind {
            Kind::Postgres(_) => embedded::Postgres::wait_ready(running).await?,
            Kind::Kafka(_) => embedded::Kafka::wait_ready(running).await?,
            Kind::Service { health, .. } => {
                let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
                running
                    .wait_ready(READY_DEADLINE, || {
                        let request = client.get(health).send();
                        async { request.await.is_ok_and(|response| response.status().is_success()) }
                    })
                    .await?;
            }
            Kind::Migrations => {}
        }
        Ok(())
    }

    /// Waits until another part reaches a stage. `false` when the stack stops first.
    async fn wait_for(&self, name: &str, stage: Stage) -> bool {
        let Some(sender) = self.stages.get(name) else { return true };
        let mut receiver = sender.subscribe();
        tokio::select! {
            reached = receiver.wait_for(|now| *now == stage) => reached.is_ok(),
            () = self.context.stop.cancelled() => false,
        }
    }

    async fn wait_for_dependents(&self) {
        for name in &self.dependents {
            if let Some(sender) = self.stages.get(name) {
                let _ = sender.subscribe().wait_for(|now| *now == Stage::Stopped).await;
            }
        }
    }

    fn set_stage(&self, stage: Stage) {
        if let Some(sender) = self.stages.get(self.part.name) {
            sender.send_replace(stage);
        }
    }
}

/// Whether starting again may help. What is missing or of a wrong version stays so until a person acts.
fn can_mend_itself(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<EmbeddedError>() {
        Some(EmbeddedError::Ended { .. } | EmbeddedError::NotReady { .. } | EmbeddedError::Process { .. }) => true,
        Some(
            EmbeddedError::NotFetched { .. }
            | EmbeddedError::ProgramMissing { .. }
            | EmbeddedError::File { .. }
            | EmbeddedError::WrongVersion { .. },
        ) => false,
        None => error.downcast_ref::<databases::ServerAway>().is_some(),
    }
}

/// The state file, written at every change.
#[derive(Clone)]
struct Board {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Board {
    fn new(dir: &Path, parts: &[Part]) -> anyhow::Result<Self> {
        let supervisor = ProcessId::of(std::process::id()).context("read /proc")?;
        let processes = parts
            .iter()
            .map(|part| ProcessState {
                name: part.name.to_owned(),
                phase: Phase::Waiting,
                id: None,
                port: part.port,
                restarts: 0,
                last_end: None,
                ready_at_ms: None,
                start_ms: None,
            })
            .collect();
        let state = State { supervisor, processes, failure: None };
        state.write(dir)?;
        Ok(Self { dir: dir.to_owned(), state: Arc::new(Mutex::new(state)) })
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut ProcessState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = state.processes.iter_mut().find(|process| process.name == name) {
            change(process);
        }
        self.write(&state);
    }

    fn fail(&self, reason: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failure = Some(reason);
        self.write(&state);
    }

    fn write(&self, state: &State) {
        if let Err(error) = state.write(&self.dir) {
            tracing::error!("write state: {error:#}");
        }
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}
