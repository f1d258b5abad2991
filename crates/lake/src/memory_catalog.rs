//! A catalog in memory for tests: the same requirement checks and metadata changes a real catalog makes, and, on demand,
//! the ways a real one fails (a refused commit, an answer lost after the commit was applied).

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use iceberg::{
    NamespaceIdent, TableCreation, TableIdent, TableRequirement, TableUpdate,
    spec::{SnapshotReference, SnapshotRetention, TableMetadataBuilder},
};

use crate::{
    catalog::{Catalog, CommitError, Creation, Loaded},
    error::Result,
};

/// What the next commit shall meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused as if another writer had been faster.
    Conflict,
    /// Applied, but the answer is lost.
    AnswerLost,
    /// Not applied, and no answer.
    RequestLost,
}

/// Tables under a root location.
pub struct MemoryCatalog {
    root: String,
    tables: Mutex<BTreeMap<String, (TableIdent, Loaded)>>,
    faults: Mutex<Vec<Fault>>,
}

impl MemoryCatalog {
    pub fn new(root: &str) -> Self {
        Self { root: root.to_owned(), tables: Mutex::default(), faults: Mutex::default() }
    }

    /// Another engine drops a table.
    pub fn drop_table(&self, table: &TableIdent) {
        self.tables.lock().unwrap().remove(&table.to_string()).unwrap();
    }

    /// Another engine rolls a table back to an earlier snapshot.
    pub async fn roll_back(&self, table: &TableIdent, snapshot_id: i64) {
        let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
        let update = TableUpdate::SetSnapshotRef { ref_name: "main".into(), reference };
        self.commit(table, Vec::new(), vec![update]).await.unwrap();
    }

    /// Another engine tags a snapshot.
    pub async fn tag(&self, table: &TableIdent, name: &str, snapshot_id: i64) {
        let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::Tag { max_ref_age_ms: None });
        let update = TableUpdate::SetSnapshotRef { ref_name: name.into(), reference };
        self.commit(table, Vec::new(), vec![update]).await.unwrap();
    }

    /// The next commits meet these, in order.
    pub fn fail_next(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults.iter().rev());
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn namespaces(&self, parent: Option<&NamespaceIdent>) -> Result<Vec<NamespaceIdent>> {
        let depth = parent.map_or(0, |parent| parent.len());
        let mut found: Vec<NamespaceIdent> = Vec::new();
        for (ident, _) in self.tables.lock().unwrap().values() {
            let levels = ident.namespace().as_ref();
            if levels.len() > depth && parent.is_none_or(|parent| levels.starts_with(parent.as_ref())) {
                found.push(NamespaceIdent::from_strs(&levels[..=depth])?);
            }
        }
        found.dedup();
        Ok(found)
    }

    async fn tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        let tables = self.tables.lock().unwrap();
        Ok(tables.values().map(|(ident, _)| ident).filter(|ident| ident.namespace() == namespace).cloned().collect())
    }

    async fn load(&self, table: &TableIdent) -> Result<Option<Loaded>> {
        Ok(self.tables.lock().unwrap().get(&table.to_string()).map(|(_, loaded)| loaded.clone()))
    }

    async fn create(&self, table: &TableIdent, creation: Creation) -> Result<Loaded> {
        let id = uuid::Uuid::new_v4().simple();
        let location = format!("{}/{}-{id}", self.root, table.to_string().replace('.', "/"));
        let new =
            TableCreation::builder().name(table.name().to_owned()).location(location.clone()).schema(creation.schema);
        let new = new.properties(creation.properties).partition_spec_opt(creation.partition_spec);
        let new = new.sort_order_opt(creation.sort_order).build();
        let metadata = TableMetadataBuilder::from_table_creation(new)?.build()?.metadata;
        let loaded = Loaded { metadata_location: format!("{location}/metadata/0.json"), metadata: Arc::new(metadata) };
        let mut tables = self.tables.lock().unwrap();
        let entry = tables.entry(table.to_string()).or_insert_with(|| (table.clone(), loaded));
        Ok(entry.1.clone())
    }

    async fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Loaded, CommitError> {
        let refused = |error: iceberg::Error| CommitError::Refused(error.to_string());
        let fault = self.faults.lock().unwrap().pop();
        match fault {
            Some(Fault::Conflict) => return Err(CommitError::Conflict("asked for by the test".into())),
            Some(Fault::RequestLost) => return Err(CommitError::Unknown("asked for by the test".into())),
            _ => {}
        }
        let mut tables = self.tables.lock().unwrap();
        let (_, current) = tables.get_mut(&table.to_string()).ok_or_else(|| CommitError::Refused("no table".into()))?;
        for requirement in &requirements {
            requirement.check(Some(&current.metadata)).map_err(|error| CommitError::Conflict(error.to_string()))?;
        }
        let mut builder = current.metadata.as_ref().clone().into_builder(Some(current.metadata_location.clone()));
        for update in updates {
            builder = update.apply(builder).map_err(refused)?;
        }
        let metadata = builder.build().map_err(refused)?.metadata;
        let metadata_location = format!("{}/metadata/{}.json", metadata.location(), uuid::Uuid::new_v4());
        *current = Loaded { metadata_location, metadata: Arc::new(metadata) };
        if fault == Some(Fault::AnswerLost) {
            return Err(CommitError::Unknown("asked for by the test".into()));
        }
        Ok(current.clone())
    }
}
