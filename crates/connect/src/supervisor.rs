//! Makes what runs match what the topics say: writes missing task configs, starts, stops and restarts tasks.
//!
//! One loop, woken by every change of the picture. Each pass compares and acts; nothing is remembered that the
//! topics do not say, apart from the tasks that run. A pass is safe to repeat and to be cut off anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use service::Backoff;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::classes::Class;
use crate::masking;
use crate::plugin::{Config, Plugin};
use crate::records::{self, Restart, Status, TargetState};
use crate::task;
use crate::validation;
use crate::worker::Worker;

/// A task that does not end within this time after it was told to is dropped. Positions are safe at any point.
const STOP_WAIT: Duration = Duration::from_secs(15);
/// The picture is compared at least this often, in case a wake-up was missed.
const PASS_INTERVAL: Duration = Duration::from_secs(5);

type TaskKey = (String, u32);

struct Running {
    config: Config,
    version: u64,
    stop: CancellationToken,
    handle: JoinHandle<()>,
}

/// The supervising loop's own knowledge.
pub struct Supervisor {
    worker: Arc<Worker>,
    generation: i64,
    running: BTreeMap<TaskKey, Running>,
    /// Connectors of this worker's classes seen so far, with the version and target published last.
    published: BTreeMap<String, Published>,
}

#[derive(Clone, PartialEq)]
struct Published {
    version: u64,
    target: TargetState,
    failed: bool,
    tasks: usize,
}

impl Supervisor {
    /// A supervisor for a worker whose topics have been read.
    pub fn new(worker: Arc<Worker>) -> Self {
        let generation = worker.state().next_generation();
        Self { worker, generation, running: BTreeMap::new(), published: BTreeMap::new() }
    }

    /// Supervise until `stop`, then stop all tasks.
    ///
    /// # Errors
    /// Never; the signature is that of a service task.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = Backoff::default();
        let orphans = self.worker.state().orphans();
        orphans.iter().for_each(|name| self.forget(name));
        while !stop.is_cancelled() {
            let worker = Arc::clone(&self.worker);
            let changed = worker.changed.notified();
            match self.pass().await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    tracing::warn!("connectors cannot be brought to what was asked, trying again: {error}");
                    backoff.wait(&stop).await;
                    continue;
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = changed => {}
                () = tokio::time::sleep(PASS_INTERVAL) => {}
            }
        }
        let all: Vec<TaskKey> = self.running.keys().cloned().collect();
        self.stop_tasks(all).await;
        Ok(())
    }

    async fn pass(&mut self) -> Result<(), crate::store::StoreError> {
        let restarts = self.worker.state_mut().take_restarts();
        self.restart(restarts).await;
        let mine = self.my_connectors();
        self.drop_deleted(&mine).await;
        for (name, (class, config, version)) in mine {
            if let Some(plugin) = class.plugin.clone() {
                self.bring_up(&name, &class, &plugin, config, version).await?;
            }
        }
        Ok(())
    }

    fn my_connectors(&self) -> BTreeMap<String, (Class, Config, u64)> {
        let state = self.worker.state();
        let mine = state.connectors().iter().filter_map(|(name, connector)| {
            let class = self.worker.classes.find(connector.config.get("connector.class")?)?;
            class.plugin.as_ref()?;
            Some((name.clone(), (class, connector.config.clone(), connector.version)))
        });
        mine.collect()
    }

    /// Bring one connector to its target state.
    async fn bring_up(
        &mut self,
        name: &str,
        class: &Class,
        plugin: &Arc<dyn Plugin>,
        config: Config,
        version: u64,
    ) -> Result<(), crate::store::StoreError> {
        let target = self.worker.state().target(name);
        let errors = validation::errors(class, &config, &self.worker.providers);
        let errors: Vec<String> = errors.into_iter().map(|error| error.message).collect();
        let failure = (!errors.is_empty()).then(|| masking::redact(&validation::message(&errors), &config));
        let tasks: Vec<Config> = match (target, &failure) {
            (TargetState::Stopped, _) | (_, Some(_)) => Vec::new(),
            _ => plugin.tasks(&config).into_iter().map(|task| with_task_class(task, class)).collect(),
        };
        if failure.is_none() && self.worker.state().tasks(name) != tasks {
            let written = tasks.iter().enumerate().map(|(task, config)| records::task_record(name, task, config));
            let commit = records::commit_record(name, tasks.len());
            self.worker.write_configs(written.chain([commit])).await?;
        }
        let wanted = if target == TargetState::Started { tasks.len() } else { 0 };
        let surplus = self.running.iter().filter(|((owner, task), running)| {
            owner == name
                && (*task as usize >= wanted || running.config != tasks[*task as usize] || running.version != version)
        });
        let surplus: Vec<TaskKey> = surplus.map(|(key, _)| key.clone()).collect();
        self.stop_tasks(surplus).await;
        self.publish(
            name,
            plugin,
            Published { version, target, failed: failure.is_some(), tasks: tasks.len() },
            failure,
        );
        for (task, config) in (0_u32..).zip(tasks).take(wanted) {
            self.start(name, task, plugin, config, version);
        }
        Ok(())
    }

    fn start(&mut self, name: &str, task: u32, plugin: &Arc<dyn Plugin>, config: Config, version: u64) {
        let key = (name.to_owned(), task);
        if self.running.contains_key(&key) {
            return;
        }
        let stop = CancellationToken::new();
        let run = task::Run {
            worker: Arc::clone(&self.worker),
            plugin: Arc::clone(plugin),
            connector: name.to_owned(),
            task,
            config: config.clone(),
            generation: self.generation,
            stop: stop.clone(),
        };
        let handle = tokio::spawn(run.supervise());
        self.running.insert(key, Running { config, version, stop, handle });
    }

    /// Publish the connector's state, and the states of tasks that exist without running.
    fn publish(&mut self, name: &str, plugin: &Arc<dyn Plugin>, now: Published, failure: Option<String>) {
        if self.published.get(name) == Some(&now) {
            return;
        }
        let state = match (&failure, now.target) {
            (Some(_), _) => "FAILED",
            (None, TargetState::Started) => "RUNNING",
            (None, TargetState::Paused) => "PAUSED",
            (None, TargetState::Stopped) => "STOPPED",
        };
        if let Some(reason) = &failure {
            tracing::error!(connector = name, "{reason}");
        }
        let status = |state: &str, trace| Status {
            state: state.into(),
            trace,
            worker_id: self.worker.settings.worker_id.clone(),
            generation: self.generation,
            version: Some(plugin.version().into()),
        };
        self.worker.publish_connector(name, Some(status(state, failure)));
        let known: Vec<u32> = self.worker.state().task_statuses(name).map(|(task, _)| task).collect();
        for task in known.into_iter().filter(|task| *task as usize >= now.tasks) {
            self.worker.publish_task(name, task, None);
        }
        if now.target == TargetState::Paused {
            (0_u32..)
                .take(now.tasks)
                .for_each(|task| self.worker.publish_task(name, task, Some(status("PAUSED", None))));
        }
        self.published.insert(name.to_owned(), now);
    }

    /// Stop the tasks of connectors that are gone, and forget what was published about them.
    async fn drop_deleted(&mut self, mine: &BTreeMap<String, (Class, Config, u64)>) {
        let gone: Vec<String> = self.published.keys().filter(|name| !mine.contains_key(*name)).cloned().collect();
        for name in gone {
            let tasks = self.running.keys().filter(|(owner, _)| *owner == name).cloned().collect();
            self.stop_tasks(tasks).await;
            self.published.remove(&name);
            if self.worker.state().connector(&name).is_some() {
                self.worker.leave_connector(&name);
                continue; // Its class changed to another worker's.
            }
            self.forget(&name);
        }
    }

    /// Forget everything published about a connector.
    fn forget(&self, name: &str) {
        let (tasks, topics): (Vec<u32>, Vec<String>) = {
            let state = self.worker.state();
            let tasks = state.task_statuses(name).map(|(task, _)| task).collect();
            (tasks, state.topics(name).map(str::to_owned).collect())
        };
        tasks.into_iter().for_each(|task| self.worker.publish_task(name, task, None));
        topics.iter().for_each(|topic| self.worker.publish_topic(name, topic, None));
        self.worker.publish_connector(name, None);
    }

    /// Carry out restarts somebody asked for: stopped here, started again by the pass.
    async fn restart(&mut self, restarts: Vec<(String, Restart)>) {
        for (name, restart) in restarts {
            let failed = |task| {
                let state = self.worker.state();
                state.task_status(&name, task).is_some_and(|status| status.state == "FAILED")
            };
            let chosen = self.running.keys().filter(|(owner, task)| {
                *owner == name
                    && restart.include_tasks
                    && restart.task.is_none_or(|only| only == *task)
                    && (!restart.only_failed || failed(*task))
            });
            let chosen: Vec<TaskKey> = chosen.cloned().collect();
            self.stop_tasks(chosen).await;
            if restart.task.is_none() {
                self.published.remove(&name);
            }
        }
    }

    /// Tell tasks to stop, all at once, and wait for them.
    async fn stop_tasks(&mut self, keys: Vec<TaskKey>) {
        let stopping: Vec<(TaskKey, Running)> =
            keys.into_iter().filter_map(|key| self.running.remove(&key).map(|running| (key, running))).collect();
        stopping.iter().for_each(|(_, running)| running.stop.cancel());
        let deadline = tokio::time::Instant::now() + STOP_WAIT;
        for ((name, task), mut running) in stopping {
            if tokio::time::timeout_at(deadline, &mut running.handle).await.is_err() {
                tracing::warn!(connector = name, task, "did not stop within {STOP_WAIT:?}, dropped");
                running.handle.abort();
                let _ = running.handle.await;
            }
            self.worker.forget_progress(&name, task);
            self.worker.leave_task(&name, task);
        }
    }
}

fn with_task_class(mut task: Config, class: &Class) -> Config {
    task.entry("task.class".into()).or_insert_with(|| class.task_class.clone());
    task
}
