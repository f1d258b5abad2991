//! The loop: whenever new objects are there, stage, then shape, then serve.
//!
//! One pass after another; within a pass topics go side by side. A topic that fails waits by itself with backoff, the
//! others go on. Promise: nothing is remembered here that the tables do not know: kill it at any time, start it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use service::Backoff;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    compaction,
    error::{LakeError, Result},
    failpoint, layers,
    runner::{Runner, Served},
    shape::Shape,
    stage::Stage,
    status::{Status, Times},
    tasks::side_by_side,
};

/// How often new topics and partitions are looked for.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(2);
/// How often the tables are loaded again, to notice what other engines did to them (a rollback, a drop).
const REFRESH_PERIOD: Duration = Duration::from_secs(5);
/// Longest pause between two looks for new objects.
const POLL_MAX: Duration = Duration::from_millis(1000);
/// Polls stay frequent for this long after something new.
const ACTIVE_FOR: Duration = Duration::from_secs(15);
/// Topics worked on at the same time.
const TOPICS_AT_ONCE: usize = 3;

/// The lake's jobs and what they share.
#[derive(Clone)]
pub struct Jobs {
    pub stage: Stage,
    pub shape: Shape,
    pub runner: Runner,
    pub status: Status,
}

/// Asks the loop for a pass; the answer is what it did.
pub type RunRequests = mpsc::Sender<oneshot::Sender<Value>>;

/// What one pass did.
#[derive(Debug, Default)]
struct Pass {
    staged_rows: usize,
    staged_objects: usize,
    shaped_events: usize,
    marts: usize,
    /// There is more to do at once.
    more: bool,
    /// A server is away.
    away: Option<String>,
    problems: usize,
    /// Added up over topics, which go side by side.
    stage_time: Duration,
    shape_time: Duration,
    serve_time: Duration,
}

impl Pass {
    fn did_something(&self) -> bool {
        self.staged_objects + self.shaped_events + self.marts > 0
    }

    fn add(&mut self, other: Self) {
        self.staged_rows += other.staged_rows;
        self.staged_objects += other.staged_objects;
        self.shaped_events += other.shaped_events;
        self.marts += other.marts;
        self.problems = other.problems;
        self.more = other.more;
        self.away = other.away;
    }

    fn report(&self) -> Value {
        json!({
            "staged_rows": self.staged_rows, "staged_objects": self.staged_objects,
            "shaped_events": self.shaped_events, "marts_rebuilt": self.marts, "away": self.away,
        })
    }
}

/// A topic that failed waits until a time.
struct Waiting {
    backoff: Backoff,
    until: Instant,
}

/// The loop's memory; all of it can be lost.
pub struct Watch {
    jobs: Jobs,
    poll_min: Duration,
    topics: BTreeMap<String, Vec<i32>>,
    discovered: Option<Instant>,
    refreshed: Option<Instant>,
    waiting: BTreeMap<String, Waiting>,
}

impl Watch {
    /// A loop that looks for new objects every `poll_min` while there are any.
    #[must_use]
    pub fn new(jobs: Jobs, poll_min: Duration) -> Self {
        Self { jobs, poll_min, topics: BTreeMap::new(), discovered: None, refreshed: None, waiting: BTreeMap::new() }
    }

    /// Runs until `stop`.
    pub async fn run(
        mut self,
        stop: CancellationToken,
        health: service::Health,
        mut asked: mpsc::Receiver<oneshot::Sender<Value>>,
    ) {
        let mut backoff = Backoff::default();
        let mut pause = self.poll_min;
        let mut last_new = Instant::now();
        let mut askers: Vec<oneshot::Sender<Value>> = Vec::new();
        loop {
            let mut total = self.pass().await;
            while total.more && !askers.is_empty() && total.away.is_none() && !stop.is_cancelled() {
                total.add(self.pass().await);
            }
            for asker in askers.drain(..) {
                let _ = asker.send(total.report());
            }
            health.set("lake", total.away.clone().map_or(Ok(()), Err));
            let wait = if total.away.is_some() {
                backoff.next_delay()
            } else {
                backoff.reset();
                last_new = if total.did_something() { Instant::now() } else { last_new };
                pause = if last_new.elapsed() < ACTIVE_FOR { self.poll_min } else { (pause * 2).min(POLL_MAX) };
                if total.more { Duration::ZERO } else { pause }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                asker = asked.recv() => {
                    askers.extend(asker);
                    // An asker wants what is there now, also in partitions that are new.
                    self.discovered = None;
                    self.refreshed = None;
                    self.jobs.stage.quarantine.try_all();
                    self.jobs.runner.try_all();
                    self.waiting.clear();
                }
            }
        }
    }

    async fn pass(&mut self) -> Pass {
        let started = Instant::now();
        let mut pass = Pass::default();
        if let Err(error) = self.discover().await {
            self.jobs.status.set("landing zone", Err(error.to_string()));
            pass.away = Some(error.to_string());
            return pass;
        }
        self.jobs.status.set("landing zone", Ok(()));
        self.refresh().await;
        self.topics_pass(&mut pass).await;
        if pass.shaped_events > 0 {
            failpoint::hit(failpoint::SHAPED);
        }
        let serving = Instant::now();
        match self.jobs.runner.run().await {
            Ok(served) => {
                pass.marts = served.built.len();
                self.served(&served, &mut pass);
            }
            Err(error) => self.failed("serve", &error, &mut pass),
        }
        pass.serve_time = serving.elapsed();
        // After what readers wait for.
        match self.jobs.runner.history.write_if_due().await {
            Ok(()) => self.jobs.status.set("serve._runs", Ok(())),
            Err(error) => self.failed("serve._runs", &error, &mut pass),
        }
        if pass.did_something() {
            self.jobs.status.passed(Times {
                whole: started.elapsed(),
                stage: pass.stage_time,
                shape: pass.shape_time,
                serve: pass.serve_time,
            });
            tracing::debug!(took = ?started.elapsed(), ?pass, "pass");
        }
        pass
    }

    async fn discover(&mut self) -> Result<()> {
        if self.discovered.is_some_and(|at| at.elapsed() < DISCOVERY_PERIOD) {
            return Ok(());
        }
        let zone = &self.jobs.stage.zone;
        for topic in zone.topics().await? {
            let partitions = zone.partitions(&topic).await?;
            self.topics.insert(topic, partitions);
        }
        self.discovered = Some(Instant::now());
        Ok(())
    }

    async fn refresh(&mut self) {
        if self.refreshed.is_none_or(|at| at.elapsed() >= REFRESH_PERIOD) {
            self.jobs.stage.tables.refresh().await;
            self.refreshed = Some(Instant::now());
        }
    }

    async fn topics_pass(&mut self, pass: &mut Pass) {
        let due: Vec<(String, Vec<i32>)> = self
            .topics
            .iter()
            .filter(|(topic, _)| self.waiting.get(*topic).is_none_or(|waiting| waiting.until <= Instant::now()))
            .map(|(topic, partitions)| (topic.clone(), partitions.clone()))
            .collect();
        let jobs = &self.jobs;
        let pass_of = |(topic, partitions): (String, Vec<i32>)| {
            let jobs = jobs.clone();
            async move {
                let done = topic_pass(&jobs, &topic, &partitions).await;
                Ok((topic, done))
            }
        };
        let passes = due.into_iter().map(pass_of).collect();
        let done = match side_by_side(passes, TOPICS_AT_ONCE).await {
            Ok(done) => done,
            Err(error) => return self.failed("topics", &error, pass),
        };
        self.jobs.status.set("topics", Ok(()));
        for (topic, done) in done {
            pass.more |= done.behind;
            pass.staged_rows += done.rows;
            pass.staged_objects += done.objects;
            pass.shaped_events += done.events;
            pass.stage_time += done.stage_time;
            pass.shape_time += done.shape_time;
            self.after_topic(&topic, done.error, pass);
        }
    }

    /// Notes how a topic fared; a failed one waits before its next turn.
    fn after_topic(&mut self, topic: &str, error: Option<LakeError>, pass: &mut Pass) {
        let Some(error) = error else {
            self.waiting.remove(topic);
            return;
        };
        if let LakeError::Conflict { .. } = error {
            // Another lake was faster: look again at once.
            pass.more = true;
            return;
        }
        self.failed(topic, &error, pass);
        // What is cached may be older than the snapshots that are kept, after a long pause: load it again.
        self.refreshed = None;
        let waiting = self
            .waiting
            .entry(topic.to_owned())
            .or_insert_with(|| Waiting { backoff: Backoff::default(), until: Instant::now() });
        waiting.until = Instant::now() + waiting.backoff.next_delay();
    }

    fn served(&self, served: &Served, pass: &mut Pass) {
        for model in self.jobs.runner.models.iter() {
            let part = &model.name;
            let status = &self.jobs.status;
            if let Some(error) = served.failed.get(part) {
                self.failed(part, error, pass);
            } else if let Some(rejection) = served.rejected.get(part) {
                status.set(part, Err(rejection.reason()));
                pass.problems += 1;
            } else {
                status.set(part, served.skipped.get(part).map_or(Ok(()), |reason| Err(reason.clone())));
            }
            if let Some(built) = served.built.get(part) {
                let warned: Vec<&str> = built.warnings.iter().map(|verdict| verdict.reason.as_str()).collect();
                status.note_if(part, (!warned.is_empty()).then(|| format!("warning: {}", warned.join("; "))));
            }
        }
        self.jobs.status.set("serve", Ok(()));
        if !pass.more && served.is_whole() && pass.away.is_none() {
            self.jobs.status.served();
        }
    }

    fn failed(&self, part: &str, error: &LakeError, pass: &mut Pass) {
        tracing::warn!(part, "{error}");
        self.jobs.status.set(part, Err(error.to_string()));
        pass.problems += 1;
        if let LakeError::Away { .. } = error {
            pass.away = Some(error.to_string());
        }
    }
}

/// What became of one topic in a pass.
#[derive(Debug, Default)]
struct TopicPass {
    rows: usize,
    objects: usize,
    events: usize,
    behind: bool,
    stage_time: Duration,
    shape_time: Duration,
    error: Option<LakeError>,
}

async fn topic_pass(jobs: &Jobs, topic: &str, partitions: &[i32]) -> TopicPass {
    let mut done = TopicPass::default();
    let started = Instant::now();
    match Box::pin(jobs.stage.run_topic(topic, partitions)).await {
        Ok(staged) => {
            done.rows = staged.rows;
            done.objects = staged.objects;
            done.behind |= staged.more;
            jobs.status.staged(topic, &staged.committed_us);
            let stuck: Vec<String> = staged.problems();
            jobs.status
                .set(&format!("stage of {topic}"), if stuck.is_empty() { Ok(()) } else { Err(stuck.join("; ")) });
        }
        Err(error) => {
            done.error = Some(error);
            return done;
        }
    }
    if done.objects > 0 {
        failpoint::hit(failpoint::STAGED);
    }
    done.stage_time = started.elapsed();
    let started = Instant::now();
    match Box::pin(jobs.shape.run_topic(topic)).await {
        Ok(shaped) => {
            done.events = shaped.events;
            done.behind |= shaped.more;
            if !done.behind {
                jobs.status.shaped(topic);
            }
            jobs.status.set(topic, Ok(()));
            if let Some(why) = shaped.skipped {
                jobs.status.note(topic, why);
            }
        }
        Err(error) => done.error = Some(error),
    }
    done.shape_time = started.elapsed();
    if done.error.is_none() && !done.behind {
        done.error = compact(jobs, topic).await.err();
    }
    done
}

/// Behind the appends; when another writer is faster it is left for the next pass.
async fn compact(jobs: &Jobs, topic: &str) -> Result<()> {
    let Some(ident) = layers::stage_table(topic) else { return Ok(()) };
    let Some(state) = jobs.stage.tables.cached(&ident).await? else { return Ok(()) };
    match compaction::compact(&jobs.stage.tables, &state).await {
        Ok(true) => tracing::debug!(topic, "merged small stage files"),
        Ok(false) => {}
        Err(LakeError::Conflict { .. }) => drop(jobs.stage.tables.load(&ident).await?),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What one layer did of a topic.
#[derive(Default)]
struct Done {
    rows: usize,
    events: usize,
    problem: Option<LakeError>,
}

/// Takes a layer of a topic to its end.
async fn to_its_end(jobs: &Jobs, topic: &str, of_stage: bool) -> Done {
    let mut done = Done::default();
    loop {
        match step(jobs, topic, of_stage, &mut done).await {
            Ok(true) | Err(LakeError::Conflict { .. }) => {}
            Ok(false) => return done,
            Err(error) => {
                done.problem.get_or_insert(error);
                return done;
            }
        }
    }
}

/// One commit; whether there was anything to commit.
async fn step(jobs: &Jobs, topic: &str, of_stage: bool, done: &mut Done) -> Result<bool> {
    if !of_stage {
        let shaped = Box::pin(jobs.shape.run_topic(topic)).await?;
        done.events += shaped.events;
        return Ok(shaped.committed);
    }
    let partitions = jobs.stage.zone.partitions(topic).await?;
    let staged = Box::pin(jobs.stage.run_topic(topic, &partitions)).await?;
    done.rows += staged.rows;
    if staged.objects == 0 {
        done.problem = staged.problems().into_iter().next().map(LakeError::Definite);
    }
    Ok(staged.objects > 0)
}

/// Runs one layer to its end, once, for the commands `stage`, `shape` and `serve`. Returns what it did.
///
/// # Errors
/// The first problem, after everything else was done.
pub async fn once(jobs: &Jobs, layer: &crate::settings::Command) -> Result<Value> {
    use crate::settings::Command;
    let of_stage = matches!(layer, Command::Stage);
    let topics: BTreeSet<String> = match layer {
        Command::Stage | Command::Shape => jobs.stage.zone.topics().await?.into_iter().collect(),
        _ => BTreeSet::new(),
    };
    let ends = |topic: String| {
        let jobs = jobs.clone();
        async move { Ok(to_its_end(&jobs, &topic, of_stage).await) }
    };
    let all = topics.into_iter().map(ends).collect();
    let (mut rows, mut events, mut marts) = (0, 0, 0);
    let mut problem: Option<LakeError> = None;
    for done in side_by_side(all, TOPICS_AT_ONCE).await? {
        rows += done.rows;
        events += done.events;
        problem = problem.or(done.problem);
    }
    if let Command::Serve = layer {
        let served = jobs.runner.run().await?;
        jobs.runner.history.write().await?;
        marts = served.built.len();
        problem = problem.or(served.failed.into_values().next());
        let rejected = served.rejected.into_iter().next();
        problem = problem.or(rejected.map(|(name, why)| LakeError::definite(format!("{name}: {}", why.reason()))));
    }
    match problem {
        Some(problem) => Err(problem),
        None => Ok(json!({"staged_rows": rows, "shaped_events": events, "marts_rebuilt": marts})),
    }
}
