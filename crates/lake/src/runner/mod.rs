//! Runs models: `shape` and `serve` tables that are declared in SQL files, each built when its code or its inputs changed.
//!
//! ```text
//!  pin every source ──▶ model by model, each after those it reads:  why? ─ compute ─ write ─ audit ─ publish
//!  (once per run)       (those that do not read each other at once)                             └─ or reject
//! ```
//!
//! Promises: all models of a run read one set of snapshots of the sources, and of other models what this run made of that
//! set; rows that fail a test with severity `error` are never visible; the snapshots a table was built from and the hash of
//! its code are set in the commit that publishes its rows, so that nothing is built in vain; a model that fails does not stop
//! its siblings, only what is made of it, and one without an end is ended.

pub mod audit;
pub mod build;
pub mod history;
pub mod offline;
pub mod plan;
pub mod ranges;
pub mod reconcile;
pub mod session;
pub mod slices;
pub mod table;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use iceberg::TableIdent;
use tokio::{sync::Semaphore, task::JoinSet};

use self::{
    build::{Build, Built, How, Outcome, Rejection},
    history::History,
    plan::{Inputs, Why},
    ranges::Limits,
    session::Sessions,
};
use crate::{
    cluster::Cluster,
    error::{LakeError, Result},
    layers,
    models::{Model, Models, checks::Verdict},
    sql::{Engine, Pinned},
    tables::{TableState, Tables, commit::now_ms, staged::Staged},
};

/// Beyond this share of its inputs' rows in changed files a model is computed as a whole.
const SHARE_MAX: f64 = 0.5;
/// A model whose inputs have so many rows is a large one.
const LARGE_ROWS: u64 = 1 << 20;
/// Large models that are built at once: one computes while the other waits for storage. More are no faster and take more memory.
const LARGE_AT_ONCE: usize = 2;
/// A rejected model waits this long before it is built again, doubled each time.
const REJECTED_WAIT_MIN: Duration = Duration::from_secs(1);
const REJECTED_WAIT_MAX: Duration = Duration::from_secs(30);
/// What a build of one model may take, unless told otherwise.
const BUILD_TIME_MAX: Duration = Duration::from_secs(3600);

/// Runs models. Clones share what it remembers, all of which can be lost.
#[derive(Clone)]
pub struct Runner {
    pub tables: Tables,
    pub models: Arc<Models>,
    pub history: History,
    sessions: Sessions,
    /// Where models are computed that are built as a whole; here when there is none.
    cluster: Option<Cluster>,
    /// Rows per data file of an incremental model.
    file_rows: usize,
    share_max: f64,
    /// How incremental models are built as a whole.
    ranges: Limits,
    /// Turns of large models.
    large: Arc<Semaphore>,
    build_time_max: Duration,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    /// Inputs that were seen to make no difference, with the snapshot of the model that this is said of.
    same: HashMap<String, (Option<i64>, Inputs)>,
    rejected: HashMap<String, Rejected>,
    /// Models that took too long, until when they are left alone, and the reason.
    held: HashMap<String, (Instant, String)>,
}

/// A model that was rejected and waits.
#[derive(Clone)]
struct Rejected {
    until: Instant,
    wait: Duration,
    rejection: Rejection,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Served {
    /// Models that were built and published.
    pub built: BTreeMap<String, Built>,
    /// Models that wait for a table that is not there yet.
    pub waiting: BTreeMap<String, String>,
    /// Models that failed, with the reason; the others went on.
    pub failed: BTreeMap<String, LakeError>,
    /// Models whose new rows failed their tests; the rows before stand.
    pub rejected: BTreeMap<String, Rejection>,
    /// Models that were left alone because of one that they are made of.
    pub skipped: BTreeMap<String, String>,
}

impl Served {
    /// Every model is as its inputs are.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty() && self.rejected.is_empty() && self.skipped.is_empty()
    }
}

/// How a model ended, as far as those made of it are concerned.
enum Ended {
    Fine,
    Waits,
    Bad,
}

/// Rows per data file of an incremental model, where files of shape tables have so many: more, since they are read whole by
/// what is made of them, and rewritten once a run rather than with each batch of changes.
#[must_use]
pub fn file_rows(of_shape: usize) -> usize {
    of_shape.max(1).saturating_mul(4)
}

impl Runner {
    /// A runner of models over the engine's tables.
    #[must_use]
    pub fn new(tables: Tables, engine: &Engine, models: Arc<Models>, file_rows: usize) -> Self {
        let (sessions, history) = (Sessions::new(engine), History::new(tables.clone()));
        Self {
            tables,
            models,
            history,
            sessions,
            cluster: None,
            file_rows,
            share_max: SHARE_MAX,
            ranges: Limits::default(),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            build_time_max: BUILD_TIME_MAX,
            memory: Arc::default(),
        }
    }

    /// As it is, with another limit to what a build of one model may take.
    #[must_use]
    pub fn within(self, build_time_max: Duration) -> Self {
        Self { build_time_max, ..self }
    }

    /// Computes on a cluster what is built as a whole.
    #[must_use]
    pub fn on(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Builds by parts whatever share of the inputs changed.
    #[cfg(test)]
    #[must_use]
    pub fn always_by_parts(mut self) -> Self {
        self.share_max = f64::INFINITY;
        self
    }

    /// Builds in ranges of so few rows, wherever the inputs' files lie.
    #[cfg(test)]
    #[must_use]
    pub fn in_ranges_of(mut self, range_rows: u64) -> Self {
        self.ranges = Limits { range_rows, read_share_max: f64::INFINITY };
        self
    }

    /// Builds the models whose inputs or code changed.
    ///
    /// # Errors
    /// When the sources cannot be loaded; a model's own failure is in the result.
    pub async fn run(&self) -> Result<Served> {
        let all = self.models.iter().map(|model| model.name.clone()).collect();
        self.run_only(&all).await
    }

    /// As [`Self::run`], of these models only; the others are read as they are.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_only(&self, chosen: &BTreeSet<String>) -> Result<Served> {
        let started_ms = now_ms();
        let mut pinned = self.pin(chosen).await?;
        let mut served = Served::default();
        let mut left: Vec<String> =
            self.models.graph.order().iter().filter(|name| chosen.contains(*name)).cloned().collect();
        let mut ended: HashMap<String, Ended> = HashMap::new();
        let mut running: JoinSet<(String, Result<Outcome>)> = JoinSet::new();
        loop {
            left.retain(|name| !self.step(name, chosen, &pinned, &mut ended, &mut running, &mut served));
            let Some(done) = running.join_next().await else { break };
            let (name, outcome) = done.map_err(|error| LakeError::definite(format!("a build ended: {error}")))?;
            let end = match outcome {
                Ok(Outcome::Current) => Ended::Fine,
                Ok(Outcome::Built(built, state)) => {
                    pinned.insert(name.clone(), state);
                    served.built.insert(name.clone(), built);
                    Ended::Fine
                }
                Ok(Outcome::Rejected(rejection)) => {
                    if let Err(error) = self.history.keep_rejected(&name, &rejection).await {
                        tracing::warn!(model = name, "the rejected rows could not be kept: {error}");
                    }
                    served.rejected.insert(name.clone(), rejection);
                    Ended::Bad
                }
                Err(error) => {
                    served.failed.insert(name.clone(), error);
                    Ended::Bad
                }
            };
            ended.insert(name, end);
        }
        self.history.note(&served, started_ms);
        Ok(served)
    }

    /// Starts a model, or ends it at once; `false` while it waits for another of this run.
    fn step(
        &self,
        name: &str,
        chosen: &BTreeSet<String>,
        pinned: &Pinned,
        ended: &mut HashMap<String, Ended>,
        running: &mut JoinSet<(String, Result<Outcome>)>,
        served: &mut Served,
    ) -> bool {
        let parents: Vec<&str> = self.models.graph.parents(name).filter(|parent| chosen.contains(*parent)).collect();
        if parents.iter().any(|parent| !ended.contains_key(*parent)) {
            return false;
        }
        let Some(model) = self.models.get(name) else { return true };
        if let Some(bad) = parents.iter().find(|parent| matches!(ended.get(**parent), Some(Ended::Bad))) {
            served.skipped.insert(name.to_owned(), format!("skipped: {bad}, which it is made of, was not built"));
            ended.insert(name.to_owned(), Ended::Bad);
            return true;
        }
        let waits = parents.iter().find(|parent| matches!(ended.get(**parent), Some(Ended::Waits)));
        let missing = model.needs().find(|needed| !pinned.contains_key(*needed));
        if let Some(missing) = missing.or(waits.copied()) {
            served.waiting.insert(name.to_owned(), missing.to_owned());
            ended.insert(name.to_owned(), Ended::Waits);
            return true;
        }
        if let Some(rejection) = self.still_rejected(name) {
            served.rejected.insert(name.to_owned(), rejection);
            ended.insert(name.to_owned(), Ended::Bad);
            return true;
        }
        if let Some(reason) = self.still_held(name) {
            served.failed.insert(name.to_owned(), LakeError::Definite(reason));
            ended.insert(name.to_owned(), Ended::Bad);
            return true;
        }
        let (runner, model, pinned) = (self.clone(), model.clone(), pinned.clone());
        running.spawn(async move {
            // Held until it ends; the semaphore is never closed.
            let _turn = match runner.is_large(&model, &pinned) {
                true => runner.large.acquire().await.ok(),
                false => None,
            };
            let build = Build { runner: &runner, model: &model, pinned: &pinned };
            let outcome = tokio::time::timeout(runner.build_time_max, Box::pin(build.run())).await;
            (model.name.clone(), outcome.unwrap_or_else(|_| Err(runner.hold(&model.name))))
        });
        true
    }

    /// Whether a model reads so much that it keeps the cores busy by itself.
    fn is_large(&self, model: &Model, pinned: &Pinned) -> bool {
        let rows = model.inputs.iter().filter_map(|input| pinned.get(input)).map(|state| state.rows());
        rows.sum::<u64>() >= LARGE_ROWS
    }

    /// The snapshots this run reads: of the chosen models' inputs and of what their tests point to.
    pub(crate) async fn pin(&self, chosen: &BTreeSet<String>) -> Result<Pinned> {
        let wanted: BTreeSet<&str> =
            chosen.iter().filter_map(|name| self.models.get(name)).flat_map(Model::needs).collect();
        let mut pinned = Pinned::new();
        for name in wanted {
            if let Some(state) = self.tables.cached(&self.ident(name).await?).await? {
                // A model's table that is made and has no snapshot yet was never published.
                if self.models.get(name).is_none() || state.snapshot_id().is_some() {
                    pinned.insert(name.to_owned(), state);
                }
            }
        }
        Ok(pinned)
    }

    async fn ident(&self, name: &str) -> Result<TableIdent> {
        let (layer, table) = name.split_once('.').unwrap_or((layers::SHAPE, name));
        if layer == layers::STAGE {
            let all = self.tables.list(layer).await?;
            let found = all.into_iter().find(|ident| ident.name() == table);
            return found.ok_or_else(|| LakeError::definite(format!("a model reads {name}, which is not there")));
        }
        Ok(TableIdent::from_strs([layer, table])?)
    }

    /// The snapshots that a model's table stands for.
    fn built_from(&self, model: &Model, state: &TableState) -> Option<Inputs> {
        let memory = self.memory();
        match memory.same.get(&model.name) {
            Some((snapshot, inputs)) if *snapshot == state.snapshot_id() => Some(inputs.clone()),
            _ => plan::built_from(state),
        }
    }

    /// These inputs make no other table than the one there is.
    fn remember(&self, model: &Model, state: &TableState, inputs: &Inputs) {
        self.memory().same.insert(model.name.clone(), (state.snapshot_id(), inputs.clone()));
    }

    fn still_rejected(&self, name: &str) -> Option<Rejection> {
        let memory = self.memory();
        memory.rejected.get(name).filter(|known| known.until > Instant::now()).map(|known| known.rejection.clone())
    }

    /// Leaves alone for a while a model that took too long, so that its siblings get their turns.
    pub(crate) fn hold(&self, name: &str) -> LakeError {
        let limit = self.build_time_max;
        let reason = format!(
            "not built within {limit:?}, tried again after as long: give it more time (LAKE_MODEL_TIME_MAX_S) or less to do \
             (materialized: incremental or partition)"
        );
        self.memory().held.insert(name.to_owned(), (Instant::now() + limit, reason.clone()));
        LakeError::Definite(reason)
    }

    fn still_held(&self, name: &str) -> Option<String> {
        let memory = self.memory();
        memory.held.get(name).filter(|(until, _)| *until > Instant::now()).map(|(_, reason)| reason.clone())
    }

    /// What was rejected or took too long is built again by the next run.
    pub fn try_all(&self) {
        let mut memory = self.memory();
        memory.rejected.clear();
        memory.held.clear();
    }

    /// Publishes what was staged, or rejects it.
    async fn conclude(
        &self,
        model: &Model,
        state: &TableState,
        staged: Staged,
        verdicts: Vec<Verdict>,
        how: How,
        rows: u64,
    ) -> Result<Outcome> {
        let snapshot_id = staged.snapshot_id();
        if verdicts.iter().any(Verdict::forbids) {
            self.tables.reject(state, staged).await?;
            let verdicts: Vec<Verdict> = verdicts.into_iter().filter(Verdict::forbids).collect();
            let rejection = Rejection { verdicts, snapshot_id, took: Duration::ZERO };
            let mut memory = self.memory();
            let wait = memory.rejected.get(&model.name).map_or(REJECTED_WAIT_MIN, |known| known.wait * 2);
            let wait = wait.min(REJECTED_WAIT_MAX);
            let known = Rejected { until: Instant::now() + wait, wait, rejection: rejection.clone() };
            memory.rejected.insert(model.name.clone(), known);
            return Ok(Outcome::Rejected(rejection));
        }
        let state = self.tables.publish_staged(state, staged).await?;
        self.memory().rejected.remove(&model.name);
        let warnings: Vec<Verdict> = verdicts.into_iter().filter(|verdict| verdict.failing > 0).collect();
        let built = Built { why: Why::New, how, rows, took: Duration::ZERO, warnings, snapshot_id: Some(snapshot_id) };
        Ok(Outcome::Built(built, state))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
