//! A server of a test: its folder, its process, its clients.

use std::{path::PathBuf, time::Duration};

use opendal::{Operator, services::S3};
use testkit::Binary;

/// One object server with a folder of its own.
pub struct Server {
    pub dir: tempfile::TempDir,
    pub port: u16,
    process: Binary,
}

impl Server {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = testkit::free_port();
        let process = spawn(dir.path().join("objects"), port);
        let mut server = Self { dir, port, process };
        server.wait().await;
        server
    }

    async fn wait(&mut self) {
        let url = self.url("/-/health");
        let healthy = async || reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success());
        self.process.wait_ready(Duration::from_secs(30), healthy).await;
    }

    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts again on the same folder and port.
    pub async fn restart(&mut self) {
        self.process = spawn(self.dir.path().join("objects"), self.port);
        self.wait().await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn client(&self, bucket: &str) -> Operator {
        self.client_with_secret(bucket, "minio123")
    }

    pub fn client_with_secret(&self, bucket: &str, secret: &str) -> Operator {
        let settings = S3::default()
            .endpoint(&self.url(""))
            .region("us-east-1")
            .bucket(bucket)
            .access_key_id("minio")
            .secret_access_key(secret)
            .disable_config_load()
            .disable_ec2_metadata();
        Operator::new(settings).unwrap().finish()
    }
}

/// Starts a server process; does not wait for it.
pub fn spawn(dir: PathBuf, port: u16) -> Binary {
    let (port, dir) = (port.to_string(), dir.display().to_string());
    let settings = [
        ("S3_PORT", &*port),
        ("OBJECT_SERVER_DIR", &*dir),
        ("AWS_ACCESS_KEY_ID", "minio"),
        ("AWS_SECRET_ACCESS_KEY", "minio123"),
    ];
    Binary::spawn("object-server", &settings)
}
