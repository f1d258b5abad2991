//! stage -> shape: the current state of each source table, and the history of its rows.
//!
//! Incremental by Kafka offsets: a shape table says in a property up to which offset of each partition it holds the
//! events; a pass takes stage's rows beyond them, in the order (`_partition`, `_offset`), and publishes new rows and new
//! offsets by one commit, compare-and-swap. Neither compaction nor expiry of stage disturbs that.
//! The stream is an upsert stream: an update or delete of a key that was never seen is normal.
//!
//! A truncate of the source empties them.
//!
//! Cost follows the changes: only data files whose key range holds a changed key are rewritten.

pub mod current;
pub mod events;
pub mod history;
pub mod keys;
pub mod leaves;
pub mod rewrite;
pub mod truncates;
pub mod unchanged;

use std::sync::Arc;

use iceberg::TableIdent;

use self::{
    events::{Events, OFFSETS_MAX, Span},
    keys::KeyCodec,
    rewrite::{Rewritten, Target},
    truncates::Truncates,
};
use crate::{
    catalog::Creation,
    error::{LakeError, Result},
    failpoint, layers,
    offsets::{Holes, NextOffsets, key_columns, property},
    raw::convert::names,
    tables::{
        TableState, Tables,
        commit::{Change, evolve},
        order,
        schema::{self, Wanted, WantedType},
        write::bloom_filters,
    },
};

/// Rows per data file of a keyed table unless set otherwise: the unit of a rewrite.
pub const FILE_ROWS: usize = 32_768;

/// The two tables a topic is shaped into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Current,
    History,
}

/// Shapes stage tables.
#[derive(Clone)]
pub struct Shape {
    pub tables: Tables,
    pub file_rows: usize,
}

/// What a pass over one table did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shaped {
    pub events: usize,
    /// A commit was made.
    pub committed: bool,
    /// Stage holds more than the pass took.
    pub more: bool,
    /// Why the table is not shaped at all.
    pub skipped: Option<String>,
}

impl Shape {
    /// Brings both tables of a topic forward by one step each.
    ///
    /// # Errors
    /// When a server fails, a table moved ([`LakeError::Conflict`]: call again), or a person must act.
    pub async fn run_topic(&self, topic: &str) -> Result<Shaped> {
        let Some(stage) = layers::stage_table(topic) else { return Ok(Shaped::default()) };
        let Some(stage) = self.tables.cached(&stage).await? else { return Ok(Shaped::default()) };
        let key = key_columns(stage.metadata().properties())?;
        if key.is_empty() {
            let skipped = Some("the table has no key: its events stay in stage".to_owned());
            return Ok(Shaped { skipped, ..Shaped::default() });
        }
        let mut done = Shaped::default();
        let mut read: Option<(Span, Events)> = None;
        for form in [Form::Current, Form::History] {
            let Some(ident) = form.table(topic) else { continue };
            let step = self.step(&ident, form, topic, &stage, &key, &mut read).await;
            if let Err(LakeError::Conflict { .. }) = &step {
                self.tables.load(&ident).await?;
            }
            let step = step?;
            if form == Form::Current && step.committed {
                failpoint::hit(failpoint::CURRENT_SHAPED);
            }
            done.events = done.events.max(step.events);
            done.committed |= step.committed;
            done.more |= step.more;
        }
        Ok(done)
    }

    async fn step(
        &self,
        ident: &TableIdent,
        form: Form,
        topic: &str,
        stage: &TableState,
        key: &[String],
        read: &mut Option<(Span, Events)>,
    ) -> Result<Shaped> {
        let state = match self.tables.cached(ident).await? {
            Some(state) => state,
            None => create(&self.tables, ident, form, topic, &columns(stage, form)?, key).await?,
        };
        let owner = state.metadata().properties().get(property::TOPIC).map(String::as_str);
        if owner != Some(topic) {
            return Err(LakeError::definite(format!(
                "table {ident} holds topic {}; {topic} cannot be shaped into it",
                owner.unwrap_or("(none)")
            )));
        }
        let in_stage = NextOffsets::of(stage.metadata())?;
        let done = NextOffsets::of(state.metadata())?;
        let holes = Holes::of(stage.metadata())?;
        let span = Span::between(&done, &in_stage, &holes, events::first_offset(stage), OFFSETS_MAX);
        if span.ranges.is_empty() {
            return Ok(Shaped::default());
        }
        let grown = schema::grown(
            state.metadata().current_schema(),
            state.metadata().last_column_id(),
            &columns(stage, form)?,
        )?;
        let evolved = grown.map(|schema| evolve(&state, schema)).transpose()?;
        let metadata = evolved.as_ref().map_or(state.metadata(), |evolved| &evolved.metadata);
        let table_schema = metadata.current_schema();
        let codec = Arc::new(KeyCodec::new(table_schema, &schema::arrow_schema(table_schema)?, key)?);
        // Both tables usually stand at the same offsets: stage is read once for both.
        let events = match read {
            Some((known, events)) if known.ranges == span.ranges => events,
            _ => {
                let events = Events::of(&events::read(stage, &span).await?, &codec)?;
                &mut read.insert((span.clone(), events)).1
            }
        };
        let met = Truncates::of(state.metadata())?;
        let target = Target {
            tables: &self.tables,
            state: &state,
            metadata,
            codec: &codec,
            current_column: (form == Form::History).then_some(history::columns::IS_CURRENT),
            rows_target: self.file_rows,
            truncated: met.of_rows(&events.rows, names::TS),
            truncates: &met,
        };
        if let Some(all) = met.with_later(&events.truncates) {
            // By a commit of its own, which says so: the events follow with the next one.
            let Rewritten { remove, add, .. } = truncates::apply(&target, events, &all).await?;
            tracing::info!(table = %ident, files = remove.len(), "the source table was truncated");
            let change = Change { remove, add, properties: [all.property()].into(), evolved, ..Change::default() };
            self.tables.commit(&state, change).await?;
            return Ok(Shaped { committed: true, more: true, ..Shaped::default() });
        }
        let rewritten = match form {
            Form::Current => current::apply(&target, events).await?,
            Form::History => history::apply(&target, events).await?,
        };
        let shaped = Shaped { events: events.rows.num_rows(), committed: true, more: span.more, skipped: None };
        let properties = [span.next.property()].into();
        let change = Change { remove: rewritten.remove, add: rewritten.add, properties, evolved, ..Change::default() };
        self.tables.commit(&state, change).await?;
        Ok(shaped)
    }
}

/// Makes a shape table of these columns.
///
/// # Errors
/// When the catalog fails, or a key column is missing.
pub async fn create(
    tables: &Tables,
    ident: &TableIdent,
    form: Form,
    topic: &str,
    columns: &[Wanted],
    key: &[String],
) -> Result<Arc<TableState>> {
    let identifiers: &[String] = match form {
        Form::Current => key,
        // A key has many versions there.
        Form::History => &[],
    };
    let schema = schema::build(columns, identifiers)?;
    let mut properties = layers::table_properties();
    properties.extend(current::properties());
    properties.insert(property::TOPIC.into(), topic.into());
    properties.insert(property::KEY_COLUMNS.into(), serde_json::Value::from(key).to_string());
    tracing::info!(table = %ident, topic, key = key.join(","), "creating the shape table");
    properties.extend(bloom_filters(key));
    let sort_order = order::by(&schema, &key.iter().map(String::as_str).collect::<Vec<_>>())?;
    let creation = Creation { schema, partition_spec: None, sort_order: Some(sort_order), properties };
    tables.create(ident, creation).await
}

impl Form {
    fn table(self, topic: &str) -> Option<TableIdent> {
        match self {
            Self::Current => layers::shape_table(topic),
            Self::History => layers::history_table(topic),
        }
    }
}

/// Columns of a shape table: the row's as stage has them, then its own.
fn columns(stage: &TableState, form: Form) -> Result<Vec<Wanted>> {
    let event = [names::OP, names::TS, names::LSN, names::TXID, names::TOPIC, names::PARTITION, names::OFFSET];
    let fields = stage.metadata().current_schema().as_struct().fields();
    let mut columns = Vec::with_capacity(fields.len() + 2);
    for field in fields.iter().filter(|field| !event.contains(&field.name.as_str())) {
        columns.push(Wanted { name: field.name.clone(), kind: wanted_type(&field.field_type)?, required: false });
    }
    columns.extend(match form {
        Form::Current => current::own_columns(),
        Form::History => history::own_columns(),
    });
    Ok(columns)
}

fn wanted_type(kind: &iceberg::spec::Type) -> Result<WantedType> {
    match kind {
        iceberg::spec::Type::Primitive(primitive) => Ok(WantedType::Primitive(primitive.clone())),
        iceberg::spec::Type::List(list) => Ok(WantedType::List(Box::new(wanted_type(&list.element_field.field_type)?))),
        other => Err(LakeError::definite(format!("a stage column of type {other} cannot be shaped"))),
    }
}
