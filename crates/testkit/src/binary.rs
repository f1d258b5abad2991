//! Our own binaries as child processes of a test.

use std::{
    collections::HashSet,
    path::PathBuf,
    process::Command,
    sync::Mutex,
    time::{Duration, Instant},
};

use embedded::{ProcessSpec, Running, StopSignal};

/// A running binary of this workspace. Killed by its id when dropped.
pub struct Binary {
    running: Running,
}

impl Binary {
    /// Starts a binary with these settings. Its log lies beside the test's other files; a failure shows its end.
    ///
    /// # Panics
    /// When the binary cannot be built or started.
    #[must_use]
    pub fn spawn(name: &str, env: &[(&str, &str)]) -> Self {
        Self::spawn_with_args(name, &[], env)
    }

    /// As [`Binary::spawn`], with arguments.
    ///
    /// # Panics
    /// As [`Binary::spawn`].
    #[must_use]
    pub fn spawn_with_args(name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let log = std::env::temp_dir().join("haus-am-see-tests").join(format!(
            "{}-{}.log",
            std::process::id(),
            crate::fresh_name(name)
        ));
        let spec = ProcessSpec {
            name: name.to_owned(),
            program: Self::path(name),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            // No `.env` of a checkout shall reach a test.
            dir: Some(std::env::temp_dir()),
            log,
            stop_signal: StopSignal::Terminate,
            dies_with_parent: true,
        };
        Self { running: spec.spawn().expect("start a binary") }
    }

    /// Path of a binary of this workspace, built before it is first used. `HAUS_TEST_BUILT` says that all are built.
    /// `<package>-failpoints` is the package's binary with the feature `failpoints`.
    ///
    /// # Panics
    /// When the build fails.
    #[must_use]
    pub fn path(name: &str) -> PathBuf {
        static BUILT: Mutex<Option<HashSet<String>>> = Mutex::new(None);
        let mut built = BUILT.lock().expect("the list of built binaries");
        if std::env::var_os("HAUS_TEST_BUILT").is_none() && built.get_or_insert_default().insert(name.to_owned()) {
            let mut cargo = Command::new(env!("CARGO"));
            match name.strip_suffix("-failpoints") {
                Some(package) => cargo.args(["build", "-q", "-p", package, "--bin", name, "--features", "failpoints"]),
                None => cargo.args(["build", "-q", "-p", name]),
            };
            let status = cargo.status().expect("run cargo");
            assert!(status.success(), "cargo build -p {name} failed");
        }
        // A test binary lies in <target>/<profile>/deps.
        let test = std::env::current_exe().expect("path of the test");
        test.ancestors().nth(2).expect("profile folder").join(name)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Waits until `ready` is true.
    ///
    /// # Panics
    /// When the binary ends or is not ready within `deadline`; with the end of its log.
    pub async fn wait_ready(&mut self, deadline: Duration, mut ready: impl AsyncFnMut() -> bool) {
        let begin = Instant::now();
        while !ready().await {
            if let Err(error) = self.running.may_still_come(begin, deadline) {
                panic!("{error}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until something listens on a port of loopback.
    ///
    /// # Panics
    /// As [`Binary::wait_ready`].
    pub async fn wait_port(&mut self, port: u16) {
        self.wait_ready(Duration::from_secs(30), async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
    }

    /// `kill -9`, and waits until the process is gone.
    pub async fn kill(&mut self) {
        self.running.kill().await;
    }

    /// Asks the process to stop; `true` when it did so by itself.
    pub async fn stop(self) -> bool {
        self.running.stop().await
    }

    /// How the process ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        self.running.ended()
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.running.log_tail()
    }
}
