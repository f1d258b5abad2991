//! Models on a cluster of real processes: a scheduler and two executors, one of which is killed in the middle of a job.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../main/rig.rs"]
mod rig;
#[allow(dead_code)]
#[path = "../../src/tests/topic.rs"]
mod topic;

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use model::{cell::Cell, envelope::Op};
use objects::Metadata;
use serde_json::{Value, json};
use testkit::{Binary, wait_until};
use tokio::process::Child;

use crate::{rig::Rig, topic::Topic};

const LAKE: &str = "lake-cluster";
const ROWS: i32 = 2000;
const DEADLINE: Duration = Duration::from_secs(180);

/// Every row meets those with the same remainder: some seconds of work in three stages, of few rows.
const PAIRS: &str = "/* ---
keys: [status, slot]
tests: [{expression: pairs > 0}]
--- */
SELECT
    p.status AS status, p.slot AS slot, COUNT(*) AS pairs, SUM(p.left_id + p.right_id) AS ids,
    COUNT(p.note) AS notes, MAX(p.note) AS note
FROM (
    SELECT a.status AS status, (a.id * 7919 + b.id * 104729) % 1009 AS slot, a.id AS left_id, b.id AS right_id, a.note AS note
    FROM shape.orders AS a JOIN shape.orders AS b ON a.id % 8 = b.id % 8
    WHERE a.status IN (SELECT o.status FROM shape.orders AS o WHERE o.id > 10)
) AS p
GROUP BY p.status, p.slot";

/// A table with rows that were deleted by position.
const HOLES: &str = "/* ---
keys: [object]
--- */
SELECT q.object AS object, q.start_offset AS start_offset FROM stage._quarantine AS q";

/// A lake with orders, and the ports of a cluster that is not there yet.
struct Cluster {
    rig: Rig,
    folder: tempfile::TempDir,
    scheduler_port: u16,
}

impl Cluster {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        std::fs::create_dir_all(models.join("serve")).unwrap();
        for (name, sql) in [("pairs", PAIRS), ("pairs_here", PAIRS), ("holes", HOLES)] {
            std::fs::write(models.join(format!("serve/{name}.sql")), sql).unwrap();
        }
        let models = models.display().to_string();
        let rig = Rig::start_with(&[("LAKE_MODELS_DIR", &models), ("LAKE_SHAPE_FILE_ROWS", "500")]).await;
        let cluster = Self { rig, folder, scheduler_port: testkit::free_port() };
        cluster.fill().await;
        cluster
    }

    /// Orders; the later half has a column that files of the earlier one lack.
    async fn fill(&self) {
        let columns =
            [("id", 23, "int4", -1, false), ("status", 25, "text", -1, false), ("note", 25, "text", -1, true)];
        let mut topic = Topic::new("orders", &columns[..2]);
        for width in [2, 3] {
            topic = topic.altered(&columns[..width]);
            let half = ROWS / 2 * (width as i32 - 2);
            for id in half..half + ROWS / 2 {
                let (text, status) = (id.to_string(), ["pending", "paid", "shipped"][id as usize % 3]);
                let note = if id % 5 == 0 { Cell::Null } else { Cell::Text(text.as_bytes()) };
                let row = [Cell::Text(text.as_bytes()), Cell::Text(status.as_bytes()), note];
                topic.event(0, Op::Create, None, Some(&row[..width]));
            }
            for (key, object) in topic.flush(1) {
                self.rig.raw.put_if_absent(&key, object, Metadata::new()).await.unwrap();
            }
            for layer in ["stage", "shape"] {
                let output = self.lake(&[layer], "local").await;
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    /// Two objects cannot be read and are set aside; one of them is mended. The key of the other.
    async fn dig_holes(&self) -> String {
        let mut topic = Topic::new("things", &[("id", 23, "int4", -1, false)]);
        let mut objects = Vec::new();
        for id in ["1", "2", "3", "4"] {
            topic.event(0, Op::Create, None, Some(&[Cell::Text(id.as_bytes())]));
            objects.extend(topic.flush(0));
        }
        let damaged = |index: usize, whole: &bytes::Bytes| match index {
            1 | 2 => whole.slice(..whole.len() - 20),
            _ => whole.clone(),
        };
        for (index, (key, whole)) in objects.iter().enumerate() {
            self.rig.raw.put(key, damaged(index, whole), Metadata::new()).await.unwrap();
        }
        self.lake(&["stage"], "local").await;
        assert_eq!(self.rows("SELECT COUNT(*) FROM stage._quarantine").await, json!([[2]]));
        self.rig.raw.put(&objects[1].0, objects[1].1.clone(), Metadata::new()).await.unwrap();
        self.lake(&["stage"], "local").await;
        let deletes = "SELECT COUNT(*) FROM stage._quarantine$files WHERE content = 1";
        assert_eq!(self.rows(deletes).await, json!([[1]]), "by position");
        objects[2].0.clone()
    }

    fn engine(&self) -> String {
        format!("ballista=127.0.0.1:{}", self.scheduler_port)
    }

    /// A command of the lake that runs.
    fn begun(&self, args: &[&str], engine: &str) -> Child {
        let mut command = tokio::process::Command::new(Binary::path(LAKE));
        command.args(args).envs(self.rig.env.iter().cloned()).current_dir(std::env::temp_dir()).kill_on_drop(true);
        command.envs([("LAKE_ENGINE", engine), ("LAKE_ENGINE_WAIT_S", "5")]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a command of the lake to its end.
    async fn lake(&self, args: &[&str], engine: &str) -> Output {
        self.begun(args, engine).wait_with_output().await.unwrap()
    }

    /// What became of the chosen models, by name.
    async fn run(&self, selectors: &[&str], engine: &str) -> Vec<(String, String, String)> {
        let args: Vec<&str> = ["run", "--json"].into_iter().chain(selectors.iter().copied()).collect();
        became(&self.lake(&args, engine).await)
    }

    async fn rows(&self, sql: &str) -> Value {
        let output = self.lake(&["sql", sql, "--format", "json"], "local").await;
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{sql}: {}", String::from_utf8_lossy(&output.stderr)));
        answer["rows"].clone()
    }

    async fn scheduler(&self) -> Binary {
        let port = self.scheduler_port.to_string();
        let mut env = self.env();
        env.extend([("LAKE_SCHEDULER_PORT".into(), port), ("LAKE_EXECUTOR_LOST_S".into(), "4".into())]);
        let mut scheduler = spawn("scheduler", &env);
        scheduler.wait_port(self.scheduler_port).await;
        scheduler
    }

    /// An executor, and the folder it works in.
    async fn executor(&self, name: &str) -> (Binary, PathBuf) {
        let (port, folder) = (testkit::free_port(), self.folder.path().join(name));
        let mut env = self.env();
        env.extend([
            ("LAKE_SCHEDULER".into(), format!("127.0.0.1:{}", self.scheduler_port)),
            ("LAKE_EXECUTOR_PORT".into(), port.to_string()),
            ("LAKE_EXECUTOR_DIR".into(), folder.display().to_string()),
            ("LAKE_EXECUTOR_TASKS_MAX".into(), "2".into()),
        ]);
        let mut executor = spawn("executor", &env);
        executor.wait_port(port).await;
        (executor, folder)
    }

    fn env(&self) -> Vec<(String, String)> {
        self.rig.env.clone()
    }

    /// What the scheduler says of itself.
    async fn asked(&self, what: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/{what}", self.scheduler_port);
        let Ok(answer) = reqwest::get(url).await else { return Vec::new() };
        answer.json().await.unwrap_or_default()
    }

    /// Waits until a stage of a job is done and the job is not, so that both executors hold results that are still needed.
    async fn wait_half_done(&self, folders: [&Path; 2]) {
        wait_until("a job that is half done", DEADLINE, async || {
            let half = |job: &Value| {
                let done = job["completed_stages"].as_u64().unwrap_or(0);
                job["status"] == "Running" && done >= 1 && done < job["num_stages"].as_u64().unwrap_or(0)
            };
            self.asked("jobs").await.iter().any(half) && folders.iter().all(|folder| files_below(folder) > 0)
        })
        .await;
    }

    async fn wait_executors(&self, number: usize) {
        wait_until("executors", DEADLINE, async || self.asked("executors").await.len() == number).await;
    }

    /// Both models have the same rows.
    async fn assert_same(&self) {
        let sums = |table: &str| format!("SELECT COUNT(*), SUM(pairs), SUM(ids), SUM(notes) FROM serve.{table}");
        let here = self.rows(&sums("pairs_here")).await;
        assert_eq!(self.rows(&sums("pairs")).await, here);
        let pairs = i64::from(ROWS) * i64::from(ROWS) / 8;
        assert_eq!((&here[0][1], &here[0][3]), (&json!(pairs), &json!(pairs / 2 / 5 * 4)));
        let differ = "SELECT COUNT(*) FROM ((SELECT * FROM serve.pairs EXCEPT SELECT * FROM serve.pairs_here) UNION ALL \
                      (SELECT * FROM serve.pairs_here EXCEPT SELECT * FROM serve.pairs)) AS d";
        assert_eq!(self.rows(differ).await, json!([[0]]));
    }
}

fn spawn(command: &str, env: &[(String, String)]) -> Binary {
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Binary::spawn_with_args(LAKE, &[command], &env)
}

/// What a run said of its models: name, outcome, reason.
fn became(output: &Output) -> Vec<(String, String, String)> {
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("lake run: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = said.as_array().unwrap().iter();
    rows.map(|row| (text(row, "model"), text(row, "outcome"), text(row, "found"))).collect()
}

/// Kills an executor, as a machine that is gone takes its disk along.
async fn lose((executor, folder): &mut (Binary, PathBuf)) {
    executor.kill().await;
    std::fs::remove_dir_all(folder).unwrap();
}

fn signal(process: u32, signal: &str) {
    let sent = std::process::Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(sent.success(), "kill {signal} {process}");
}

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_in_the_middle_of_a_job_changes_no_row() {
    let cluster = Cluster::new().await;
    let here = cluster.run(&["pairs_here"], "local").await;
    assert_eq!(here[0].1, "built", "{here:?}");
    let scheduler = cluster.scheduler().await;
    let (mut first, second) = (cluster.executor("first").await, cluster.executor("second").await);
    cluster.wait_executors(2).await;
    let (engine, chosen) = (cluster.engine(), ["pairs"]);
    let killed = async {
        let folder = first.1.clone();
        cluster.wait_half_done([&folder, &second.1]).await;
        lose(&mut first).await;
        cluster.asked("jobs").await
    };
    let (outcome, jobs) = tokio::join!(cluster.run(&chosen, &engine), killed);
    assert!(jobs.iter().any(|job| job["status"] == "Running"), "the job had ended before the kill: {jobs:?}");
    assert_eq!(outcome[0].1, "built", "{outcome:?}\n{}", scheduler.log_tail());
    cluster.wait_executors(1).await;
    cluster.assert_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_executors_killed_in_the_middle_of_a_job_fail_the_model_unless_others_come_in_time() {
    let cluster = Cluster::new().await;
    assert_eq!(cluster.run(&["pairs_here"], "local").await[0].1, "built");
    let scheduler = cluster.scheduler().await;
    let engine = cluster.engine();

    let (mut first, mut second) = (cluster.executor("first").await, cluster.executor("second").await);
    cluster.wait_executors(2).await;
    let killed = async {
        let folders = (first.1.clone(), second.1.clone());
        cluster.wait_half_done([&folders.0, &folders.1]).await;
        lose(&mut first).await;
        lose(&mut second).await;
    };
    let (outcome, ()) = tokio::join!(cluster.run(&["pairs"], &engine), killed);
    assert_eq!(outcome[0].1, "failed", "{outcome:?}");
    assert!(outcome[0].2.contains("has had no executor for 5 s"), "{outcome:?}");
    assert_eq!(
        cluster.rows("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'pairs'").await,
        json!([[0]])
    );

    let (mut third, mut fourth) = (cluster.executor("third").await, cluster.executor("fourth").await);
    cluster.wait_executors(2).await;
    let replaced = async {
        let folders = (third.1.clone(), fourth.1.clone());
        cluster.wait_half_done([&folders.0, &folders.1]).await;
        lose(&mut third).await;
        lose(&mut fourth).await;
        cluster.executor("fifth").await
    };
    let (outcome, _fifth) = tokio::join!(cluster.run(&["pairs"], &engine), replaced);
    assert_eq!(outcome[0].1, "built", "{outcome:?}\n{}", scheduler.log_tail());
    cluster.assert_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_rows_went_with_an_executor_is_sent_again() {
    let cluster = Cluster::new().await;
    assert_eq!(cluster.run(&["pairs_here"], "local").await[0].1, "built");
    let scheduler = cluster.scheduler().await;
    let (mut first, second) = (cluster.executor("first").await, cluster.executor("second").await);
    cluster.wait_executors(2).await;

    let lake = cluster.begun(&["run", "--json", "pairs"], &cluster.engine());
    let process = lake.id().unwrap();
    cluster.wait_half_done([&first.1, &second.1]).await;
    // The job is done, and the lake is yet to fetch its rows, when one who holds some goes.
    signal(process, "-STOP");
    wait_until("the job's end", DEADLINE, async || {
        cluster.asked("jobs").await.iter().any(|job| job["status"] == "Completed")
    })
    .await;
    lose(&mut first).await;
    signal(process, "-CONT");
    let output = lake.wait_with_output().await.unwrap();
    let (outcome, said) = (became(&output), String::from_utf8_lossy(&output.stderr));
    assert_eq!(outcome[0].1, "built", "{outcome:?}\n{said}\n{}", scheduler.log_tail());
    assert!(said.contains("sent again, an executor is gone"), "{said}");
    cluster.assert_same().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_fails_the_model_in_words_and_the_next_run_tries_again() {
    let cluster = Cluster::new().await;
    let engine = cluster.engine();
    let address = format!("127.0.0.1:{}", cluster.scheduler_port);
    let away = cluster.run(&["pairs", "pairs_here"], &engine).await;
    assert_eq!(away.len(), 2, "one that fails does not stop the other: {away:?}");
    for (_, outcome, text) in &away {
        assert_eq!(outcome, "failed");
        assert!(text.contains(&format!("no scheduler answers at {address}")), "{text}");
    }
    let _scheduler = cluster.scheduler().await;
    let deserted = cluster.run(&["pairs"], &engine).await;
    assert_eq!(deserted[0].1, "failed");
    assert!(deserted[0].2.contains(&format!("{address} has had no executor for 5 s")), "{deserted:?}");
    let (executor, folder) = cluster.executor("only").await;
    let built = cluster.run(&["pairs"], &engine).await;
    assert_eq!(built[0].1, "built", "{built:?}");
    assert_eq!(cluster.run(&["pairs_here"], "local").await[0].1, "built");
    cluster.assert_same().await;
    let hole = cluster.dig_holes().await;
    assert_eq!(cluster.run(&["holes"], &engine).await[0].1, "built");
    assert_eq!(cluster.rows("SELECT object, start_offset FROM serve.holes").await, json!([[hole, 2]]));
    wait_until("what a job left is removed", DEADLINE, async || files_below(&folder) == 0).await;
    assert!(executor.stop().await, "it ends when asked to");
    cluster.wait_executors(0).await;
}
