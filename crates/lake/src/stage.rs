//! raw -> stage: each topic's objects into an append-only Iceberg table, every record exactly once.
//!
//! Promise: the rows of an object and the next offset after them are published by one commit, computed from the offsets
//! the table had before it; if the table moved meanwhile, everything is computed again from where it stands now. Objects
//! form a chain: an object is taken only if it starts at the recorded next offset. One that cannot be read is set aside
//! once its successor says where the chain goes on: its offsets are recorded as a hole, the others are taken, and shape
//! waits before the hole. It is tried again from time to time, and taken when it was mended.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, BooleanArray},
    compute::{concat_batches, filter_record_batch},
    datatypes::{Int64Type, TimestampMicrosecondType},
    record_batch::RecordBatch,
};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::{
    TableIdent,
    spec::{DataFile, Literal, PartitionKey, PrimitiveType, Struct, TableMetadata, Transform, UnboundPartitionSpec},
};
use model::names::RawObject;

use crate::{
    catalog::Creation,
    error::{LakeError, Result},
    keys::Keys,
    layers,
    offsets::{Holes, NextOffsets, property},
    quarantine::{Quarantine, SetAside},
    raw::{
        columns::SourceColumn,
        convert::names,
        object::{self, Object},
        store::LandingZone,
    },
    tables::{
        TableState, Tables,
        commit::{Change, Evolved, evolve},
        order,
        schema::{self, Wanted},
        write::{Files, bloom_filters, write_partitioned},
    },
};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Objects listed at once per partition.
const OBJECTS_MAX: usize = 64;
/// Objects of one topic that are fetched and decoded at the same time.
const OBJECTS_AT_ONCE: usize = 4;
/// A commit takes no further object once it holds this many bytes of objects.
const COMMIT_BYTES_MAX: usize = 32 << 20;
/// Commit times kept of a commit, to measure freshness.
const SAMPLES_MAX: usize = 256;

/// Reads the landing zone into stage tables.
#[derive(Clone)]
pub struct Stage {
    pub tables: Tables,
    pub zone: LandingZone,
    pub keys: Keys,
    pub quarantine: Quarantine,
}

/// What a pass over one topic did.
#[derive(Debug, Default)]
pub struct Staged {
    pub rows: usize,
    pub objects: usize,
    /// There may be more objects than this pass took.
    pub more: bool,
    /// Source commit times of streamed events, a sample, microseconds since the epoch.
    pub committed_us: Vec<i64>,
    /// Partitions that cannot go on, with the reason.
    pub stuck: BTreeMap<i32, String>,
    /// Objects that cannot be read.
    pub set_aside: Vec<SetAside>,
}

impl Staged {
    /// What a person should know: partitions that stopped, objects that are set aside.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let set_aside = self
            .set_aside
            .iter()
            .filter(|object| object.next_offset.is_some())
            .map(|object| format!("{} is set aside, shape waits before it: {}", object.object, object.reason));
        self.stuck.values().cloned().chain(set_aside).collect()
    }
}

/// Objects of a topic that the next commit takes.
#[derive(Default)]
struct Intake {
    batches: Vec<RecordBatch>,
    columns: Vec<SourceColumn>,
    next: NextOffsets,
    holes: Holes,
    /// Something of the topic could be read before: it is a topic of envelopes.
    known: bool,
    done: Staged,
}

impl Stage {
    /// Takes the next objects of a topic, one commit. Nothing new is `rows == 0 && objects == 0`.
    ///
    /// # Errors
    /// When a server fails, the table moved ([`LakeError::Conflict`]: call again), or a person must act.
    pub async fn run_topic(&self, topic: &str, partitions: &[i32]) -> Result<Staged> {
        let ident = layers::stage_table(topic)
            .ok_or_else(|| LakeError::definite(format!("topic {topic} is not named <prefix>.<schema>.<table>")))?;
        let state = self.tables.cached(&ident).await?;
        let (next, holes) = match &state {
            Some(state) => (NextOffsets::of(state.metadata())?, Holes::of(state.metadata())?),
            None => Default::default(),
        };
        let mut intake = Intake { next, holes: holes.clone(), known: state.is_some(), ..Intake::default() };
        self.mended(topic, &mut intake).await?;
        self.take_in(topic, partitions, &mut intake).await?;
        match self.quarantine.report(topic, &intake.done.set_aside).await {
            Err(error @ LakeError::Away { .. }) => return Err(error),
            // A report that cannot be written holds no record up.
            Err(error) => tracing::warn!(topic, "the quarantine table cannot be written: {error}"),
            Ok(()) => {}
        }
        let state = match state {
            _ if intake.done.objects == 0 && (intake.holes == holes || state.is_none()) => return Ok(intake.done),
            Some(state) => state,
            None => self.create(&ident, topic, &intake.columns).await?,
        };
        match self.publish(&state, intake).await {
            Err(LakeError::Conflict { table }) => {
                // The cached state is stale: the next call starts from the catalog's.
                self.tables.load(&ident).await?;
                Err(LakeError::Conflict { table })
            }
            other => other,
        }
    }

    /// Tries the objects that were set aside again, where it is time.
    async fn mended(&self, topic: &str, intake: &mut Intake) -> Result<()> {
        let holes: Vec<_> = intake.holes.iter().collect();
        for (partition, start_offset, next) in holes {
            let (topics_dir, extension) = (self.zone.topics_dir.clone(), "avro".to_owned());
            let key = RawObject { topics_dir, topic: topic.to_owned(), partition, start_offset, extension };
            let object = match self.quarantine.last_try(&key) {
                Some(known) => Err(LakeError::Definite(known)),
                None => match self.fetch(key.clone()).await {
                    Ok((_, _, object)) => object,
                    Err(error @ LakeError::Away { .. }) => return Err(error),
                    Err(error) => Err(error),
                },
            };
            let fits = |object: Object| match object.next_offset <= next {
                true => Ok(object),
                false => Err(LakeError::definite(format!(
                    "it goes on to offset {}, its successor starts at {next}",
                    object.next_offset
                ))),
            };
            match object.and_then(fits) {
                Ok(object) => {
                    tracing::info!(object = %key, "mended, taken in");
                    self.quarantine.taken(&key);
                    intake.holes.0.entry(partition).or_default().remove(&start_offset);
                    intake.add(object);
                }
                Err(reason) => intake.done.set_aside.push(SetAside::new(&key, Some(next), reason.to_string())),
            }
        }
        Ok(())
    }

    async fn take_in(&self, topic: &str, partitions: &[i32], intake: &mut Intake) -> Result<()> {
        let mut bytes = 0;
        let listings =
            stream::iter(partitions.iter().copied())
                .map(|partition| {
                    let from = intake.next.get(partition).unwrap_or(0);
                    async move {
                        Ok::<_, LakeError>((partition, self.zone.objects(topic, partition, from, OBJECTS_MAX).await?))
                    }
                })
                .buffered(OBJECTS_AT_ONCE);
        let listings: Vec<(i32, Vec<RawObject>)> = listings.try_collect().await?;
        for (partition, objects) in listings {
            if bytes >= COMMIT_BYTES_MAX {
                intake.done.more |= !objects.is_empty();
                continue;
            }
            intake.done.more |= objects.len() == OBJECTS_MAX;
            let mut successors: VecDeque<i64> = objects.iter().skip(1).map(|object| object.start_offset).collect();
            let mut fetched = stream::iter(objects).map(|object| self.fetch(object)).buffered(OBJECTS_AT_ONCE);
            while let Some(fetched) = fetched.next().await {
                let (key, size, object) = fetched?;
                if let Err(reason) = intake.take(&key, object, successors.pop_front()) {
                    tracing::error!(object = %key, "cannot be taken: {reason}");
                    intake.done.stuck.insert(partition, format!("{key}: {reason}"));
                    break;
                }
                bytes += size;
                if bytes >= COMMIT_BYTES_MAX {
                    intake.done.more = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The object's content, decoded off the async threads; the inner error is the object's own.
    async fn fetch(&self, key: RawObject) -> Result<(RawObject, usize, Result<Object>)> {
        let bytes = self.zone.store.get(&key.to_string()).await?;
        let (topic, partition, start) = (key.topic.clone(), key.partition, key.start_offset);
        let size = bytes.len();
        let object = tokio::task::spawn_blocking(move || object::read(&bytes, &topic, partition, start)).await;
        let object = object.map_err(|error| LakeError::definite(format!("decoding {key} ended badly: {error}")))?;
        Ok((key, size, object))
    }

    async fn create(&self, ident: &TableIdent, topic: &str, columns: &[SourceColumn]) -> Result<Arc<TableState>> {
        let key = self.keys.of(topic, columns).await?;
        let schema = schema::build(&stage_columns(columns), &[])?;
        let sort_order = Some(order::by(&schema, &[names::PARTITION, names::OFFSET])?);
        let ts = schema.field_id_by_name(names::TS).ok_or_else(|| LakeError::definite("no _ts"))?;
        let spec =
            UnboundPartitionSpec::builder().add_partition_field(ts, format!("{}_day", names::TS), Transform::Day)?;
        let mut properties = layers::table_properties();
        properties.insert(property::TOPIC.into(), topic.into());
        properties.extend(bloom_filters(&key));
        properties.insert(property::KEY_COLUMNS.into(), serde_json::Value::from(key).to_string());
        tracing::info!(table = %ident, topic, "creating the stage table");
        let creation = Creation { schema, partition_spec: Some(spec.build()), sort_order, properties };
        self.tables.create(ident, creation).await
    }

    async fn publish(&self, state: &TableState, intake: Intake) -> Result<Staged> {
        let present = state.metadata().current_schema();
        let grown = schema::grown(present, state.metadata().last_column_id(), &stage_columns(&intake.columns))?;
        let evolved = grown.map(|schema| evolve(state, schema)).transpose()?;
        let metadata = evolved.as_ref().map_or(state.metadata(), |evolved: &Evolved| &evolved.metadata);
        let add = self.write(metadata, intake.batches).await?;
        let properties = [intake.next.property(), intake.holes.property()].into();
        self.tables.commit(state, Change { add, properties, evolved, ..Change::default() }).await?;
        Ok(intake.done)
    }

    /// Writes the rows to one file per day of `_ts`, in their order.
    async fn write(&self, metadata: &TableMetadata, batches: Vec<RecordBatch>) -> Result<Vec<DataFile>> {
        let schema = schema::arrow_schema(metadata.current_schema())?;
        if !is_by_day(metadata) {
            let batches = batches.iter().map(|batch| schema::conform(batch, &schema)).collect::<Result<Vec<_>>>()?;
            return write_partitioned(metadata, self.tables.file_io(), &concat_batches(&schema, &batches)?).await;
        }
        let mut open: BTreeMap<i32, Files> = BTreeMap::new();
        let rows_max = batches.iter().map(RecordBatch::num_rows).sum();
        for batch in batches {
            for (day, rows) in by_day(&schema::conform(&batch, &schema)?)? {
                let files = match open.entry(day) {
                    std::collections::btree_map::Entry::Occupied(files) => files.into_mut(),
                    std::collections::btree_map::Entry::Vacant(none) => {
                        let key = PartitionKey::new(
                            metadata.default_partition_spec().as_ref().clone(),
                            metadata.current_schema().clone(),
                            Struct::from_iter([Some(Literal::date(day))]),
                        );
                        none.insert(Files::of_rows(metadata, self.tables.file_io(), Some(key), rows_max)?)
                    }
                };
                files.write(rows).await?;
            }
        }
        let mut written = Vec::new();
        for files in open.into_values() {
            written.extend(files.close().await?);
        }
        Ok(written)
    }
}

impl Intake {
    /// Takes an object if it continues its partition; one that cannot be read is set aside if `successor` says where the
    /// partition goes on, and others of the topic can be read.
    fn take(&mut self, key: &RawObject, object: Result<Object>, successor: Option<i64>) -> Result<()> {
        if let Some(expected) = self.next.get(key.partition)
            && key.start_offset != expected
        {
            return Err(LakeError::definite(format!(
                "gap: the next object must start at offset {expected}, this one starts at {}; restore the missing object",
                key.start_offset
            )));
        }
        let whole = |object: Object| match object.next_offset < key.start_offset + object.rows as i64 {
            true => Err(LakeError::definite("damaged object: it ends before its records do")),
            false => Ok(object),
        };
        match object.and_then(whole) {
            Ok(object) => {
                self.next.0.insert(key.partition, object.next_offset);
                self.add(object);
                Ok(())
            }
            Err(reason) => {
                let successor = successor.filter(|_| self.known || self.done.objects > 0);
                self.done.set_aside.push(SetAside::new(key, successor, reason.to_string()));
                let Some(next) = successor else { return Err(reason) };
                tracing::error!(object = %key, "set aside: {reason}");
                self.next.0.insert(key.partition, next);
                self.holes.0.entry(key.partition).or_default().insert(key.start_offset, next);
                Ok(())
            }
        }
    }

    fn add(&mut self, object: Object) {
        for column in &object.columns {
            match self.columns.iter_mut().find(|known| known.name == column.name) {
                Some(known) => *known = column.clone(),
                None => self.columns.push(column.clone()),
            }
        }
        self.done.rows += object.rows;
        self.done.objects += 1;
        for batch in object.batches {
            sample(&batch, &mut self.done.committed_us);
            self.batches.push(batch);
        }
    }
}

/// Columns of a stage table: the row's, then the event's own.
fn stage_columns(columns: &[SourceColumn]) -> Vec<Wanted> {
    let row = columns.iter().map(SourceColumn::wanted);
    let event = [
        Wanted::new(names::OP, PrimitiveType::String, false),
        Wanted::new(names::TS, PrimitiveType::Timestamptz, false),
        Wanted::new(names::LSN, PrimitiveType::Long, false),
        Wanted::new(names::TXID, PrimitiveType::Long, false),
        Wanted::new(names::TOPIC, PrimitiveType::String, false),
        Wanted::new(names::PARTITION, PrimitiveType::Int, false),
        Wanted::new(names::OFFSET, PrimitiveType::Long, false),
    ];
    row.chain(event).collect()
}

/// Whether the table is partitioned as the lake makes it; another engine may have changed that.
fn is_by_day(metadata: &TableMetadata) -> bool {
    let ts = metadata.current_schema().field_id_by_name(names::TS);
    matches!(metadata.default_partition_spec().fields(), [only] if only.transform == Transform::Day && Some(only.source_id) == ts)
}

/// Splits rows by the day of `_ts`, keeping their order; most batches are of one day.
fn by_day(rows: &RecordBatch) -> Result<Vec<(i32, RecordBatch)>> {
    let no_ts = || LakeError::definite("stage rows without _ts");
    let ts = rows.column_by_name(names::TS).ok_or_else(no_ts)?;
    let ts = ts.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(no_ts)?;
    let day = |micros: Option<i64>| micros.unwrap_or(0).div_euclid(MICROS_PER_DAY) as i32;
    let days: std::collections::BTreeSet<i32> = ts.iter().map(day).collect();
    if days.len() == 1 {
        return Ok(days.into_iter().map(|day| (day, rows.clone())).collect());
    }
    let mut out = Vec::with_capacity(days.len());
    for wanted in days {
        let of_day: BooleanArray = ts.iter().map(|micros| Some(day(micros) == wanted)).collect();
        out.push((wanted, filter_record_batch(rows, &of_day)?));
    }
    Ok(out)
}

/// Adds commit times of streamed events, thinly, so that the sample spans the whole intake.
fn sample(rows: &RecordBatch, out: &mut Vec<i64>) {
    let (Some(op), Some(ts)) = (rows.column_by_name(names::OP), rows.column_by_name(names::TS)) else { return };
    let (Some(op), Ok(ts)) = (op.as_string_opt::<i32>(), arrow::compute::cast(ts, &arrow::datatypes::DataType::Int64))
    else {
        return;
    };
    let ts = ts.as_primitive::<Int64Type>();
    let streamed = (0..rows.num_rows()).filter(|&row| op.is_valid(row) && op.value(row) != "r" && ts.is_valid(row));
    let step = (rows.num_rows() / 16).max(1);
    out.extend(streamed.step_by(step).map(|row| ts.value(row)).take(SAMPLES_MAX.saturating_sub(out.len())));
}
