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
use topics::{Admin, RegistryClient, TopicPlan};

use crate::{error::RelayError, postgres::catalog::CatalogTable, records::CapturedTable, settings::RelaySettings};

/// Registers and creates what a table needs outside of this process.
pub struct TableDesk {
    topic_prefix: String,
    database: String,
    partitions: i32,
    replication_factor: i32,
    admin: Admin,
    registry: RegistryClient,
    report: Reporter,
    topics_made: HashSet<String>,
}

impl TableDesk {
    #[must_use]
    pub fn new(settings: &RelaySettings, admin: Admin, registry: RegistryClient, report: Reporter) -> Self {
        Self {
            topic_prefix: settings.topic_prefix.clone(),
            database: settings.target.database.clone(),
            partitions: settings.topic_creation.partitions,
            replication_factor: settings.topic_creation.replication_factor,
            admin,
            registry,
            report,
            topics_made: HashSet::new(),
        }
    }

    /// Makes one table ready for its rows.
    ///
    /// # Errors
    /// A refused schema is definite and names subject and reason.
    pub async fn prepare(&mut self, schema: TableSchema) -> Result<Arc<CapturedTable>, RelayError> {
        let codec = EnvelopeCodec::new(&self.topic_prefix, &self.database, &schema)
            .map_err(|error| RelayError::Definite(format!("{error}; or leave the table out by table.exclude.list")))?;
        let topic = codec.topic().to_owned();
        let key_schema_id = match codec.key_schema() {
            Some(text) => self.registry.register(&names::key_subject(&topic), text).await?.0,
            None => 0,
        };
        let value_schema_id = self.registry.register(&names::value_subject(&topic), codec.value_schema()).await?.0;
        if !self.topics_made.contains(&topic) {
            let plan =
                TopicPlan { replication: self.replication_factor, ..TopicPlan::new(topic.as_str(), self.partitions) };
            if self.admin.create_topic(&plan).await? {
                tracing::info!(topic, partitions = self.partitions, "topic made");
            }
            self.report.active_topic(&topic);
            self.topics_made.insert(topic);
        }
        Ok(Arc::new(CapturedTable { schema, codec, key_schema_id, value_schema_id }))
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
