//! What stands for the cluster engine in a lake that was built without it: words that say how to get it.

use std::time::Duration;

use datafusion::{execution::SendableRecordBatchStream, logical_expr::LogicalPlan};
use iceberg::io::FileIO;

use super::settings::Address;
use crate::{
    error::{LakeError, Result},
    settings::Settings,
};

const ABSENT: &str =
    "this lake was built without the cluster engine; build it with: cargo build --release -p lake --features cluster";

/// There is none.
#[derive(Clone)]
pub enum Cluster {}

impl Cluster {
    /// Says how to get one.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: Address, _: Duration, _: FileIO) -> Result<Self> {
        Err(LakeError::definite(ABSENT))
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub async fn query(&self, _: LogicalPlan, _: &str) -> Result<Option<SendableRecordBatchStream>> {
        match *self {}
    }
}

/// Says how to get a scheduler.
///
/// # Errors
/// Always.
pub async fn schedule(_: &service::Context, _: &Settings) -> anyhow::Result<()> {
    anyhow::bail!(ABSENT)
}

/// Says how to get an executor.
///
/// # Errors
/// Always.
pub async fn execute(_: &service::Context, _: &Settings) -> anyhow::Result<()> {
    anyhow::bail!(ABSENT)
}
