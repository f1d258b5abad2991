//! Apache Kafka, one node that is broker and controller (KRaft), on loopback.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{EmbeddedError, ProcessSpec, Running, StopSignal, cache, file_error};

/// What the broker logs when clients can use it.
const READY_LINE: &str = "Kafka Server started";
/// A cold JVM on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(90);

/// One Kafka node and its folder.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// Holds configuration, data and log.
    pub dir: PathBuf,
    pub port: u16,
    pub controller_port: u16,
    /// The JVM's heap; 256 MB carry the playground.
    pub heap_mb: u32,
}

impl Kafka {
    /// Where clients connect.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Writes the configuration, makes the data folder ready and starts the broker; returns when clients can use it.
    ///
    /// # Errors
    /// When Kafka was not fetched, Java is missing or the broker does not come up.
    pub async fn start(&self) -> Result<Running, EmbeddedError> {
        let mut running = self.prepare()?.spawn()?;
        Self::wait_ready(&mut running).await?;
        Ok(running)
    }

    /// Waits until the broker of this process accepts clients.
    ///
    /// # Errors
    /// When it ends or takes too long.
    pub async fn wait_ready(running: &mut Running) -> Result<(), EmbeddedError> {
        running.wait_log_line(READY_DEADLINE, READY_LINE).await
    }

    /// Writes everything the broker needs and says how it is started.
    ///
    /// # Errors
    /// When Kafka was not fetched or its folder cannot be written.
    pub fn prepare(&self) -> Result<ProcessSpec, EmbeddedError> {
        let jars = cache::kafka_jars()?;
        let data = self.dir.join("data");
        std::fs::create_dir_all(&data).map_err(file_error("make folder", &data))?;
        let properties = self.dir.join("server.properties");
        write(&properties, &self.properties(&data))?;
        let logging = self.dir.join("log4j2.yaml");
        write(&logging, LOGGING)?;
        self.format(&data)?;
        Ok(ProcessSpec {
            name: "kafka".into(),
            program: java(),
            args: vec![
                format!("-Xms{}m", self.heap_mb / 2),
                format!("-Xmx{}m", self.heap_mb),
                // Two cores: one collector thread and the quick compiler start faster and need less memory.
                "-XX:+UseSerialGC".into(),
                "-XX:TieredStopAtLevel=1".into(),
                "-Xshare:auto".into(),
                format!("-XX:SharedArchiveFile={}", jars.join("kafka.jsa").display()),
                "-Xlog:disable".into(),
                "-Djava.awt.headless=true".into(),
                format!("-Dlog4j2.configurationFile={}", logging.display()),
                "-cp".into(),
                jars.join("*").display().to_string(),
                "kafka.Kafka".into(),
                properties.display().to_string(),
            ],
            env: vec![],
            dir: Some(self.dir.clone()),
            log: self.dir.join("kafka.log"),
            stop_signal: StopSignal::Terminate,
            dies_with_parent: false,
        })
    }

    fn properties(&self, data: &Path) -> String {
        let Self { port, controller_port, .. } = self;
        format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.partitions=1
num.network.threads=2
num.io.threads=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.hours=168
log.cleaner.dedupe.buffer.size=8388608
",
            data = data.display()
        )
    }

    /// Marks the data folder as this node's, once. The same as `kafka-storage format`, without starting a JVM for it:
    /// the broker takes its first metadata version from its own default (`BootstrapDirectory`, Kafka 4).
    fn format(&self, data: &Path) -> Result<(), EmbeddedError> {
        let meta = data.join("meta.properties");
        if meta.is_file() {
            return Ok(());
        }
        let cluster = short_uuid();
        let directory = short_uuid();
        write(&meta, &format!("version=1\nnode.id=1\ncluster.id={cluster}\ndirectory.id={directory}\n"))
    }
}

/// A UUID as Kafka writes them: 16 bytes in URL-safe base64 without padding, not beginning with a dash.
fn short_uuid() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    loop {
        let bits = uuid::Uuid::new_v4().as_u128();
        // 22 digits of six bits, the last one shifted up by four (128 = 21 * 6 + 2).
        let text: String = (0..22)
            .map(|digit| {
                let value = if digit == 21 { (bits << 4) & 63 } else { (bits >> (122 - 6 * digit)) & 63 };
                char::from(ALPHABET[usize::try_from(value).unwrap_or(0)])
            })
            .collect();
        if !text.starts_with('-') {
            return text;
        }
    }
}

/// `$JAVA_HOME/bin/java`, else `java` on the path.
fn java() -> PathBuf {
    std::env::var_os("JAVA_HOME")
        .map(|home| PathBuf::from(home).join("bin/java"))
        .filter(|java| java.is_file())
        .unwrap_or_else(|| PathBuf::from("java"))
}

fn write(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    std::fs::write(path, text).map_err(file_error("write", path))
}

const LOGGING: &str = "Configuration:
  Appenders:
    Console: { name: STDOUT, PatternLayout: { pattern: \"[%d] %p %m (%c)%n\" } }
  Loggers:
    Root: { level: INFO, AppenderRef: [ { ref: STDOUT } ] }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_uuid_is_22_url_safe_characters() {
        for _ in 0..100 {
            let text = short_uuid();
            assert_eq!(text.len(), 22);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        }
    }
}
