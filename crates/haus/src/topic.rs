//! `haus topic`: the topics of the broker, and their records decoded by the registry's schemas.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    io::Write as _,
    time::Duration,
};

use anyhow::{Context as _, bail};
use apache_avro::{Schema, from_avro_datum, types::Value as Avro};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use topics::{
    Admin, Cluster, Consumer, ConsumerSettings, Event, Offset, OwnedRecord, Partition, RegistryClient, SchemaId,
    StartAt, TopicPartition, Watermarks,
};

use crate::{render, settings::Settings};

/// How far back `tail` looks at first.
const OFFSETS_BACK_MIN: i64 = 64;

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// All topics with partitions and number of offsets.
    List,
    /// Prints records, keys and values decoded.
    Tail(Tail),
}

#[derive(Debug, Args)]
pub struct Tail {
    pub topic: String,
    /// How many of the last records of each partition to begin with.
    #[arg(short = 'n', long, default_value_t = 5)]
    pub last: i64,
    /// Goes on with what comes, until Ctrl-C.
    #[arg(short, long)]
    pub follow: bool,
    /// Shows headers too.
    #[arg(long)]
    pub headers: bool,
}

/// Topics with their sizes.
///
/// # Errors
/// When Kafka is away.
pub async fn list(settings: &Settings) -> anyhow::Result<(String, Value)> {
    let admin = Admin::new(&Cluster::new(&settings.kafka_bootstrap_servers, "haus"))?;
    let mut table = render::table(&["topic", "partitions", "offsets"], &["partitions", "offsets"]);
    let mut rows = Vec::new();
    for topic in admin.topics().await? {
        let marks = admin.watermarks(&topic.name).await?;
        let offsets: i64 = marks.iter().map(|(_, marks)| marks.high.0 - marks.low.0).sum();
        table.add_row([topic.name.clone(), topic.partitions.to_string(), render::count(offsets)]);
        rows.push(json!({"topic": topic.name, "partitions": topic.partitions, "offsets": offsets}));
    }
    Ok((table.to_string(), Value::Array(rows)))
}

/// Prints the end of a topic, a JSON object per line.
///
/// # Errors
/// When Kafka is away or the topic is unknown.
pub async fn tail(settings: &Settings, tail: &Tail, stop: &CancellationToken) -> anyhow::Result<()> {
    let cluster = Cluster::new(&settings.kafka_bootstrap_servers, "haus");
    let marks = Admin::new(&cluster)?.watermarks(&tail.topic).await?;
    let mut decoder = Decoder::new(&settings.schema_registry_url);
    // Each transaction ends with a marker that has an offset, too, and those that were given up have nothing else to show:
    // only reading tells how far back the last records lie.
    let mut offsets = tail.last.max(0).saturating_mul(2).max(OFFSETS_BACK_MIN);
    let consumer = loop {
        let Some((consumer, found)) = end_of(&cluster, &marks, offsets, tail.last, stop).await? else { return Ok(()) };
        let short = |(at, marks): &(TopicPartition, Watermarks)| {
            let records = found.get(&at.partition).map_or(0, VecDeque::len);
            (records as i64) < tail.last && marks.high.0.saturating_sub(offsets) > marks.low.0
        };
        if marks.iter().any(short) {
            offsets = offsets.saturating_mul(8);
            continue;
        }
        for record in found.into_values().flatten() {
            if !print(&mut decoder, record, tail.headers).await {
                return Ok(());
            }
        }
        break consumer;
    };
    if tail.follow { follow(&consumer, &mut decoder, tail.headers, stop).await } else { Ok(()) }
}

/// Prints what comes, until told to stop or until nobody reads it.
async fn follow(
    consumer: &Consumer,
    decoder: &mut Decoder,
    with_headers: bool,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let event = tokio::select! {
            event = consumer.next() => event?,
            () = stop.cancelled() => return Ok(()),
        };
        if let Event::Record(record) = event
            && !print(decoder, record.to_owned(), with_headers).await
        {
            return Ok(());
        }
    }
}

/// The last records by partition, and the consumer that stands behind them.
type Ends = (Consumer, BTreeMap<Partition, VecDeque<OwnedRecord>>);

/// Reads the last `offsets` of each partition and keeps the last `records_max` records of it; `None` when told to stop.
async fn end_of(
    cluster: &Cluster,
    marks: &[(TopicPartition, Watermarks)],
    offsets: i64,
    records_max: i64,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Ends>> {
    let start = |marks: &Watermarks| StartAt::Offset(Offset(marks.high.0.saturating_sub(offsets).max(marks.low.0)));
    let starts: Vec<_> = marks.iter().map(|(at, marks)| (at.clone(), start(marks))).collect();
    let settings = ConsumerSettings { tell_end: true, ..ConsumerSettings::default() };
    let consumer = Consumer::assign(cluster, &starts, &settings)?;
    let mut open: HashSet<Partition> =
        marks.iter().filter(|(_, marks)| marks.high > marks.low).map(|(at, _)| at.partition).collect();
    let mut found: BTreeMap<Partition, VecDeque<OwnedRecord>> = BTreeMap::new();
    while !open.is_empty() {
        let event = tokio::select! {
            event = consumer.next() => event?,
            () = stop.cancelled() => return Ok(None),
        };
        match event {
            Event::Record(record) => {
                let records = found.entry(record.partition()).or_default();
                records.push_back(record.to_owned());
                if records.len() as i64 > records_max {
                    records.pop_front();
                }
            }
            Event::End(partition) => drop(open.remove(&partition)),
            Event::Assigned(_) | Event::Revoked { .. } => {}
        }
    }
    Ok(Some((consumer, found)))
}

/// Writes a record as a line; `false` when the reader of a pipe went away.
async fn print(decoder: &mut Decoder, record: OwnedRecord, with_headers: bool) -> bool {
    let line = decoder.describe(&record, with_headers).await;
    writeln!(std::io::stdout(), "{line}").is_ok()
}

/// Decodes Confluent-framed Avro (magic 0, schema id, datum); other bytes are shown as text or hex.
struct Decoder {
    registry: RegistryClient,
    schemas: HashMap<u32, Schema>,
}

impl Decoder {
    fn new(registry_url: &str) -> Self {
        Self { registry: RegistryClient::new(registry_url), schemas: HashMap::new() }
    }

    async fn describe(&mut self, record: &OwnedRecord, with_headers: bool) -> Value {
        let mut line = json!({
            "partition": record.partition.0,
            "offset": record.offset.0,
            "timestamp_ms": record.timestamp_ms,
            "key": self.show(record.key.as_deref()).await,
            "value": self.show(record.value.as_deref()).await,
        });
        if with_headers {
            let headers = record.headers.iter().map(|(name, value)| {
                (
                    name.clone(),
                    value
                        .as_ref()
                        .map_or(Value::Null, |bytes| Value::String(String::from_utf8_lossy(bytes).into_owned())),
                )
            });
            line["headers"] = headers.collect();
        }
        line
    }

    async fn show(&mut self, bytes: Option<&[u8]>) -> Value {
        let Some(bytes) = bytes else { return Value::Null };
        match self.decode(bytes).await {
            Ok(value) => value,
            Err(_) => std::str::from_utf8(bytes).map_or_else(
                |_| Value::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
                |text| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
            ),
        }
    }

    async fn decode(&mut self, bytes: &[u8]) -> anyhow::Result<Value> {
        let [0, a, b, c, d, datum @ ..] = bytes else { bail!("not framed") };
        let id = u32::from_be_bytes([*a, *b, *c, *d]);
        if !self.schemas.contains_key(&id) {
            let wait = tokio::time::timeout(Duration::from_secs(10), self.registry.schema_by_id(SchemaId(id)));
            let text = wait.await.context("the registry does not answer")??;
            self.schemas.insert(id, Schema::parse_str(&text)?);
        }
        let schema = self.schemas.get(&id).context("just inserted")?;
        let mut datum = datum;
        Ok(to_json(from_avro_datum(schema, &mut datum, None)?))
    }
}

/// An Avro value as plain JSON: unions without their branch, bytes as hex, decimals as numbers in text.
fn to_json(value: Avro) -> Value {
    match value {
        Avro::Union(_, inner) => to_json(*inner),
        Avro::Record(fields) => fields.into_iter().map(|(name, value)| (name, to_json(value))).collect(),
        Avro::Map(entries) => entries.into_iter().map(|(name, value)| (name, to_json(value))).collect(),
        Avro::Array(items) => items.into_iter().map(to_json).collect(),
        Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => {
            Value::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        }
        Avro::Decimal(decimal) => Vec::<u8>::try_from(decimal)
            .map_or(Value::Null, |bytes| Value::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect())),
        Avro::Int(number) => json!(number),
        Avro::Long(number) => json!(number),
        Avro::Float(number) => json!(number),
        Avro::Double(number) => json!(number),
        Avro::Boolean(truth) => json!(truth),
        Avro::String(text) | Avro::Enum(_, text) => Value::String(text),
        Avro::Null => Value::Null,
        other => Value::String(format!("{other:?}")),
    }
}
