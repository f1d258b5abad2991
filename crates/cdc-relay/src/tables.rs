//! Makes tables ready: schemas registered, topic created, codec built.
//!
//! Stands beside the hot path: called when a table is first seen or its shape changes, never per row.

use std::{collections::HashSet, sync::Arc};

use connect::Reporter;
use model::{
    envelope::EnvelopeCodec,
    names,
    table::{Column, TableId, TableSchema},
};
use topics::{Admin, RegistryClient};

use crate::{
    error::RelayError, pipeline::Origin, postgres::catalog::CatalogTable, records::CapturedTable,
    settings::RelaySettings,
};

/// Registers and creates what a table needs outside of this process.
pub struct TableDesk {
    settings: Arc<RelaySettings>,
    admin: Admin,
    registry: RegistryClient,
    report: Reporter,
    topics_made: HashSet<String>,
}

/// A topic that belongs to no table, ready for its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeTopic {
    pub topic: String,
    pub key_schema: String,
    pub value_schema: String,
    pub key_schema_id: u32,
    pub value_schema_id: u32,
}

impl TableDesk {
    #[must_use]
    pub fn new(settings: &Arc<RelaySettings>, admin: Admin, registry: RegistryClient, report: Reporter) -> Self {
        Self { settings: Arc::clone(settings), admin, registry, report, topics_made: HashSet::new() }
    }

    /// Makes one table ready for its rows.
    ///
    /// # Errors
    /// A refused schema is definite and names subject and reason.
    pub async fn prepare(&mut self, schema: TableSchema) -> Result<Arc<CapturedTable>, RelayError> {
        let settings = &self.settings;
        let topic = settings.topics.table(&schema.schema, &schema.name);
        let plan = settings.columns.plan(&schema, &settings.modes, topic);
        let codec = EnvelopeCodec::planned(&settings.topic_prefix, &settings.target.database, &schema, &plan)
            .map_err(|error| RelayError::Definite(format!("{error}; or leave the table out by table.exclude.list")))?;
        let name = format!("{}.{}", schema.schema, schema.name);
        let is_written = |index: &usize| plan.columns.get(*index).is_none_or(|column| !column.left_out);
        let written = settings.skip_unchanged.then(|| (0..schema.columns.len()).filter(is_written).collect());
        // Transformations may change schemas and topics, so there only what comes out is registered and made.
        if self.settings.pipeline.is_some() {
            return Ok(Arc::new(CapturedTable { schema, name, codec, written, key_schema_id: 0, value_schema_id: 0 }));
        }
        let topic = codec.topic().to_owned();
        let key_schema_id = match codec.key_schema() {
            Some(text) => self.register(&names::key_subject(&topic), text).await?,
            None => 0,
        };
        let value_schema_id = self.register(&names::value_subject(&topic), codec.value_schema()).await?;
        self.make_topic(&topic).await?;
        Ok(Arc::new(CapturedTable { schema, name, codec, written, key_schema_id, value_schema_id }))
    }

    /// Makes a topic ready that belongs to no table.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub async fn notice(&mut self, topic: String, key: &str, value: &str) -> Result<NoticeTopic, RelayError> {
        let (key_schema, value_schema) = (key.to_owned(), value.to_owned());
        if self.settings.pipeline.is_some() {
            return Ok(NoticeTopic { topic, key_schema, value_schema, key_schema_id: 0, value_schema_id: 0 });
        }
        let key_schema_id = self.register(&names::key_subject(&topic), key).await?;
        let value_schema_id = self.register(&names::value_subject(&topic), value).await?;
        self.make_topic(&topic).await?;
        Ok(NoticeTopic { topic, key_schema, value_schema, key_schema_id, value_schema_id })
    }

    /// Id of a schema under a subject.
    ///
    /// # Errors
    /// A refused schema is definite and names subject and reason.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RelayError> {
        Ok(self.registry.register(subject, schema).await?.0)
    }

    /// Makes a topic that does not exist yet, as `topic.creation.*` says.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn make_topic(&mut self, topic: &str) -> Result<(), RelayError> {
        if self.topics_made.contains(topic) {
            return Ok(());
        }
        let plan = self.settings.topic_creation.plan(topic);
        if self.admin.create_topic(&plan).await? {
            tracing::info!(topic, partitions = plan.partitions, "topic made");
        }
        self.report.active_topic(topic);
        self.topics_made.insert(topic.to_owned());
        Ok(())
    }
}

impl CapturedTable {
    /// Where the table's records come from.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        let Self { codec, .. } = self;
        Origin { topic: codec.topic(), key_schema: codec.key_schema(), value_schema: codec.value_schema() }
    }
}

impl NoticeTopic {
    /// Where its records come from.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        Origin { topic: &self.topic, key_schema: Some(&self.key_schema), value_schema: &self.value_schema }
    }
}

/// One column as a relation message of the stream describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
    /// Part of the replica identity.
    pub identity: bool,
}

/// A table as the stream describes it: the truth about which columns follow, as of the change that comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationShape {
    pub id: TableId,
    pub schema: String,
    pub name: String,
    /// The identity is the primary key or an index, and not the whole row.
    pub identity_is_key: bool,
    pub columns: Vec<RelationColumn>,
}

impl RelationShape {
    /// Columns whose type the catalog does not describe any more: changed or dropped since.
    pub fn unknown_columns<'a>(
        &'a self,
        catalog: Option<&'a CatalogTable>,
    ) -> impl Iterator<Item = &'a RelationColumn> {
        self.columns.iter().filter(move |column| catalog_column(catalog, column).is_none())
    }

    /// Joins what the stream says (columns and their types at that moment) with what only the catalog knows
    /// (nullability, defaults, primary key). `types` describes the columns of [`Self::unknown_columns`], in their order.
    #[must_use]
    pub fn with_catalog(&self, catalog: Option<&CatalogTable>, types: Vec<Column>) -> TableSchema {
        let mut types = types.into_iter();
        let columns: Vec<Column> = self
            .columns
            .iter()
            .map(|column| match catalog_column(catalog, column) {
                Some(known) => known.clone(),
                None => Column {
                    name: column.name.clone(),
                    nullable: !(column.identity && self.identity_is_key),
                    default: None,
                    identity_or_serial: false,
                    ..types.next().unwrap_or_default()
                },
            })
            .collect();
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let key = match catalog {
            Some(catalog) => {
                let names = catalog.schema.key.iter().map(|index| catalog.schema.columns[*index].name.as_str());
                names.map(place).collect::<Option<Vec<_>>>().unwrap_or_default()
            }
            None if self.identity_is_key => {
                (0..self.columns.len()).filter(|index| self.columns[*index].identity).collect()
            }
            None => Vec::new(),
        };
        TableSchema { id: self.id, schema: self.schema.clone(), name: self.name.clone(), columns, key }
    }
}

fn catalog_column<'a>(catalog: Option<&'a CatalogTable>, column: &RelationColumn) -> Option<&'a Column> {
    let catalog = catalog?;
    let index = catalog.schema.columns.iter().position(|known| known.name == column.name)?;
    (catalog.declared.get(index) == Some(&(column.type_oid, column.typmod))).then(|| &catalog.schema.columns[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_oid: u32, nullable: bool) -> Column {
        Column {
            name: name.into(),
            type_oid,
            type_name: format!("t{type_oid}"),
            typmod: -1,
            nullable,
            ..Column::default()
        }
    }

    fn shape(columns: &[(&str, u32, bool)]) -> RelationShape {
        let columns = columns
            .iter()
            .map(|(name, type_oid, identity)| RelationColumn {
                name: (*name).into(),
                type_oid: *type_oid,
                typmod: -1,
                identity: *identity,
            })
            .collect();
        RelationShape { id: TableId(1), schema: "public".into(), name: "t".into(), identity_is_key: true, columns }
    }

    fn catalog(columns: Vec<Column>, key: Vec<usize>) -> CatalogTable {
        let declared = columns.iter().map(|column| (column.type_oid, column.typmod)).collect();
        let schema = TableSchema { id: TableId(1), schema: "public".into(), name: "t".into(), columns, key };
        CatalogTable { schema, declared }
    }

    #[test]
    fn nullability_and_key_order_come_from_the_catalog() {
        let catalog = catalog(vec![column("a", 23, false), column("b", 25, false), column("v", 25, true)], vec![1, 0]);
        let schema = shape(&[("a", 23, true), ("b", 25, true), ("v", 25, false)]).with_catalog(Some(&catalog), vec![]);
        assert_eq!(schema, catalog.schema);
    }

    #[test]
    fn a_column_dropped_or_retyped_since_keeps_its_type_of_that_moment() {
        let catalog = catalog(vec![column("id", 23, false), column("v", 1700, false)], vec![0]);
        let relation = shape(&[("id", 23, true), ("gone", 16, false), ("v", 25, false)]);
        let unknown: Vec<_> = relation.unknown_columns(Some(&catalog)).map(|column| column.name.as_str()).collect();
        assert_eq!(unknown, ["gone", "v"]);
        let schema = relation.with_catalog(Some(&catalog), vec![column("", 16, true), column("", 25, true)]);
        let described: Vec<_> = schema.columns.iter().map(|c| (c.name.as_str(), c.type_oid, c.nullable)).collect();
        assert_eq!(described, [("id", 23, false), ("gone", 16, true), ("v", 25, true)]);
        assert_eq!(schema.key, [0]);
    }

    #[test]
    fn a_dropped_table_keeps_the_key_the_stream_tells() {
        let schema = shape(&[("id", 23, true), ("v", 25, false)])
            .with_catalog(None, vec![column("", 23, true), column("", 25, true)]);
        assert_eq!(schema.key, [0]);
        assert!(!schema.columns[0].nullable);
    }
}
