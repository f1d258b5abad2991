//! PostgreSQL 17 with logical replication switched on, on loopback.
//!
//! Postgres refuses to run as root. Started by root, it runs as user `nobody` with the one capability that lets it reach
//! its data wherever the checkout lies (`CAP_DAC_OVERRIDE`, given by `setpriv`). Its programs lie in a folder open to all
//! ([`cache::postgres_home`]): they check with `access(2)`, which knows no capability, that they can reach themselves.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use crate::{EmbeddedError, ProcessSpec, Running, StopSignal, cache, file_error};

const READY_LINE: &str = "database system is ready to accept connections";
/// Crash recovery after a kill may take its time.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// `nobody` on Debian: exists everywhere, owns nothing.
const UNPRIVILEGED_ID: u32 = 65534;
const MAJOR_VERSION: &str = "17";

/// One Postgres server and its folder.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// Holds data and log.
    pub dir: PathBuf,
    pub port: u16,
    pub user: String,
    /// Set when the data folder is made; not changed afterwards.
    pub password: String,
    /// More lines for `postgresql.conf`.
    pub settings: Vec<String>,
}

impl Postgres {
    /// Makes the data folder when it is missing and starts the server; returns when clients can use it.
    ///
    /// # Errors
    /// When Postgres was not fetched, the data folder is of another version, or the server does not come up.
    pub async fn start(&self) -> Result<Running, EmbeddedError> {
        let mut running = self.prepare().await?.spawn()?;
        Self::wait_ready(&mut running).await?;
        Ok(running)
    }

    /// Waits until the server of this process accepts clients.
    ///
    /// # Errors
    /// When it ends or takes too long.
    pub async fn wait_ready(running: &mut Running) -> Result<(), EmbeddedError> {
        running.wait_log_line(READY_DEADLINE, READY_LINE).await
    }

    /// Makes the data folder and configuration and says how the server is started.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn prepare(&self) -> Result<ProcessSpec, EmbeddedError> {
        let home = cache::postgres_home()?;
        let data = self.dir.join("data");
        std::fs::create_dir_all(&self.dir).map_err(file_error("make folder", &self.dir))?;
        match std::fs::read_to_string(data.join("PG_VERSION")) {
            Ok(version) if version.trim() == MAJOR_VERSION => {}
            Ok(version) => {
                let found = version.trim().to_owned();
                return Err(EmbeddedError::WrongVersion {
                    what: "the Postgres data",
                    found,
                    expected: MAJOR_VERSION,
                    path: data,
                });
            }
            Err(_) => self.init(&home, &data).await?,
        }
        let conf = data.join("haus.conf");
        std::fs::write(&conf, self.configuration()).map_err(file_error("write", &conf))?;
        if rustix::process::geteuid().is_root() {
            chown(&conf)?;
        }
        let (program, args) = unprivileged(&home.join("bin/postgres"), &["-D".into(), data.display().to_string()]);
        Ok(ProcessSpec {
            name: "postgres".into(),
            program,
            args,
            env: vec![],
            dir: Some(self.dir.clone()),
            log: self.dir.join("postgres.log"),
            stop_signal: StopSignal::Interrupt,
            dies_with_parent: false,
        })
    }

    /// `initdb`, into a folder beside the final one, so that a killed run leaves no half-made data folder.
    async fn init(&self, home: &Path, data: &Path) -> Result<(), EmbeddedError> {
        let fresh = self.dir.join("data.new");
        let _ = std::fs::remove_dir_all(&fresh);
        std::fs::create_dir_all(&fresh).map_err(file_error("make folder", &fresh))?;
        let password = self.dir.join("password");
        std::fs::write(&password, &self.password).map_err(file_error("write", &password))?;
        if rustix::process::geteuid().is_root() {
            chown(&fresh)?;
        }
        let args = [
            "-D".to_owned(),
            fresh.display().to_string(),
            "-U".into(),
            self.user.clone(),
            "--pwfile".into(),
            password.display().to_string(),
            "--auth=scram-sha-256".into(),
            "--encoding=UTF8".into(),
            "--locale=C.UTF-8".into(),
            "--no-instructions".into(),
        ];
        let (program, args) = unprivileged(&home.join("bin/initdb"), &args);
        let output = Command::new(&program).args(&args).current_dir(&self.dir).output().await;
        let _ = std::fs::remove_file(&password);
        let output =
            output.map_err(|source| EmbeddedError::Process { action: "run", name: "initdb".into(), source })?;
        if !output.status.success() {
            return Err(EmbeddedError::Ended {
                name: "initdb".into(),
                status: output.status.to_string(),
                log: self.dir.clone(),
                tail: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        let main = fresh.join("postgresql.conf");
        let text = std::fs::read_to_string(&main).map_err(file_error("read", &main))?;
        std::fs::write(&main, text + "\ninclude 'haus.conf'\n").map_err(file_error("write", &main))?;
        std::fs::rename(&fresh, data).map_err(file_error("rename", &fresh))
    }

    fn configuration(&self) -> String {
        let mut text = format!(
            "listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
wal_level = logical
max_wal_senders = 60
max_replication_slots = 60
max_connections = 200
max_wal_size = 2GB
shared_buffers = 64MB
",
            port = self.port
        );
        for line in &self.settings {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// The command as an unprivileged user when this process is root, as it is otherwise.
fn unprivileged(program: &Path, args: &[String]) -> (PathBuf, Vec<String>) {
    if !rustix::process::geteuid().is_root() {
        return (program.to_owned(), args.to_vec());
    }
    let mut with_user = vec![
        format!("--reuid={UNPRIVILEGED_ID}"),
        format!("--regid={UNPRIVILEGED_ID}"),
        "--clear-groups".into(),
        "--inh-caps=+dac_override".into(),
        "--ambient-caps=+dac_override".into(),
        program.display().to_string(),
    ];
    with_user.extend_from_slice(args);
    ("setpriv".into(), with_user)
}

fn chown(path: &Path) -> Result<(), EmbeddedError> {
    std::os::unix::fs::chown(path, Some(UNPRIVILEGED_ID), Some(UNPRIVILEGED_ID))
        .map_err(file_error("give to nobody", path))
}
