//! Rows put straight into `shape`, without source, topic and stage: what measurements of models start from.
//!
//! The tables are made as [`crate::shape`] makes them, with files of the same size in the same order, and changes are
//! applied by the same code, so that a model meets what it meets behind a service. Only the progress by offsets is missing:
//! `lake watch` must not run on such tables.

use std::sync::Arc;

use anyhow::Context as _;
use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use clap::Parser as _;
use iceberg::spec::DataFile;

use crate::{
    catalog::RestCatalog,
    layers,
    raw::convert::names,
    runner::table::wanted,
    settings::Settings,
    shape::{
        self, Form,
        current::{self, own_columns},
        events::Events,
        keys::KeyCodec,
        rewrite::Target,
        truncates::Truncates,
    },
    tables::{
        TableState, Tables,
        commit::Change,
        schema::{arrow_schema, conform},
        write::write_batches,
    },
};

/// Key column of every table that is filled.
const KEY: &str = "id";

/// A lake whose shape tables are filled.
pub struct Filling {
    tables: Tables,
    file_rows: usize,
}

/// Rows of one table on their way.
pub struct Load {
    tables: Tables,
    state: Arc<TableState>,
    schema: SchemaRef,
    file_rows: usize,
    files: Vec<DataFile>,
}

impl Filling {
    /// The lake that the environment names, by the settings of `lake`.
    ///
    /// # Errors
    /// When the catalog's client cannot be set up.
    pub fn from_env() -> anyhow::Result<Self> {
        let settings = Settings::try_parse_from(["lake"])?;
        let token = settings.catalog_token.as_ref();
        let catalog = Arc::new(RestCatalog::new(&settings.catalog_url, &settings.warehouse, token)?);
        let tables = Tables::new(catalog, settings.file_io())?;
        Ok(Self { tables, file_rows: settings.shape_file_rows.max(1) })
    }

    /// Makes the table of a topic with the columns of `rows`; what it holds is replaced by what is written.
    ///
    /// # Errors
    /// When a server fails.
    pub async fn load(&self, topic: &str, rows: &SchemaRef) -> anyhow::Result<Load> {
        let ident = layers::shape_table(topic).context("no topic of a table")?;
        let mut columns = rows.fields().iter().map(|field| wanted(field)).collect::<Result<Vec<_>, _>>()?;
        columns.extend(own_columns());
        let state = shape::create(&self.tables, &ident, Form::Current, topic, &columns, &[KEY.to_owned()]).await?;
        let schema = arrow_schema(state.metadata().current_schema())?;
        Ok(Load { tables: self.tables.clone(), state, schema, file_rows: self.file_rows, files: Vec::new() })
    }

    /// Applies events to the table of a topic: rows with `_op`, `_ts` and `_lsn`, in their order.
    ///
    /// # Errors
    /// When a server fails, or the table is not there.
    pub async fn apply(&self, topic: &str, events: &RecordBatch) -> anyhow::Result<()> {
        let ident = layers::shape_table(topic).context("no topic of a table")?;
        let state = self.tables.load(&ident).await?.with_context(|| format!("{ident} is not there"))?;
        let schema = state.metadata().current_schema();
        let codec = Arc::new(KeyCodec::new(schema, &arrow_schema(schema)?, &[KEY.to_owned()])?);
        let events = Events::of(events, &codec)?;
        let truncates = Truncates::of(state.metadata())?;
        let target = Target {
            tables: &self.tables,
            state: &state,
            metadata: state.metadata(),
            codec: &codec,
            current_column: None,
            rows_target: self.file_rows,
            truncated: truncates.of_rows(&events.rows, names::TS),
            truncates: &truncates,
        };
        let rewritten = current::apply(&target, &events).await?;
        let change = Change { remove: rewritten.remove, add: rewritten.add, ..Change::default() };
        self.tables.commit(&state, change).await?;
        Ok(())
    }
}

impl Load {
    /// Rows that a file has: to be written at a time, so that all but the last file are full.
    #[must_use]
    pub fn file_rows(&self) -> usize {
        self.file_rows
    }

    /// Writes rows, in the order of their key; columns that they lack are null.
    ///
    /// # Errors
    /// When storage fails, or the rows do not fit.
    pub async fn write(&mut self, rows: &RecordBatch) -> anyhow::Result<()> {
        let rows = conform(rows, &self.schema)?;
        let mut from = 0;
        while from < rows.num_rows() {
            let size = self.file_rows.min(rows.num_rows() - from);
            let (metadata, io) = (self.state.metadata(), self.tables.file_io());
            self.files.extend(write_batches(metadata, io, [rows.slice(from, size)]).await?);
            from += size;
        }
        Ok(())
    }

    /// Publishes what was written.
    ///
    /// # Errors
    /// When the commit fails.
    pub async fn publish(self) -> anyhow::Result<()> {
        let remove = self.state.files.iter().map(|file| file.file_path().to_owned()).collect();
        let change = Change { remove, add: self.files, ..Change::default() };
        self.tables.commit(&self.state, change).await?;
        Ok(())
    }
}
