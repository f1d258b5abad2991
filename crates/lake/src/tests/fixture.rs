//! A lake in memory, and a topic to fill it from.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::FileIO;
use serde_json::Value;

use super::topic::Topic;
use crate::{
    error::{LakeError, Result},
    keys::Keys,
    memory_catalog::MemoryCatalog,
    models::Models,
    quarantine::Quarantine,
    query::{Answer, answer},
    raw::store::{LandingZone, RawStore},
    runner::Runner,
    shape::Shape,
    sql::Engine,
    stage::Stage,
    tables::Tables,
};

/// Objects in memory.
#[derive(Default)]
pub struct MemoryRaw(pub Mutex<BTreeMap<String, Bytes>>);

#[async_trait]
impl RawStore for MemoryRaw {
    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let objects = self.0.lock().unwrap();
        let below = objects.keys().filter_map(|key| key.strip_prefix(prefix)?.split_once('/'));
        Ok(below.map(|(folder, _)| folder.to_owned()).collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn keys_after(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let objects = self.0.lock().unwrap();
        let below =
            objects.keys().filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        Ok(below.take(limit).cloned().collect())
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        self.0.lock().unwrap().get(key).cloned().ok_or_else(|| LakeError::away("the object store", "no such object"))
    }
}

impl MemoryRaw {
    /// Writes what is open of a topic as objects.
    pub fn flush(&self, topic: &mut Topic, markers: i64) {
        self.0.lock().unwrap().extend(topic.flush(markers));
    }
}

/// A lake in memory.
pub struct Lake {
    pub raw: Arc<MemoryRaw>,
    pub catalog: Arc<MemoryCatalog>,
    pub stage: Stage,
    pub shape: Shape,
    pub engine: Engine,
}

impl Lake {
    /// An empty lake whose shape files hold `file_rows` rows.
    pub fn new(file_rows: usize) -> Self {
        let catalog = Arc::new(MemoryCatalog::new("memory:/lake"));
        let raw = Arc::new(MemoryRaw::default());
        Self::of(raw, catalog, FileIO::new_with_memory(), file_rows)
    }

    /// As [`Self::new`], with the tables' files on disk below `dir`.
    pub fn on_disk(dir: &Path, file_rows: usize) -> Self {
        let catalog = Arc::new(MemoryCatalog::new(&format!("file://{}", dir.display())));
        Self::of(Arc::new(MemoryRaw::default()), catalog, FileIO::new_with_fs(), file_rows)
    }

    fn of(raw: Arc<MemoryRaw>, catalog: Arc<MemoryCatalog>, io: FileIO, file_rows: usize) -> Self {
        let tables = Tables::new(catalog.clone(), io).unwrap();
        let zone = LandingZone { store: raw.clone(), topics_dir: "kafka".into() };
        Self {
            raw,
            catalog,
            stage: Stage {
                tables: tables.clone(),
                zone,
                keys: Keys::new(""),
                quarantine: Quarantine::new(tables.clone()),
            },
            shape: Shape { tables: tables.clone(), file_rows },
            engine: Engine::new(tables).unwrap(),
        }
    }

    /// Another process on the same lake: nothing cached.
    pub fn another(&self) -> Self {
        let io = self.stage.tables.file_io().clone();
        Self::of(self.raw.clone(), self.catalog.clone(), io, self.shape.file_rows)
    }

    /// Stages all there is of a topic; conflicts are tried again.
    pub async fn stage_all(&self, topic: &str) -> usize {
        let partitions = self.stage.zone.partitions(topic).await.unwrap();
        let mut rows = 0;
        loop {
            match self.stage.run_topic(topic, &partitions).await {
                Ok(staged) if staged.objects == 0 => return rows,
                Ok(staged) => rows += staged.rows,
                Err(LakeError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Shapes all there is of a topic.
    pub async fn shape_all(&self, topic: &str) {
        loop {
            match self.shape.run_topic(topic).await {
                Ok(shaped) if !shaped.committed => return,
                Ok(_) | Err(LakeError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Rows of a query.
    pub async fn sql(&self, sql: &str) -> Vec<Value> {
        let Answer { rows, .. } = answer(&self.engine, sql, 1_000_000).await.unwrap();
        rows
    }

    /// A runner of the repository's models.
    pub fn runner(&self) -> Runner {
        self.runner_of(Models::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")).unwrap())
    }

    /// A runner of given models.
    pub fn runner_of(&self, models: Models) -> Runner {
        Runner::new(self.stage.tables.clone(), &self.engine, Arc::new(models), self.shape.file_rows)
    }
}
