//! One Postgres and one Kafka per test process, started on first use.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use crate::{free_port, fresh_name};

/// A running Postgres with `wal_level = logical`; user `postgres`, password `postgres`.
#[derive(Debug, Clone)]
pub struct Postgres {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
}

impl Postgres {
    /// Connection string for a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{}:{}@{}:{}/{database}", self.user, self.password, self.host, self.port)
    }

    /// A client on a database; its connection ends with it.
    ///
    /// # Panics
    /// When the database cannot be reached.
    pub async fn connect(&self, database: &str) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url(database), tokio_postgres::NoTls).await.expect("connect to Postgres");
        tokio::spawn(connection);
        client
    }
}

/// A running Kafka.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `host:port` for `bootstrap.servers`.
    pub bootstrap: String,
}

/// The Postgres of this test process.
///
/// # Panics
/// When it cannot be started.
pub async fn postgres() -> &'static Postgres {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    on_blocking_thread(|| {
        POSTGRES
            .get_or_init(|| given("HAUS_TEST_POSTGRES").map_or_else(start_postgres, |(host, port)| server(host, port)))
    })
    .await
}

/// The Kafka of this test process.
///
/// # Panics
/// When it cannot be started.
pub async fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    on_blocking_thread(|| {
        KAFKA.get_or_init(|| {
            given("HAUS_TEST_KAFKA")
                .map_or_else(start_kafka, |(host, port)| Kafka { bootstrap: format!("{host}:{port}") })
        })
    })
    .await
}

/// Makes an empty database and returns its name.
///
/// # Panics
/// When it cannot be made.
pub async fn fresh_database() -> String {
    let name = fresh_name("test");
    let client = postgres().await.connect("postgres").await;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("make a fresh database");
    name
}

async fn on_blocking_thread<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(start).await.expect("start a server for tests")
}

pub(crate) fn server(host: String, port: u16) -> Postgres {
    Postgres { host, port, user: "postgres".into(), password: "postgres".into() }
}

fn given(variable: &str) -> Option<(String, u16)> {
    let value = std::env::var(variable).ok()?;
    let (host, port) = value.rsplit_once(':').unwrap_or_else(|| panic!("{variable}: expected host:port"));
    Some((host.to_owned(), port.parse().unwrap_or_else(|_| panic!("{variable}: expected host:port"))))
}

fn start_postgres() -> Postgres {
    let port = free_port();
    let dir = server_dir("postgres");
    keep(async move || {
        let server = embedded::Postgres {
            dir,
            port,
            user: "postgres".into(),
            password: "postgres".into(),
            settings: vec!["fsync = off".into()],
        };
        let mut spec = server.prepare().await.expect("prepare Postgres");
        spec.dies_with_parent = true;
        let mut running = spec.spawn().expect("start Postgres");
        embedded::Postgres::wait_ready(&mut running).await.expect("Postgres comes up");
        running
    });
    server("127.0.0.1".into(), port)
}

fn start_kafka() -> Kafka {
    let server =
        embedded::Kafka { dir: server_dir("kafka"), port: free_port(), controller_port: free_port(), heap_mb: 384 };
    let bootstrap = server.bootstrap();
    keep(async move || {
        let mut spec = server.prepare().expect("prepare Kafka");
        spec.dies_with_parent = true;
        let mut running = spec.spawn().expect("start Kafka");
        embedded::Kafka::wait_ready(&mut running).await.expect("Kafka comes up");
        running
    });
    Kafka { bootstrap }
}

/// Runs `start` on a thread that lives as long as the test process and owns the server: when the process ends, by
/// whatever cause, the kernel ends the server.
fn keep(start: impl AsyncFnOnce() -> embedded::Running + Send + 'static) {
    let (ready, started) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime for the server");
        let mut running = runtime.block_on(start());
        let _ = ready.send(());
        let status = runtime.block_on(running.wait());
        panic!("{} ended during the tests: {status}", running.name());
    });
    started.recv().expect("the server came up");
}

/// A fresh folder for a server of this process. Folders of processes that are gone are removed first.
pub(crate) fn server_dir(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join("haus-am-see-tests");
    if let Ok(entries) = std::fs::read_dir(&root) {
        for entry in entries.flatten() {
            let owner = entry.file_name().to_string_lossy().split('-').next().unwrap_or_default().to_owned();
            if !Path::new("/proc").join(owner).exists() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
    let dir = root.join(format!("{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("make a folder for the server");
    dir
}
