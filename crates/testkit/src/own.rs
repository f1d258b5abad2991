//! Servers of one test alone: with settings of its own, stopped and started as it likes.

use std::path::{Path, PathBuf};

use embedded::Running;

use crate::{free_port, fresh_name, servers};

/// A Postgres that is the test's alone. Ends with it.
pub struct OwnPostgres {
    pub server: servers::Postgres,
    embedded: embedded::Postgres,
    running: Option<Running>,
}

/// A Kafka that is the test's alone. Ends with it.
pub struct OwnKafka {
    pub server: servers::Kafka,
    embedded: embedded::Kafka,
    /// More lines for `server.properties`, after those of the playground.
    settings: String,
    running: Option<Running>,
}

impl OwnPostgres {
    /// Makes and starts one. `prepare` may change its data folder before it starts.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let embedded = embedded::Postgres {
            dir: servers::server_dir(&fresh_name("postgres")),
            port: free_port(),
            user: "postgres".into(),
            password: "postgres".into(),
            settings: settings.iter().map(|line| (*line).to_owned()).collect(),
        };
        let _ = embedded.prepare().await.expect("prepare Postgres");
        prepare(&embedded.dir.join("data"));
        let server = servers::server("127.0.0.1".into(), embedded.port);
        let mut own = Self { server, embedded, running: None };
        own.resume().await;
        own
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Starts it again on the same port and data.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn resume(&mut self) {
        let mut spec = self.embedded.prepare().await.expect("prepare Postgres");
        spec.dies_with_parent = true;
        spec.log = fresh_log(&self.embedded.dir);
        let mut running = spec.spawn().expect("start Postgres");
        embedded::Postgres::wait_ready(&mut running).await.expect("Postgres comes up");
        self.running = Some(running);
    }
}

impl OwnKafka {
    /// Makes and starts one with more settings; a later line wins over an earlier one of the same name.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(settings: impl FnOnce(&embedded::Kafka) -> String) -> Self {
        let embedded = embedded::Kafka {
            dir: servers::server_dir(&fresh_name("kafka")),
            port: free_port(),
            controller_port: free_port(),
            heap_mb: 384,
        };
        let settings = settings(&embedded);
        let server = servers::Kafka { bootstrap: embedded.bootstrap() };
        let mut own = Self { server, embedded, settings, running: None };
        own.resume().await;
        own
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Starts it again on the same ports and data.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn resume(&mut self) {
        let mut spec = self.embedded.prepare().expect("prepare Kafka");
        let file = self.embedded.dir.join("server.properties");
        let text = std::fs::read_to_string(&file).expect("read server.properties");
        std::fs::write(&file, text + &self.settings).expect("write server.properties");
        spec.dies_with_parent = true;
        spec.log = fresh_log(&self.embedded.dir);
        let mut running = spec.spawn().expect("start Kafka");
        embedded::Kafka::wait_ready(&mut running).await.expect("Kafka comes up");
        self.running = Some(running);
    }

    /// Runs one of Kafka's own programs by its class, until it ends.
    ///
    /// # Panics
    /// When it fails.
    pub async fn tool(&self, class: &str, args: &[&str]) {
        let spec = self.embedded.prepare().expect("prepare Kafka");
        let place = spec.args.iter().position(|arg| arg == "-cp").expect("a class path");
        let mut command = tokio::process::Command::new(&spec.program);
        command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", &spec.args[place + 1], class]).args(args);
        let output = command.output().await.expect("run a program of Kafka");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{class} {args:?}: {}", String::from_utf8_lossy(&said));
    }

    /// Folder of the server, for files that a test puts beside it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.embedded.dir
    }
}

/// Readiness is read from the log, so that each start needs one of its own.
fn fresh_log(dir: &Path) -> PathBuf {
    dir.join(format!("{}.log", fresh_name("run")))
}

/// Gives a file to the user that Postgres runs as when tests are run by root, readable by it alone.
///
/// # Panics
/// When that is refused.
pub fn for_postgres(file: &Path) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let owner = std::fs::metadata(file.parent().expect("a folder")).expect("the data folder");
    chown(file, Some(owner.uid()), Some(owner.gid())).expect("give the file to Postgres");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("set permissions");
}
