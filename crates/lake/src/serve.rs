//! shape -> serve: marts from SQL files, rebuilt whole when an input changed, replaced by one commit.
//!
//! Promises: all marts of a run read one set of snapshots of their inputs; a reader sees the mart before or after a
//! rebuild, never between; the snapshots it was computed from and the hash of its SQL are properties of the mart, set in
//! the same commit, so that nothing is rebuilt in vain.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use arrow::{datatypes::Schema as ArrowSchema, record_batch::RecordBatch};
use futures::{TryStreamExt, future::join_all};
use iceberg::{
    TableIdent,
    arrow::arrow_type_to_type,
    spec::{NestedField, NestedFieldRef, Schema, Type},
};

use crate::{
    catalog::Creation,
    error::{LakeError, Result},
    layers,
    offsets::{property, recorded},
    sql::{Engine, Pinned, references},
    tables::{
        TableState, Tables,
        commit::{Change, Evolved, evolve},
        schema::{Wanted, WantedType, arrow_schema, build, conform},
        write::write_batches,
    },
};

/// A mart's definition.
#[derive(Debug, Clone)]
pub struct Mart {
    pub name: String,
    pub sql: String,
    /// SQL names of the tables it reads.
    pub inputs: Vec<String>,
    /// Hash of the SQL.
    pub model: String,
}

/// Reads the marts of `<models>/serve/*.sql`, by name.
///
/// # Errors
/// When the folder cannot be read or a file is no query.
pub fn marts(models: &Path) -> Result<Vec<Mart>> {
    let folder = models.join("serve");
    let unreadable =
        |error: std::io::Error| LakeError::definite(format!("read models from {}: {error}", folder.display()));
    let mut marts = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let sql = std::fs::read_to_string(&path).map_err(unreadable)?;
        let inputs = references(&sql).map_err(|error| LakeError::definite(format!("{}: {error}", path.display())))?;
        let model = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(sql.as_bytes()));
        marts.push(Mart { name: name.to_owned(), sql, inputs, model });
    }
    marts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(marts)
}

/// Builds marts.
#[derive(Clone)]
pub struct Serve {
    pub tables: Tables,
    pub engine: Engine,
    pub marts: Arc<Vec<Mart>>,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Served {
    /// Marts that were rebuilt, with their rows.
    pub built: BTreeMap<String, usize>,
    /// Marts that wait for a table that is not there yet.
    pub waiting: BTreeMap<String, String>,
    /// Marts that failed, with the reason; the others went on.
    pub failed: BTreeMap<String, LakeError>,
}

impl Serve {
    /// Rebuilds the marts whose inputs or SQL changed.
    ///
    /// # Errors
    /// When the inputs cannot be loaded; a mart's own failure is in the result.
    pub async fn run(&self) -> Result<Served> {
        let mut served = Served::default();
        let pinned = self.pin().await?;
        let mut ready = Vec::new();
        for mart in self.marts.iter() {
            match mart.inputs.iter().find(|input| !pinned.contains_key(*input)) {
                Some(missing) => drop(served.waiting.insert(mart.name.clone(), missing.clone())),
                None => ready.push(mart),
            }
        }
        // Side by side: most of a rebuild is waiting for storage. The engine bounds their memory together.
        let rebuilds: Vec<_> = ready.iter().map(|mart| self.refresh(mart, &pinned)).collect();
        let refreshed = join_all(rebuilds).await;
        for (mart, refreshed) in ready.into_iter().zip(refreshed) {
            match refreshed {
                Ok(Some(rows)) => drop(served.built.insert(mart.name.clone(), rows)),
                Ok(None) => {}
                Err(error) => drop(served.failed.insert(mart.name.clone(), error)),
            }
        }
        Ok(served)
    }

    /// The snapshots this run reads.
    async fn pin(&self) -> Result<Pinned> {
        let mut pinned = Pinned::new();
        for input in self.marts.iter().flat_map(|mart| &mart.inputs) {
            if pinned.contains_key(input) {
                continue;
            }
            if let Some(state) = self.tables.cached(&self.ident(input).await?).await? {
                pinned.insert(input.clone(), state);
            }
        }
        Ok(pinned)
    }

    async fn ident(&self, input: &str) -> Result<TableIdent> {
        let (layer, name) = input.split_once('.').unwrap_or((layers::SHAPE, input));
        if layer == layers::STAGE {
            let all = self.tables.list(layer).await?;
            let found = all.into_iter().find(|ident| ident.name() == name);
            return found.ok_or_else(|| LakeError::definite(format!("a model reads {input}, which is not there")));
        }
        Ok(TableIdent::from_strs([layer, name])?)
    }

    /// Rebuilds one mart if need be; a table that moved meanwhile is loaded and replaced again.
    async fn refresh(&self, mart: &Mart, pinned: &Pinned) -> Result<Option<usize>> {
        let ident = layers::serve_table(&mart.name);
        let inputs = inputs_property(mart, pinned);
        for _ in 0..5 {
            let present = self.tables.cached(&ident).await?;
            if let Some(state) = &present {
                let is = |name: &str| recorded(state.metadata(), name);
                if is(property::INPUTS) == Some(&inputs) && is(property::MODEL) == Some(&mart.model) {
                    return Ok(None);
                }
            }
            match self.build(mart, pinned, &ident, present, &inputs).await {
                Err(LakeError::Conflict { .. }) => drop(self.tables.load(&ident).await?),
                done => return done.map(Some),
            }
        }
        Err(LakeError::Conflict { table: ident.to_string() })
    }

    async fn build(
        &self,
        mart: &Mart,
        pinned: &Pinned,
        ident: &TableIdent,
        present: Option<Arc<TableState>>,
        inputs: &str,
    ) -> Result<usize> {
        let started = Instant::now();
        let stream = self.engine.query_pinned(&mart.sql, pinned).await?;
        let result = stream.schema();
        let rows: Vec<RecordBatch> = stream.try_collect().await?;
        let state = match present {
            Some(state) => state,
            None => self.create(ident, &result).await?,
        };
        let evolved = reshaped(&state, &result)?.map(|schema| evolve(&state, schema)).transpose()?;
        let metadata = evolved.as_ref().map_or(state.metadata(), |evolved: &Evolved| &evolved.metadata);
        let target = arrow_schema(metadata.current_schema())?;
        let rows = rows.iter().map(|batch| conform(batch, &target)).collect::<Result<Vec<_>>>()?;
        let count = rows.iter().map(RecordBatch::num_rows).sum();
        let change = Change {
            remove: state.live().map(|file| file.path.to_owned()).collect(),
            add: write_batches(metadata, self.tables.file_io(), rows).await?,
            properties: [
                (property::INPUTS.to_owned(), inputs.to_owned()),
                (property::MODEL.to_owned(), mart.model.clone()),
            ]
            .into(),
            evolved,
            ..Change::default()
        };
        self.tables.commit(&state, change).await?;
        tracing::debug!(mart = mart.name, rows = count, took = ?started.elapsed(), "mart rebuilt");
        Ok(count)
    }

    async fn create(&self, ident: &TableIdent, result: &ArrowSchema) -> Result<Arc<TableState>> {
        let schema = build(&wanted(result)?, &[])?;
        tracing::info!(table = %ident, "creating the mart");
        let properties = layers::table_properties();
        self.tables.create(ident, Creation { schema, partition_spec: None, sort_order: None, properties }).await
    }
}

fn inputs_property(mart: &Mart, pinned: &Pinned) -> String {
    let snapshot = |input: &String| pinned.get(input).and_then(|state| state.rows_snapshot_id());
    let inputs: BTreeMap<&String, Option<i64>> = mart.inputs.iter().map(|input| (input, snapshot(input))).collect();
    serde_json::json!(inputs).to_string()
}

fn wanted(result: &ArrowSchema) -> Result<Vec<Wanted>> {
    let column = |field: &Arc<arrow::datatypes::Field>| match column_type(field)? {
        Type::Primitive(kind) => {
            Ok(Wanted { name: field.name().clone(), kind: WantedType::Primitive(kind), required: false })
        }
        other => Err(LakeError::definite(format!("a mart's column {} cannot be of type {other}", field.name()))),
    };
    result.fields().iter().map(column).collect()
}

fn column_type(field: &arrow::datatypes::Field) -> Result<Type> {
    use arrow::datatypes::DataType::{Int64, LargeUtf8, UInt32, UInt64, Utf8, Utf8View};
    let kind = match field.data_type() {
        Utf8View | LargeUtf8 => &Utf8,
        UInt32 | UInt64 => &Int64,
        other => other,
    };
    Ok(arrow_type_to_type(kind)?)
}

/// The mart's schema when its query now yields other columns: equal columns keep their ids, others get new ones.
fn reshaped(state: &TableState, result: &ArrowSchema) -> Result<Option<Schema>> {
    let present = state.metadata().current_schema().as_struct().fields();
    let mut next_id = state.metadata().last_column_id();
    let mut fields: Vec<NestedFieldRef> = Vec::with_capacity(result.fields().len());
    for field in result.fields() {
        let kind = column_type(field)?;
        let same = present.iter().find(|known| known.name == *field.name() && *known.field_type == kind);
        fields.push(match same {
            Some(same) => same.clone(),
            None => {
                next_id += 1;
                NestedField::optional(next_id, field.name(), kind).into()
            }
        });
    }
    if fields == *present {
        return Ok(None);
    }
    Ok(Some(Schema::builder().with_fields(fields).build()?))
}
