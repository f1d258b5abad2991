//! Looks at the rows of a snapshot, published or not, with the tests of its model.
//!
//! One scan for all of them. After a build by parts only the files that came are read: rows that passed are not looked at
//! again, except for what must hold over the whole table.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{compute::cast, datatypes::SchemaRef, record_batch::RecordBatch};
use futures::TryStreamExt;
use iceberg::spec::ManifestEntryRef;

use super::session::Session;
use crate::{
    digests::Digests,
    error::{LakeError, Result},
    models::{
        Model,
        checks::{Aid, Audit, Check, Hasher, Rule, Verdict},
        header::Relationship,
    },
    sql::Pinned,
    tables::{TableState, read::read_files, schema},
};

/// What an audit needs beside the rows.
pub struct Auditor<'a> {
    pub model: &'a Model,
    pub session: &'a Session,
    /// Tables that relationships point to.
    pub pinned: &'a Pinned,
}

impl Auditor<'_> {
    /// The tests that a run looks at: of the rows in `files`, which came, and of the whole table where that is needed.
    ///
    /// # Errors
    /// When storage fails, or a test does not fit the model.
    pub async fn audit(&self, state: &TableState, came: &[ManifestEntryRef]) -> Result<Vec<Verdict>> {
        let whole = came.len() == state.files.len();
        let (of_new, of_all): (Vec<&Check>, Vec<&Check>) = self
            .model
            .checks
            .iter()
            .filter(|check| check.is_audited())
            .partition(|check| whole || self.holds_by_parts(check));
        let mut verdicts = self.look(state, came, of_new).await?;
        verdicts.extend(self.look(state, &state.files, of_all).await?);
        Ok(verdicts)
    }

    /// Whether new files alone show that a check holds, if it held before.
    fn holds_by_parts(&self, check: &Check) -> bool {
        match &check.rule {
            // All rows of a part are in the new files.
            Rule::Unique(columns) => {
                self.model.header.materialized.slice().is_some_and(|slice| columns.contains(&slice.by))
            }
            _ => check.is_of_rows(),
        }
    }

    async fn look(&self, state: &TableState, files: &[ManifestEntryRef], checks: Vec<&Check>) -> Result<Vec<Verdict>> {
        if checks.is_empty() {
            return Ok(Vec::new());
        }
        let schema = schema::plain(schema::arrow_schema(state.metadata().current_schema())?.as_ref());
        let mut known: BTreeMap<String, Aid> = BTreeMap::new();
        for check in &checks {
            known.insert(check.name.clone(), self.aid(check, &schema).await?);
        }
        let with_aid = checks.into_iter().map(|check| (check, known.remove(&check.name).unwrap_or(Aid::None)));
        let mut audit = Audit::new(with_aid.collect(), &schema)?;
        let ids = state.metadata().current_schema().as_struct().fields().iter().map(|field| field.id).collect();
        let mut batches = read_files(state, files, ids, None)?;
        while let Some(batch) = batches.try_next().await? {
            audit.see(&RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?)?;
        }
        Ok(audit.finish())
    }

    async fn aid(&self, check: &Check, schema: &SchemaRef) -> Result<Aid> {
        Ok(match &check.rule {
            Rule::Expression(sql) => {
                let unfit = |error: LakeError| {
                    LakeError::definite(format!("{}: test {}: {error}", self.model.file, check.name))
                };
                Aid::Condition(self.session.condition(sql, schema).map_err(unfit)?)
            }
            Rule::Relationships(column, to) => Aid::Values(self.values(column, to, schema).await?),
            _ => Aid::None,
        })
    }

    /// Hashes of the values that a column may have.
    async fn values(&self, column: &str, to: &Relationship, schema: &SchemaRef) -> Result<Digests> {
        let missing = |what: &str| LakeError::definite(format!("{}: relationships: no {what}", self.model.file));
        let state = self.pinned.get(&to.to).ok_or_else(|| missing(&format!("table {}", to.to)))?;
        let field = state.metadata().current_schema().field_by_name(&to.column).map(|field| field.id);
        let id = field.ok_or_else(|| missing(&format!("column {} in {}", to.column, to.to)))?;
        let own = schema.field_with_name(column).map_err(|_| missing(&format!("column {column}")))?;
        let only = Arc::new(arrow::datatypes::Schema::new(vec![own.clone()]));
        let hasher = Hasher::of(&[column.to_owned()], &only)?;
        let mut known = Digests::default();
        let mut batches = read_files(state, &state.files, vec![id], None)?;
        while let Some(batch) = batches.try_next().await? {
            let values = cast(batch.column(0), own.data_type())?;
            let rows = RecordBatch::try_from_iter_with_nullable([(column, values, true)])?;
            known.extend(hasher.hash(&rows)?.into_iter().flatten());
        }
        Ok(known)
    }
}
