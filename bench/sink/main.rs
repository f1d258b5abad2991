//! How fast the sink is, beside a consumer that only writes the bytes to disk.
//!
//! Starts a real Kafka and our object server, fills a topic, then lets the sink copy it into objects and, in the same
//! run, a consumer with the same fetch settings, a member of a group as well, write the values into one file. The clock runs
//! from the connector's registration until every record is in an object and committed; files end each second, so that
//! waiting for the end of the last ones weighs little. Sizes by environment: `BENCH_SINK_RECORDS`,
//! `BENCH_SINK_RECORD_BYTES`, `BENCH_SINK_PARTITIONS`; `BENCH_SINK_TASKS` (2). The last line is one JSON object.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::{Binary, free_port, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use topics::{
    Admin, Cluster, Consumer, ConsumerSettings, Event, Partition, RecordOut, TopicPlan, TransactionSettings,
    TransactionalProducer,
};

const TOPIC: &str = "bench.public.rows";
const CONNECTOR: &str = "bench";
const SCHEMA: &str = r#"{\"type\":\"record\",\"name\":\"Row\",\"fields\":[{\"name\":\"data\",\"type\":\"bytes\"}]}"#;
/// Records of a transaction.
const BATCH: u64 = 50_000;
/// Longest time anything here may take.
const DEADLINE: Duration = Duration::from_secs(900);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() -> Result<()> {
    let records = setting("BENCH_SINK_RECORDS", 5_000_000);
    let bytes = setting("BENCH_SINK_RECORD_BYTES", 300);
    let partitions = i32::try_from(setting("BENCH_SINK_PARTITIONS", 6))?;
    let cluster = Cluster::new(&testkit::kafka().await.bootstrap, "bench-sink");
    Admin::new(&cluster)?.create_topic(&TopicPlan::new(TOPIC, partitions)).await?;
    let value_bytes = fill(&cluster, records, usize::try_from(bytes)?, partitions)?;
    println!("{records} records of {bytes} bytes in {partitions} partitions: {} MB", value_bytes >> 20);

    let disk_s = to_disk(&cluster, records).await?;
    println!("consumer to disk: {disk_s:.2} s");
    let sink = Sink::start(&cluster).await?;
    let sink_s = sink.copy(&cluster, partitions).await?;
    let (cpu_s, rss_mb) = (sink.cpu_s()?, sink.rss_mb()?);
    println!("sink: {sink_s:.2} s");
    let mb = value_bytes as f64 / 1e6;
    println!(
        "{{\"sink_mb_s\": {:.1}, \"disk_mb_s\": {:.1}, \"cpu_s\": {cpu_s:.2}, \"rss_mb\": {rss_mb:.1}}}",
        mb / sink_s,
        mb / disk_s
    );
    Ok(())
}

/// Fill the topic; the values' bytes.
fn fill(cluster: &Cluster, records: u64, bytes: usize, partitions: i32) -> Result<u64> {
    let producer =
        TransactionalProducer::new(cluster, TransactionSettings::new("bench-sink"), CancellationToken::new())?;
    tokio::task::block_in_place(|| {
        producer.init()?;
        let mut value = framed(bytes);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for begin in (0..records).step_by(usize::try_from(BATCH)?) {
            producer.begin()?;
            for record in begin..records.min(begin + BATCH) {
                // Half of a record is noise, half repeats, as rows are.
                let half = value.len() / 2;
                for chunk in value[half..].chunks_mut(8) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
                }
                let partition = i32::try_from(record % u64::try_from(partitions)?)?;
                producer.send(RecordOut::to(TOPIC).partition(Partition(partition)).value(&value))?;
            }
            producer.commit()?;
        }
        anyhow::Ok(())
    })?;
    Ok(records * bytes as u64)
}

/// A value of exactly so many bytes: frame, length, data.
fn framed(bytes: usize) -> Vec<u8> {
    let mut value = vec![0, 0, 0, 0, 1];
    let data = bytes - value.len() - 2;
    let zigzag = data * 2;
    value.extend([(zigzag | 0x80) as u8, (zigzag >> 7) as u8]);
    value.resize(bytes, b'x');
    value
}

/// Seconds that a consumer needs to write all values into a file, flushed to disk.
async fn to_disk(cluster: &Cluster, records: u64) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(dir.path().join("values"))?);
    let begin = Instant::now();
    let consumer = Consumer::subscribe(cluster, "bench-to-disk", &[TOPIC], &ConsumerSettings::default())?;
    let mut read = 0;
    while read < records {
        match consumer.next().await {
            Ok(Event::Record(record)) => {
                file.write_all(record.value().unwrap_or_default())?;
                read += 1;
            }
            Ok(_) => {}
            Err(error) => println!("reading again: {error}"),
        }
    }
    file.into_inner()?.sync_all()?;
    Ok(begin.elapsed().as_secs_f64())
}

struct Sink {
    binary: Binary,
    url: String,
    s3_url: String,
    registry_url: String,
    http: reqwest::Client,
    _objects: Binary,
    _dir: tempfile::TempDir,
}

impl Sink {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (s3_port, port) = (free_port(), free_port().to_string());
        let s3_port_text = s3_port.to_string();
        let folder = dir.path().to_str().context("a temporary folder whose name is text")?;
        let settings = [("S3_PORT", s3_port_text.as_str()), ("OBJECT_SERVER_DIR", folder)];
        let mut objects = Binary::spawn("object-server", &settings);
        objects.wait_port(s3_port).await;
        let registry_url = registry().await?;
        let bootstrap = cluster.bootstrap().to_owned();
        let mut binary = Binary::spawn(
            "s3-sink",
            &[
                ("S3_SINK_PORT", port.as_str()),
                ("KAFKA_BOOTSTRAP_SERVERS", &bootstrap),
                ("SCHEMA_REGISTRY_URL", &registry_url),
                ("AWS_ACCESS_KEY_ID", "minio"),
                ("AWS_SECRET_ACCESS_KEY", "minio123"),
            ],
        );
        let (url, http) = (format!("http://127.0.0.1:{port}"), reqwest::Client::new());
        let ready =
            async || http.get(format!("{url}/connectors")).send().await.is_ok_and(|answer| answer.status() == 200);
        binary.wait_ready(DEADLINE, ready).await;
        let s3_url = format!("http://127.0.0.1:{s3_port}");
        Ok(Self { binary, url, s3_url, registry_url, http, _objects: objects, _dir: dir })
    }

    /// Seconds from the connector's registration until the group has committed every record.
    async fn copy(&self, cluster: &Cluster, partitions: i32) -> Result<f64> {
        let tasks = setting("BENCH_SINK_TASKS", 2).to_string();
        let config = serde_json::json!({ "name": CONNECTOR, "config": {
            "connector.class": "io.confluent.connect.s3.S3SinkConnector", "tasks.max": tasks, "topics": TOPIC,
            "s3.bucket.name": "raw", "s3.region": "us-east-1", "store.url": self.s3_url, "topics.dir": "bench",
            "format.class": "io.confluent.connect.s3.format.avro.AvroFormat", "flush.size": "100000",
            "rotate.schedule.interval.ms": "1000", "timezone": "UTC",
            "value.converter": "io.confluent.connect.avro.AvroConverter",
            "value.converter.schema.registry.url": self.registry_url,
        } });
        let begin = Instant::now();
        let answer = self.http.post(format!("{}/connectors", self.url)).json(&config).send().await?;
        ensure!(answer.status() == 201, "the connector is refused: {}", answer.text().await?);
        let admin = Admin::new(cluster)?;
        let partitions = usize::try_from(partitions)?;
        let group = format!("connect-{CONNECTOR}");
        wait_until("every record is in objects", DEADLINE, async || {
            let Ok(offsets) = admin.group_offsets(&group).await else { return false };
            // Each partition ends with the marker of its last transaction, which is in no object.
            offsets.len() == partitions && offsets.iter().all(|offset| offset.lag() <= 1)
        })
        .await;
        Ok(begin.elapsed().as_secs_f64())
    }

    fn cpu_s(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.binary.pid()))?;
        let (_, after_name) = stat.rsplit_once(") ").context("the sink's times")?;
        let ticks: Result<Vec<u64>, _> = after_name.split(' ').skip(11).take(2).map(str::parse).collect();
        Ok(ticks?.iter().sum::<u64>() as f64 / 100.0)
    }

    fn rss_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.binary.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM")).context("the sink's memory")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("the sink's memory")?.parse()?;
        Ok(kilobytes / 1024.0)
    }
}

/// A registry that knows one schema, under every id.
async fn registry() -> Result<String> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = client.read(&mut request).await;
            let body = format!("{{\"schema\":\"{SCHEMA}\"}}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    Ok(url)
}
