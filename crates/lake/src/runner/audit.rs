//! Looks at the rows of a model with its tests before anybody else can see them.
//!
//! One pass for all of them, over the rows as they go into files. After a build by parts those are the rows of the parts:
//! rows that passed are not looked at again. What must hold over the whole table is looked at in the snapshot that was written
//! and not published.

use std::sync::Arc;

use arrow::{
    compute::{cast, filter},
    datatypes::SchemaRef,
    record_batch::RecordBatch,
};
use futures::TryStreamExt;
use iceberg::spec::Schema as IcebergSchema;

use super::session::Session;
use crate::{
    error::{LakeError, Result},
    models::{
        Model,
        checks::{Aid, Audit, Check, Rule, Verdict},
        header::Relationship,
        members::Members,
    },
    sql::Pinned,
    tables::{
        TableState,
        read::{read_files, read_whole},
        schema,
    },
};

/// What an audit needs beside the rows.
pub struct Auditor<'a> {
    pub model: &'a Model,
    pub session: &'a Session,
    /// Tables that relationships point to.
    pub pinned: &'a Pinned,
}

/// Which rows of a table an audit sees before they are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// All, one after another.
    All,
    /// All, in parts that hold all rows of their values of the column `by`, each part by an audit of its own.
    AllByParts,
    /// Those of some values of the column `by`, all of each; the others passed before.
    Parts,
}

/// Checks that are ready to be looked at in rows of one schema.
pub struct Ready {
    schema: SchemaRef,
    checks: Vec<(Check, Aid)>,
    /// Checks that want the whole table.
    left: Vec<Check>,
}

impl Ready {
    /// An audit that has seen no rows.
    ///
    /// # Errors
    /// When a check names a column that is not there.
    pub fn audit(&self) -> Result<Audit> {
        Audit::new(&self.checks, &self.schema)
    }

    /// What is to be looked at in the whole table, [`Auditor::look`].
    #[must_use]
    pub fn left(self) -> Vec<Check> {
        self.left
    }
}

impl Auditor<'_> {
    /// The tests that a run looks at, for rows that are about to be written to a table of this schema; the rows themselves if
    /// they are known already.
    ///
    /// # Errors
    /// When storage fails, or a test does not fit the model.
    pub async fn ready(&self, schema: &IcebergSchema, seen: Seen, rows: Option<&RecordBatch>) -> Result<Ready> {
        let audited = self.model.checks.iter().filter(|check| check.is_audited()).cloned();
        let (now, left): (Vec<Check>, Vec<Check>) = audited.partition(|check| match seen {
            Seen::All => true,
            Seen::AllByParts => matches!(check.rule, Rule::RowCount { .. }) || self.holds_by_parts(check),
            Seen::Parts => self.holds_by_parts(check),
        });
        let schema = schema::plain(schema::arrow_schema(schema)?.as_ref());
        let mut checks = Vec::with_capacity(now.len());
        for check in now {
            let aid = self.aid(&check, &schema, rows).await?;
            checks.push((check, aid));
        }
        Ok(Ready { schema, checks, left })
    }

    /// Whether the rows of a part alone show that a check holds in it.
    fn holds_by_parts(&self, check: &Check) -> bool {
        match &check.rule {
            Rule::Unique(columns) => {
                self.model.header.materialized.slice().is_some_and(|slice| columns.contains(&slice.by))
            }
            _ => check.is_of_rows(),
        }
    }

    /// Looks at all rows of a table, published or not.
    ///
    /// # Errors
    /// When storage fails, or a test does not fit the model.
    pub async fn look(&self, state: &TableState, checks: Vec<Check>) -> Result<Vec<Verdict>> {
        if checks.is_empty() {
            return Ok(Vec::new());
        }
        let schema = schema::plain(schema::arrow_schema(state.metadata().current_schema())?.as_ref());
        let mut with_aid = Vec::with_capacity(checks.len());
        for check in checks {
            let aid = self.aid(&check, &schema, None).await?;
            with_aid.push((check, aid));
        }
        let mut audit = Audit::new(&with_aid, &schema)?;
        let mut batches = read_whole(state, &state.files)?;
        while let Some(batch) = batches.try_next().await? {
            audit.see(&batch)?;
        }
        Ok(audit.finish())
    }

    async fn aid(&self, check: &Check, schema: &SchemaRef, rows: Option<&RecordBatch>) -> Result<Aid> {
        Ok(match &check.rule {
            Rule::Expression(sql) => {
                let unfit = |error: LakeError| {
                    LakeError::definite(format!("{}: test {}: {error}", self.model.file, check.name))
                };
                Aid::Condition(self.session.condition(sql, schema).map_err(unfit)?)
            }
            Rule::Relationships(column, to) => Aid::Values(Arc::new(self.values(column, to, schema, rows).await?)),
            _ => Aid::None,
        })
    }

    /// The values that a column may have; of those only that it has in `rows`, if these are known.
    async fn values(
        &self,
        column: &str,
        to: &Relationship,
        schema: &SchemaRef,
        rows: Option<&RecordBatch>,
    ) -> Result<Members> {
        let missing = |what: &str| LakeError::definite(format!("{}: relationships: no {what}", self.model.file));
        let state = self.pinned.get(&to.to).ok_or_else(|| missing(&format!("table {}", to.to)))?;
        let field = state.metadata().current_schema().field_by_name(&to.column).map(|field| field.id);
        let id = field.ok_or_else(|| missing(&format!("column {} in {}", to.column, to.to)))?;
        let own = schema.index_of(column).map_err(|_| missing(&format!("column {column}")))?;
        let kind = schema.field(own).data_type();
        let wanted = rows.map(|rows| Members::of(kind, std::slice::from_ref(rows.column(own)))).transpose()?;
        let mut known = Vec::new();
        let mut batches = read_files(state, &state.files, vec![id], None)?;
        while let Some(batch) = batches.try_next().await? {
            let mut values = cast(batch.column(0), kind)?;
            if let Some(wanted) = &wanted {
                values = filter(&values, &wanted.among(&values)?)?;
            }
            known.push(values);
        }
        Members::of(kind, &known)
    }
}
