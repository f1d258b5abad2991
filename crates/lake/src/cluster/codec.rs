//! The lake's tables and scans as bytes within Ballista's plans.
//!
//! What is sent says which files a snapshot has, with their deletes and the schema their columns are brought to; who receives it
//! reaches the files by its own settings, so that no key travels. Ballista's nodes are left to Ballista's codecs.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::{
    catalog::TableProvider,
    common::TableReference,
    datasource::file_format::FileFormatFactory,
    error::{DataFusionError, Result},
    execution::TaskContext,
    logical_expr::{Extension, LogicalPlan},
    physical_plan::ExecutionPlan,
};
use datafusion_proto::{logical_plan::LogicalExtensionCodec, physical_plan::PhysicalExtensionCodec};
use iceberg::io::FileIO;
use serde::{Serialize, de::DeserializeOwned};

use crate::sql::{provider::LakeTable, scan::LakeScan};

/// Before what is ours; changed when what follows it changes.
const TABLE: &[u8] = b"lake table 1\n";
const SCAN: &[u8] = b"lake scan 1\n";

/// Codec of what a lake sends to a scheduler.
pub struct Tables {
    io: FileIO,
    ballista: BallistaLogicalExtensionCodec,
}

impl Tables {
    /// Tables that are received are read by `io`.
    pub fn new(io: FileIO) -> Arc<Self> {
        Arc::new(Self { io, ballista: BallistaLogicalExtensionCodec::default() })
    }
}

// Logged by Ballista; access to files holds a key.
impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tables")
    }
}

impl LogicalExtensionCodec for Tables {
    fn try_decode(&self, bytes: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        self.ballista.try_decode(bytes, inputs, context)
    }

    fn try_encode(&self, node: &Extension, bytes: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode(node, bytes)
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        name: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        match bytes.strip_prefix(TABLE) {
            Some(json) => Ok(Arc::new(LakeTable::reached_by(from_json(json)?, self.io.clone()).map_err(external)?)),
            None => self.ballista.try_decode_table_provider(bytes, name, schema, context),
        }
    }

    fn try_encode_table_provider(
        &self,
        name: &TableReference,
        table: Arc<dyn TableProvider>,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        match table.as_any().downcast_ref::<LakeTable>() {
            Some(table) => to_json(TABLE, table.at(), bytes),
            None => self.ballista.try_encode_table_provider(name, table, bytes),
        }
    }

    fn try_decode_file_format(&self, bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn FileFormatFactory>> {
        self.ballista.try_decode_file_format(bytes, context)
    }

    fn try_encode_file_format(&self, bytes: &mut Vec<u8>, format: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.ballista.try_encode_file_format(bytes, format)
    }
}

/// Codec of what a scheduler sends to executors.
pub struct Scans {
    io: FileIO,
    ballista: BallistaPhysicalExtensionCodec,
}

impl Scans {
    /// Scans that are received read by `io`.
    pub fn new(io: FileIO) -> Arc<Self> {
        Arc::new(Self { io, ballista: BallistaPhysicalExtensionCodec::default() })
    }
}

impl fmt::Debug for Scans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scans")
    }
}

impl PhysicalExtensionCodec for Scans {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match bytes.strip_prefix(SCAN) {
            Some(json) => Ok(Arc::new(LakeScan::new(from_json(json)?, self.io.clone()).map_err(external)?)),
            None => self.ballista.try_decode(bytes, inputs, context),
        }
    }

    fn try_encode(&self, node: Arc<dyn ExecutionPlan>, bytes: &mut Vec<u8>) -> Result<()> {
        match node.as_any().downcast_ref::<LakeScan>() {
            Some(scan) => to_json(SCAN, scan.scanned(), bytes),
            None => self.ballista.try_encode(node, bytes),
        }
    }
}

fn to_json(mark: &[u8], value: &impl Serialize, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.extend_from_slice(mark);
    serde_json::to_writer(bytes, value).map_err(external)
}

fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(external)
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
