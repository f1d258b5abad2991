//! `stage._quarantine`: the objects of the landing zone that cannot be read, each a row with the reason.
//!
//! A report for people and for SQL. What counts is the hole in the stage table's own progress, set in the commit that went
//! past the object; this table follows it: a row comes when an object is set aside and goes, by a position delete, when it
//! was taken in. Of two lakes at once only one writes each row, because a change of it is planned on the whole table.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::{Int32Type, Int64Type},
};
use iceberg::spec::PrimitiveType;
use model::names::RawObject;

use crate::{
    catalog::Creation,
    error::{LakeError, Result},
    layers,
    tables::{
        TableState, Tables,
        commit::{Change, now_ms},
        deletes::delete_rows,
        read::collect_files,
        schema::{self, Wanted, arrow_schema, conform},
        write::write_batches,
    },
};

/// An object that is set aside is read again after this time, or when somebody asks for a pass.
const RETRY_PERIOD: Duration = Duration::from_secs(30);
/// Times a change is planned again because another lake was faster.
const ATTEMPTS_MAX: usize = 5;

/// An object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    pub topic: String,
    pub partition: i32,
    pub start_offset: i64,
    /// Where the chain goes on; not known while it is the last object of its partition, which waits for it then.
    pub next_offset: Option<i64>,
    pub object: String,
    pub reason: String,
}

impl SetAside {
    #[must_use]
    pub fn new(key: &RawObject, next_offset: Option<i64>, reason: String) -> Self {
        let (topic, partition, start_offset) = (key.topic.clone(), key.partition, key.start_offset);
        Self { topic, partition, start_offset, next_offset, object: key.to_string(), reason }
    }

    fn key(&self) -> (i32, i64) {
        (self.partition, self.start_offset)
    }
}

/// Keeps the table, and when each object was last tried. Clones share it.
#[derive(Clone)]
pub struct Quarantine {
    tables: Tables,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// What the table was last made to say of each topic.
    reported: HashMap<String, Vec<SetAside>>,
    tried: HashMap<String, (Instant, String)>,
}

impl Quarantine {
    #[must_use]
    pub fn new(tables: Tables) -> Self {
        Self { tables, inner: Arc::default() }
    }

    /// Why an object could not be read when it was tried lately; `None` when it is time to try it.
    #[must_use]
    pub fn last_try(&self, key: &RawObject) -> Option<String> {
        let inner = self.lock();
        let (at, reason) = inner.tried.get(&key.to_string())?;
        (at.elapsed() < RETRY_PERIOD).then(|| reason.clone())
    }

    /// An object was taken in.
    pub fn taken(&self, key: &RawObject) {
        self.lock().tried.remove(&key.to_string());
    }

    /// Every object is tried at the next pass.
    pub fn try_all(&self) {
        self.lock().tried.clear();
    }

    /// Makes the table say that these, and no others, are set aside of a topic.
    ///
    /// # Errors
    /// When catalog or storage fail.
    pub async fn report(&self, topic: &str, set_aside: &[SetAside]) -> Result<()> {
        {
            let mut inner = self.lock();
            for object in set_aside {
                let now = (Instant::now(), object.reason.clone());
                let known = inner.tried.entry(object.object.clone()).or_insert_with(|| now.clone());
                if known.1 != object.reason || known.0.elapsed() >= RETRY_PERIOD {
                    *known = now;
                }
            }
            if inner.reported.get(topic).is_some_and(|reported| reported == set_aside) {
                return Ok(());
            }
        }
        for _ in 0..ATTEMPTS_MAX {
            match self.write(topic, set_aside).await {
                Err(LakeError::Conflict { .. }) => drop(self.tables.load(&layers::quarantine_table()).await?),
                done => {
                    done?;
                    self.lock().reported.insert(topic.to_owned(), set_aside.to_vec());
                    return Ok(());
                }
            }
        }
        // Other lakes report, too; the next pass looks again.
        Ok(())
    }

    async fn write(&self, topic: &str, set_aside: &[SetAside]) -> Result<()> {
        let ident = layers::quarantine_table();
        let state = match self.tables.cached(&ident).await? {
            Some(state) => state,
            None if set_aside.is_empty() => return Ok(()),
            None => {
                let (schema, properties) = (schema::build(&columns(), &[])?, layers::table_properties());
                self.tables
                    .create(&ident, Creation { schema, partition_spec: None, sort_order: None, properties })
                    .await?
            }
        };
        let wanted: BTreeSet<(i32, i64)> = set_aside.iter().map(SetAside::key).collect();
        let known = known(&state, topic).await?;
        let gone = |rows: &RecordBatch| {
            let of_topic = keys(rows, topic)?;
            let mask: Vec<bool> =
                of_topic.into_iter().map(|key| key.is_some_and(|key| !wanted.contains(&key))).collect();
            Ok(BooleanArray::from(mask))
        };
        let mut change = Change::default();
        if known.iter().any(|key| !wanted.contains(key))
            && let Some(deleted) = delete_rows(&state, self.tables.file_io(), gone).await?
        {
            change.deletes = deleted.deletes;
        }
        let new: Vec<&SetAside> = set_aside.iter().filter(|object| !known.contains(&object.key())).collect();
        if !new.is_empty() {
            let rows = conform(&rows(&new)?, &arrow_schema(state.metadata().current_schema())?)?;
            change.add = write_batches(state.metadata(), self.tables.file_io(), [rows]).await?;
        }
        if change.add.is_empty() && change.deletes.is_empty() {
            return Ok(());
        }
        self.tables.commit(&state, change).await.map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn columns() -> Vec<Wanted> {
    vec![
        Wanted::new("topic", PrimitiveType::String, true),
        Wanted::new("partition", PrimitiveType::Int, true),
        Wanted::new("start_offset", PrimitiveType::Long, true),
        Wanted::new("next_offset", PrimitiveType::Long, false),
        Wanted::new("object", PrimitiveType::String, true),
        Wanted::new("reason", PrimitiveType::String, true),
        Wanted::new("since", PrimitiveType::Timestamptz, true),
    ]
}

fn rows(objects: &[&SetAside]) -> Result<RecordBatch> {
    let text = |of: fn(&SetAside) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(objects.iter().map(|object| of(object))))
    };
    let since = TimestampMicrosecondArray::from_value(now_ms() * 1000, objects.len()).with_timezone("+00:00");
    let columns: [(&str, ArrayRef); 7] = [
        ("topic", text(|object| &object.topic)),
        ("partition", Arc::new(Int32Array::from_iter_values(objects.iter().map(|object| object.partition)))),
        ("start_offset", Arc::new(Int64Array::from_iter_values(objects.iter().map(|object| object.start_offset)))),
        ("next_offset", Arc::new(Int64Array::from_iter(objects.iter().map(|object| object.next_offset)))),
        ("object", text(|object| &object.object)),
        ("reason", text(|object| &object.reason)),
        ("since", Arc::new(since)),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// Objects that the table lists of a topic.
async fn known(state: &TableState, topic: &str) -> Result<BTreeSet<(i32, i64)>> {
    let mut known = BTreeSet::new();
    if !state.files.is_empty() {
        for batch in collect_files(state, &state.files, None).await? {
            known.extend(keys(&batch, topic)?.into_iter().flatten());
        }
    }
    Ok(known)
}

/// Partition and start offset of each row, `None` for rows of other topics.
fn keys(rows: &RecordBatch, topic: &str) -> Result<Vec<Option<(i32, i64)>>> {
    let missing = || LakeError::definite("the quarantine table lacks its own columns: drop it, it is made again");
    let topics = rows.column_by_name("topic").and_then(|column| column.as_string_opt::<i32>()).ok_or_else(missing)?;
    let partitions = rows.column_by_name("partition").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let starts = rows.column_by_name("start_offset").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (partitions, starts) = (partitions.ok_or_else(missing)?, starts.ok_or_else(missing)?);
    let key = |row: usize| (topics.value(row) == topic).then(|| (partitions.value(row), starts.value(row)));
    Ok((0..topics.len()).map(key).collect())
}
