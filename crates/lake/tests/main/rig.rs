//! An object server, a catalog and a lake of a test's own.

use std::{path::PathBuf, time::Duration};

use model::secret::Secret;
use objects::Store;
use serde_json::{Value, json};
use testkit::Binary;

/// Servers of one test, ended with it.
pub struct Rig {
    pub raw: Store,
    pub env: Vec<(String, String)>,
    lake_port: u16,
    _dir: tempfile::TempDir,
    _object_server: Binary,
    _catalog: Binary,
}

impl Rig {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings of its own.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let postgres = testkit::postgres().await;
        let database = testkit::fresh_database().await;
        let dir = tempfile::tempdir().unwrap();
        let (s3, catalog, lake) = (testkit::free_port(), testkit::free_port(), testkit::free_port());
        let env: Vec<(String, String)> = [
            ("S3_PORT", s3.to_string()),
            ("S3_ENDPOINT", format!("http://127.0.0.1:{s3}")),
            ("OBJECT_SERVER_DIR", dir.path().join("objects").display().to_string()),
            ("AWS_ACCESS_KEY_ID", "minio".into()),
            ("AWS_SECRET_ACCESS_KEY", "minio123".into()),
            ("POSTGRES_HOST", postgres.host.clone()),
            ("POSTGRES_PORT", postgres.port.to_string()),
            ("CATALOG_DB", database),
            ("CATALOG_PORT", catalog.to_string()),
            ("CATALOG_URL", format!("http://127.0.0.1:{catalog}")),
            ("SCHEMA_REGISTRY_URL", String::new()),
            ("LAKE_PORT", lake.to_string()),
            ("LAKE_SQL_PORT", "0".into()),
            ("LAKE_POLL_MS", "50".into()),
            ("LAKE_MODELS_DIR", format!("{}/../../models", env!("CARGO_MANIFEST_DIR"))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .chain(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        .collect();
        let mut object_server = Binary::spawn("object-server", &borrowed(&env));
        object_server.wait_port(s3).await;
        let mut catalog_server = Binary::spawn("catalog", &borrowed(&env));
        catalog_server.wait_port(catalog).await;
        let endpoint = format!("http://127.0.0.1:{s3}");
        let raw = Store::new(&endpoint, "us-east-1", "minio", &Secret::new("minio123"), "raw").unwrap();
        Self { raw, env, lake_port: lake, _dir: dir, _object_server: object_server, _catalog: catalog_server }
    }

    /// Starts `lake watch` and waits until it answers.
    pub async fn lake(&self) -> Binary {
        let mut lake = Binary::spawn_with_args("lake", &["watch"], &borrowed(&self.env));
        lake.wait_port(self.lake_port).await;
        lake
    }

    /// As [`Self::lake`], a second one at a port of its own.
    pub async fn another_lake(&self) -> Binary {
        let port = testkit::free_port();
        let mut env = self.env.clone();
        env.retain(|(name, _)| name != "LAKE_PORT");
        env.push(("LAKE_PORT".into(), port.to_string()));
        let mut lake = Binary::spawn_with_args("lake", &["watch"], &borrowed(&env));
        lake.wait_port(port).await;
        lake
    }

    /// Runs a command of `lake` to its end; its output, as JSON.
    pub fn command(&self, args: &[&str], settings: &[(&str, &str)]) -> Value {
        let output = std::process::Command::new(Binary::path("lake"))
            .args(args)
            .envs(self.env.iter().cloned())
            .envs(settings.iter().copied())
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "lake {args:?}: {text}\n{errors}");
        serde_json::from_str(&text).unwrap()
    }

    /// Asks the loop for a pass.
    pub async fn run(&self) -> Result<Value, String> {
        let request = reqwest::Client::new().post(format!("http://127.0.0.1:{}/run", self.lake_port));
        let answer = request.timeout(Duration::from_secs(60)).send().await.map_err(|error| error.to_string())?;
        answer.json().await.map_err(|error| error.to_string())
    }

    /// Another engine at work: `disturb_lake.py`. What it prints.
    pub fn disturb(&self, args: &[&str]) -> String {
        let readers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers");
        let output = std::process::Command::new(readers_python(&readers))
            .arg(readers.join("disturb_lake.py"))
            .args(args)
            .envs(self.env.iter().cloned())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Rows of a query by HTTP.
    pub async fn sql(&self, sql: &str) -> Result<Value, String> {
        let request = reqwest::Client::new().post(format!("http://127.0.0.1:{}/sql", self.lake_port));
        let answer = request.json(&json!({"sql": sql})).timeout(Duration::from_secs(20)).send().await;
        let answer: Value =
            answer.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())?;
        answer.get("rows").cloned().ok_or_else(|| answer.to_string())
    }

    /// What `/status` says.
    pub async fn status(&self) -> Value {
        let url = format!("http://127.0.0.1:{}/status", self.lake_port);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    /// What PyIceberg, DuckDB and Polars read.
    pub fn read_by_others(&self) -> Value {
        self.layers_read_by_others(&["shape", "serve", "stage"])
    }

    /// As [`Self::read_by_others`], of some layers.
    pub fn layers_read_by_others(&self, layers: &[&str]) -> Value {
        let readers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers");
        let output = std::process::Command::new(readers_python(&readers))
            .arg(readers.join("read_lake.py"))
            .args(layers)
            .envs(self.env.iter().cloned())
            .output()
            .unwrap();
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "the readers differ or failed: {text}\n{errors}");
        serde_json::from_str(&text).unwrap()
    }
}

/// Python with the readers' packages, in a virtual environment beside the build cache, made when missing.
pub fn readers_python(readers: &std::path::Path) -> PathBuf {
    let cache = std::env::var_os("HAUS_CACHE")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/haus-am-see"), PathBuf::from);
    let python = cache.join("py-readers/bin/python");
    let run = |program: &std::path::Path, args: &[&str]| {
        assert!(std::process::Command::new(program).args(args).status().unwrap().success(), "{program:?} {args:?}");
    };
    if !python.exists() {
        run("python3".as_ref(), &["-m", "venv", &cache.join("py-readers").display().to_string()]);
    }
    let installed = std::process::Command::new(&python)
        .args(["-c", "import adbc_driver_postgresql, duckdb_extension_httpfs, polars, psycopg, pyiceberg"])
        .output()
        .unwrap();
    if !installed.status.success() {
        run(&python, &["-m", "pip", "install", "-q", "-r", &readers.join("requirements.txt").display().to_string()]);
    }
    python
}

fn borrowed(env: &[(String, String)]) -> Vec<(&str, &str)> {
    env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
