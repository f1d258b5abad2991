//! A whole embedded stack of its own: free ports, own folder, ended with the test.

use std::{collections::HashMap, path::PathBuf, process::Output, time::Duration};

use serde_json::Value;
use testkit::{Binary, free_port};

use crate::tidy::root;

pub struct Stack {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Stack {
    /// Settings of a stack that nobody started yet.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut env: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
        let alone = [
            "POSTGRES_PORT",
            "SEEDER_PORT",
            "KAFKA_CONTROLLER_PORT",
            "CDC_RELAY_PORT",
            "S3_SINK_PORT",
            "LAKE_SQL_PORT",
        ];
        for name in alone {
            set(name, free_port().to_string());
        }
        set("KAFKA_BOOTSTRAP_SERVERS", format!("127.0.0.1:{}", free_port()));
        for (port, url) in [
            ("REGISTRY_PORT", "SCHEMA_REGISTRY_URL"),
            ("S3_PORT", "S3_ENDPOINT"),
            ("CATALOG_PORT", "CATALOG_URL"),
            ("LAKE_PORT", "LAKE_URL"),
        ] {
            let number = free_port();
            set(port, number.to_string());
            set(url, format!("http://127.0.0.1:{number}"));
        }
        set("HAUS_DIR", dir.path().join("haus").display().to_string());
        set("HAUS_HOME", root().display().to_string());
        set("POSTGRES_HOST", "127.0.0.1".into());
        // Small batches make more seams to cut at.
        set("SINK_FLUSH_SIZE", "500".into());
        set("SINK_ROTATE_INTERVAL_MS", "1000".into());
        Self { dir, env }
    }

    pub fn setting(&self, name: &str) -> &str {
        &self.env.iter().find(|(known, _)| known == name).unwrap().1
    }

    pub fn environment(&self) -> HashMap<String, String> {
        self.env.iter().cloned().collect()
    }

    /// Runs `haus` with arguments.
    pub async fn try_haus(&self, args: &[&str]) -> Output {
        let path: PathBuf = Binary::path("haus");
        let mut command = tokio::process::Command::new(path);
        command.args(args).envs(self.environment()).current_dir(self.dir.path()).stdin(std::process::Stdio::null());
        tokio::time::timeout(Duration::from_secs(300), command.output()).await.expect("haus answers in time").unwrap()
    }

    /// Runs `haus --json` and returns its facts; panics with everything it said when it fails.
    pub async fn haus(&self, args: &[&str]) -> Value {
        let mut with_json = vec!["--json"];
        with_json.extend_from_slice(args);
        let output = self.try_haus(&with_json).await;
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "haus {args:?}: {}\n{out}\n{error}\n{}", output.status, self.log_tails());
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("haus {args:?} printed no JSON: {out}\n{error}"))
    }

    /// Process id of a running part.
    pub async fn pid(&self, name: &str) -> Option<u32> {
        let status = self.haus(&["status"]).await;
        let processes = status["processes"].as_array()?;
        let process = processes.iter().find(|process| process["name"] == name)?;
        (process["phase"] == "ready").then(|| u32::try_from(process["pid"].as_u64()?).ok())?
    }

    /// `kill -9` of a part by its id. The supervisor starts it again.
    pub async fn kill(&self, name: &str) {
        let pid =
            testkit::wait_until(&format!("{name} runs"), Duration::from_secs(60), async || self.pid(name).await).await;
        kill_now(pid);
    }

    /// Bytes that the storefront's topics hold, by the sizes of the broker's log segments: quick to look at, so that a
    /// test can act while something is under way.
    pub fn topic_bytes(&self) -> u64 {
        let Ok(folders) = std::fs::read_dir(self.dir.path().join("haus/kafka/data")) else { return 0 };
        let of_storefront =
            folders.flatten().filter(|folder| folder.file_name().to_string_lossy().starts_with("storefront."));
        let files =
            of_storefront.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flat_map(Iterator::flatten);
        let segments = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
        segments.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// A client of the storefront database.
    pub async fn postgres(&self) -> tokio_postgres::Client {
        let url = format!("postgresql://postgres:postgres@127.0.0.1:{}/storefront", self.setting("POSTGRES_PORT"));
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("connect to the storefront");
        tokio::spawn(connection);
        client
    }

    /// The ends of all logs: what a person would look at first.
    pub fn log_tails(&self) -> String {
        let mut text = String::new();
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("haus/logs")) else { return text };
        for entry in entries.flatten() {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            text.push_str(&format!(
                "--- {}\n{}\n",
                entry.path().display(),
                lines[lines.len().saturating_sub(12)..].join("\n")
            ));
        }
        text
    }
}

/// `kill -9`, by the process' id.
pub fn kill_now(pid: u32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -9 {pid}");
}

impl Drop for Stack {
    /// Ends the supervisor by its id; its children die with it.
    fn drop(&mut self) {
        let state = std::fs::read(self.dir.path().join("haus/state.json")).unwrap_or_default();
        let Ok(state) = serde_json::from_slice::<Value>(&state) else { return };
        if let Some(pid) = state["supervisor"]["pid"].as_u64() {
            let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}
