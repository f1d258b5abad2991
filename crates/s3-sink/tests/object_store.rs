//! The store under test: our object server, or MinIO when `HAUS_TEST_STORE` is `minio` (`make test-peers`).

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Binary, free_port};

/// A running store with the bucket `raw`; it can die and come back where it was.
pub struct ObjectStore {
    pub port: u16,
    dir: tempfile::TempDir,
    running: Option<Running>,
}

enum Running {
    Ours(Box<Binary>),
    MinIo(#[allow(dead_code, reason = "stopped when it is dropped")] MinIo),
}

/// Killed when dropped.
struct MinIo(PathBuf);

impl Drop for MinIo {
    fn drop(&mut self) {
        let _ = Command::new(script()).arg("kill").arg(&self.0).status();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/peers/minio.sh")
}

impl ObjectStore {
    pub async fn start() -> Self {
        let mut store = Self { port: free_port(), dir: tempfile::tempdir().unwrap(), running: None };
        store.start_again().await;
        store
    }

    pub async fn start_again(&mut self) {
        let (dir, port) = (self.dir.path().to_owned(), self.port.to_string());
        let minio = std::env::var("HAUS_TEST_STORE").is_ok_and(|store| store == "minio");
        self.running = Some(if minio {
            let mut start = Command::new(script());
            start.arg("start").arg(&dir).arg(port);
            let status = tokio::task::spawn_blocking(move || start.status()).await.unwrap().unwrap();
            assert!(status.success(), "MinIO");
            Running::MinIo(MinIo(dir))
        } else {
            let mut binary = Binary::spawn(
                "object-server",
                &[("S3_PORT", port.as_str()), ("OBJECT_SERVER_DIR", dir.to_str().unwrap())],
            );
            binary.wait_port(self.port).await;
            Running::Ours(Box::new(binary))
        });
    }

    pub async fn kill(&mut self) {
        if let Running::Ours(mut binary) = self.running.take().unwrap() {
            binary.kill().await;
        }
    }

    /// Multipart uploads that were neither completed nor aborted.
    pub fn uploads(&self) -> usize {
        let folders = |path: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        match self.running {
            // A folder for each object with a folder for each upload.
            Some(Running::MinIo(_)) => {
                let objects = folders(&self.dir.path().join("data/.minio.sys/multipart"));
                objects.iter().map(|object| folders(object).len()).sum()
            }
            _ => folders(&self.dir.path().join("uploads")).len(),
        }
    }
}
