//! Builds one model: compute, write, audit, publish. Readers see the table before or after, never between, and never rows
//! that failed a test.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{array::ArrayRef, compute::concat_batches, datatypes::Schema as ArrowSchema, record_batch::RecordBatch};
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use iceberg::spec::{DataFile, TableMetadata};

use super::{
    Runner,
    audit::{Auditor, Seen},
    plan::{self, Inputs, Why},
    ranges::{self, RangeBuild, ValueRange},
    session::{Session, whole},
    slices::{self, Compare, Reads, Touched},
    table,
};
use crate::{
    error::{LakeError, Result},
    models::{
        Model,
        checks::{Audit, Check, Verdict},
        header::{Materialized, Slice},
    },
    offsets::property,
    sql::Pinned,
    tables::{
        TableState,
        commit::{Change, Evolved},
        equal_files::EqualFiles,
        schema::{arrow_schema, conform},
        validate::replace_partitions,
        write::{Files, write_partitioned},
    },
    tasks::{cores_and_one, side_by_side},
};

/// Times a model is built again because its table moved meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// How a model was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Full,
    Partition,
    Incremental,
}

impl How {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partition => "partition",
            Self::Incremental => "incremental",
        }
    }
}

/// A model that was built and published.
#[derive(Debug, Clone)]
pub struct Built {
    pub why: Why,
    pub how: How,
    /// Rows that were computed.
    pub rows: u64,
    pub took: Duration,
    /// Tests that failed and only warn.
    pub warnings: Vec<Verdict>,
    pub snapshot_id: Option<i64>,
}

/// A model whose new rows failed a test; its table is as it was.
#[derive(Debug, Clone)]
pub struct Rejection {
    pub verdicts: Vec<Verdict>,
    /// The snapshot on the branch `audit`.
    pub snapshot_id: i64,
    pub took: Duration,
}

impl Rejection {
    /// What failed, in words.
    #[must_use]
    pub fn reason(&self) -> String {
        let failed: Vec<&str> = self.verdicts.iter().map(|verdict| verdict.reason.as_str()).collect();
        format!("rejected, the rows before stand: {} (see serve._rejected)", failed.join("; "))
    }
}

/// What became of a model in a run.
pub enum Outcome {
    Current,
    Built(Built, Arc<TableState>),
    Rejected(Rejection),
}

/// One model in one run.
pub struct Build<'a> {
    pub runner: &'a Runner,
    pub model: &'a Model,
    /// The snapshots that the run reads, of the model's inputs and of what its tests point to.
    pub pinned: &'a Pinned,
}

/// What is to be written, and what it replaces.
struct Computed {
    how: How,
    change: Change,
    rows: u64,
    state: Arc<TableState>,
    /// What the tests said of the rows on their way into files.
    verdicts: Vec<Verdict>,
    /// Tests that want the whole table.
    left: Vec<Check>,
}

impl Build<'_> {
    /// Builds the model if need be; a table that moved meanwhile is loaded and built again.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn run(&self) -> Result<Outcome> {
        let started = Instant::now();
        let ident = self.model.ident();
        let now = plan::inputs(self.model, self.pinned);
        for _ in 0..ATTEMPTS_MAX {
            let present = self.runner.tables.cached(&ident).await?;
            if let Some(topic) = present.as_ref().and_then(|state| state.metadata().properties().get(property::TOPIC)) {
                let text = format!("{}: {ident} is the table of topic {topic}: rename the model", self.model.file);
                return Err(LakeError::definite(text));
            }
            let before = present.as_ref().and_then(|state| self.runner.built_from(self.model, state));
            let why = plan::why(self.model, present.as_deref(), before.as_ref(), &now);
            if why == Why::Current {
                return Ok(Outcome::Current);
            }
            let built = Box::pin(self.build(present.as_ref(), before.as_ref(), &now, &why)).await;
            match built {
                Ok(None) => return Ok(Outcome::Current),
                Ok(Some(mut outcome)) => {
                    match &mut outcome {
                        Outcome::Built(built, _) => (built.took, built.why) = (started.elapsed(), why),
                        Outcome::Rejected(rejection) => rejection.took = started.elapsed(),
                        Outcome::Current => {}
                    }
                    return Ok(outcome);
                }
                Err(LakeError::Conflict { .. }) => drop(self.runner.tables.load(&ident).await?),
                Err(error) => return Err(error),
            }
        }
        Err(LakeError::Conflict { table: ident.to_string() })
    }

    /// `None` when it turns out that nothing the model can see changed.
    async fn build(
        &self,
        present: Option<&Arc<TableState>>,
        before: Option<&Inputs>,
        now: &Inputs,
        why: &Why,
    ) -> Result<Option<Outcome>> {
        let session = self.runner.sessions.over(&whole(self.pinned)?)?;
        let auditor = Auditor { model: self.model, session: &session, pinned: self.pinned };
        let mut by_parts = None;
        if let (Some(state), Some(slice), Why::Inputs(_), Some(before)) =
            (present, self.model.header.materialized.slice(), why, before)
        {
            match self.touched(&session, state, slice, before, now).await? {
                Touched::Nothing => {
                    self.runner.remember(self.model, state, now);
                    return Ok(None);
                }
                Touched::Values(values) => by_parts = self.by_parts(&auditor, state, slice, &values).await?,
                Touched::All(reason) => tracing::debug!(model = self.model.name, reason, "building everything"),
            }
        }
        let mut computed = match by_parts {
            Some(computed) => computed,
            None => match self.ranges() {
                Some((slice, ranges)) => self.in_ranges(&auditor, slice, ranges, present).await?,
                None => self.in_full(&auditor, present).await?,
            },
        };
        computed.change.properties = [
            (property::INPUTS.to_owned(), serde_json::json!(now).to_string()),
            (property::MODEL.to_owned(), self.model.code.clone()),
        ]
        .into();
        computed.change.properties.extend(table::kept_by(self.model));
        let state = computed.state;
        let staged = self.runner.tables.stage(&state, computed.change).await?;
        let mut verdicts = computed.verdicts;
        verdicts.extend(auditor.look(&staged.state, computed.left).await?);
        self.runner.conclude(self.model, &state, staged, verdicts, computed.how, computed.rows).await.map(Some)
    }

    async fn touched(
        &self,
        session: &Session,
        state: &TableState,
        slice: &Slice,
        before: &Inputs,
        now: &Inputs,
    ) -> Result<Touched> {
        let schema = arrow_schema(state.metadata().current_schema())?;
        let kind = schema.field_with_name(&slice.by).map_err(|_| table::missing(self.model, &slice.by))?.data_type();
        let compare = Compare { tables: &self.runner.tables, pinned: self.pinned, share_max: self.runner.share_max };
        if let Some(reason) = compare.in_vain(before, now).await? {
            return Ok(Touched::All(reason));
        }
        // Planned only now: it takes longer than a look at the files.
        let reads: Reads = session.reads(&self.model.sql).await?;
        compare.touched(slice, kind, &reads, before, now).await
    }

    /// Runs the query on the touched parts of the inputs, here: they are few; `None` when the table is not as parts need it.
    async fn by_parts(
        &self,
        auditor: &Auditor<'_>,
        state: &Arc<TableState>,
        slice: &Slice,
        values: &ArrayRef,
    ) -> Result<Option<Computed>> {
        let mut providers = whole(self.pinned)?;
        for (input, column) in &slice.from {
            if let Some(state) = self.pinned.get(input) {
                providers.insert(input.clone(), slices::restricted(state, column, values)?);
            }
        }
        let stream = self.runner.sessions.over(&providers)?.query(&self.model.sql).await?;
        if table::evolution(state, self.model, &stream.schema())?.is_some() {
            return Ok(None);
        }
        let schema = arrow_schema(state.metadata().current_schema())?;
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        let batches = batches.iter().map(|batch| conform(batch, &schema)).collect::<Result<Vec<_>>>()?;
        let rows = concat_batches(&schema, &batches)?;
        let (tables, file_rows) = (&self.runner.tables, self.runner.file_rows);
        let count = rows.num_rows() as u64;
        let ready = auditor.ready(state.metadata().current_schema(), Seen::Parts, Some(&rows)).await?;
        let mut audit = ready.audit()?;
        audit.see(&rows)?;
        let (verdicts, left) = (audit.finish(), ready.left());
        if let Materialized::Incremental(_) = self.model.header.materialized {
            let replaced = slices::replace_rows(tables, state, &slice.by, values, &rows, file_rows).await?;
            let change = Change { remove: replaced.remove, add: replaced.add, ..Change::default() };
            let state = state.clone();
            return Ok(Some(Computed { how: How::Incremental, change, rows: count, state, verdicts, left }));
        }
        let partitions = slices::partitions(values)?;
        let add = write_partitioned(state.metadata(), tables.file_io(), &rows).await?;
        let Some(mut change) = replace_partitions(state, add) else { return Ok(None) };
        // A partition that has no rows any more goes, too.
        let gone = state.live().filter(|live| partitions.contains(live.partition));
        change.remove.extend(gone.map(|live| live.path.to_owned()));
        Ok(Some(Computed { how: How::Partition, change, rows: count, state: state.clone(), verdicts, left }))
    }

    async fn in_full(&self, auditor: &Auditor<'_>, present: Option<&Arc<TableState>>) -> Result<Computed> {
        let stream = match self.model.header.materialized.slice() {
            Some(slice) => self.rows(auditor.session, &sorted(self.model, slice)).await?,
            None => self.rows(auditor.session, &self.model.sql).await?,
        };
        let (state, evolved) = self.target(present, &stream.schema()).await?;
        let metadata = evolved.as_ref().map_or(state.metadata(), |evolved| &evolved.metadata);
        let ready = auditor.ready(metadata.current_schema(), Seen::All, None).await?;
        let mut audit = ready.audit()?;
        let (add, rows) = self.write(metadata, stream, &mut audit).await?;
        let change = Change { remove: paths(&state), add, evolved, ..Change::default() };
        Ok(Computed { how: How::Full, change, rows, state, verdicts: audit.finish(), left: ready.left() })
    }

    /// The ranges to build the model by, if that is better than in one go.
    fn ranges(&self) -> Option<(&Slice, Vec<ValueRange>)> {
        match &self.model.header.materialized {
            Materialized::Incremental(slice) if self.runner.cluster.is_none() => {
                ranges::plan(self.model, slice, self.pinned, self.runner.ranges).map(|ranges| (slice, ranges))
            }
            _ => None,
        }
    }

    /// Builds everything range by range, a few at once.
    async fn in_ranges(
        &self,
        auditor: &Auditor<'_>,
        slice: &Slice,
        ranges: Vec<ValueRange>,
        present: Option<&Arc<TableState>>,
    ) -> Result<Computed> {
        let result = auditor.session.schema(&self.model.sql).await?;
        let (state, evolved) = self.target(present, result.as_ref()).await?;
        let metadata = evolved.as_ref().map_or(state.metadata(), |evolved| &evolved.metadata);
        let ready = auditor.ready(metadata.current_schema(), Seen::AllByParts, None).await?;
        let made = Arc::new(RangeBuild {
            sql: self.model.sql.clone(),
            slice: slice.clone(),
            sessions: self.runner.sessions.on_one_core(),
            pinned: self.model.inputs.iter().filter_map(|name| self.pinned.get_key_value(name)).map(owned).collect(),
            metadata: metadata.clone(),
            io: self.runner.tables.file_io().clone(),
            file_rows: self.runner.file_rows,
        });
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let (made, audit) = (made.clone(), ready.audit()?);
            parts.push(async move { made.range(range, audit).await });
        }
        let (mut all, mut add, mut rows) = (ready.audit()?, Vec::new(), 0);
        for built in side_by_side(parts, cores_and_one()).await? {
            rows += built.rows;
            all.absorb(built.audit);
            add.extend(built.files);
        }
        let change = Change { remove: paths(&state), add, evolved, ..Change::default() };
        Ok(Computed { how: How::Full, change, rows, state, verdicts: all.finish(), left: ready.left() })
    }

    /// The model's table for rows of this schema, made if it is not there, and how it has to grow for them.
    async fn target(
        &self,
        present: Option<&Arc<TableState>>,
        result: &ArrowSchema,
    ) -> Result<(Arc<TableState>, Option<Evolved>)> {
        if let Some(slice) = self.model.header.materialized.slice()
            && result.index_of(&slice.by).is_err()
        {
            return Err(table::missing(self.model, &slice.by));
        }
        let state = match present {
            Some(state) => state.clone(),
            None => table::create(&self.runner.tables, self.model, result).await?,
        };
        let evolved = table::evolution(&state, self.model, result)?;
        Ok((state, evolved))
    }

    /// Runs a query over whole inputs, on the cluster if there is one and it can.
    async fn rows(&self, session: &Session, sql: &str) -> Result<SendableRecordBatchStream> {
        if let Some(cluster) = &self.runner.cluster
            && let Some(rows) = cluster.query(session.to_send(sql).await?, &self.model.name).await?
        {
            return Ok(rows);
        }
        session.query(sql).await
    }

    /// Writes a result as it comes, an incremental one in files of `file_rows` rows; a partitioned one as a whole.
    async fn write(
        &self,
        metadata: &TableMetadata,
        stream: SendableRecordBatchStream,
        audit: &mut Audit,
    ) -> Result<(Vec<DataFile>, u64)> {
        let target = arrow_schema(metadata.current_schema())?;
        let mut stream = stream.map_err(LakeError::from).and_then(|batch| {
            let batch = conform(&batch, &target).and_then(|batch| audit.see(&batch).map(|()| batch));
            std::future::ready(batch)
        });
        let io = self.runner.tables.file_io();
        let mut count = 0;
        if !metadata.default_partition_spec().is_unpartitioned() {
            let batches: Vec<RecordBatch> = stream.try_collect().await?;
            let rows = concat_batches(&target, &batches)?;
            return Ok((write_partitioned(metadata, io, &rows).await?, rows.num_rows() as u64));
        }
        if let Materialized::Incremental(_) = self.model.header.materialized {
            let mut files = EqualFiles::new(metadata, io, self.runner.file_rows);
            while let Some(batch) = stream.try_next().await? {
                count += batch.num_rows() as u64;
                files.write(batch).await?;
            }
            return Ok((files.close().await?, count));
        }
        let mut files: Option<Files> = None;
        while let Some(batch) = stream.try_next().await? {
            if batch.num_rows() == 0 {
                continue;
            }
            count += batch.num_rows() as u64;
            let files = match &mut files {
                Some(files) => files,
                none => none.insert(Files::create(metadata, io, None)?),
            };
            files.write(batch).await?;
        }
        let add = match files {
            Some(files) => files.close().await?,
            None => Vec::new(),
        };
        Ok((add, count))
    }
}

fn paths(state: &TableState) -> HashSet<String> {
    state.live().map(|file| file.path.to_owned()).collect()
}

fn owned((name, state): (&String, &Arc<TableState>)) -> (String, Arc<TableState>) {
    (name.clone(), state.clone())
}

/// The query, its rows in the order of the parts.
fn sorted(model: &Model, slice: &Slice) -> String {
    let query = model.sql.trim_end().trim_end_matches(';');
    format!("SELECT * FROM (\n{query}\n) AS model ORDER BY \"{}\"", slice.by)
}
