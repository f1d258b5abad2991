//! A model's table: made from what its query yields, and grown with it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use iceberg::{
    arrow::arrow_type_to_type,
    spec::{NestedField, NestedFieldRef, Schema, SortOrder, Transform, Type, UnboundPartitionSpec},
};

use crate::{
    catalog::Creation,
    error::{LakeError, Result},
    layers,
    models::{Model, header::Materialized},
    offsets::property,
    tables::{
        TableState, Tables,
        commit::{Evolved, evolve, repartition},
        order,
        schema::{Wanted, WantedType, build},
    },
};

/// Makes the table of a model.
///
/// # Errors
/// When the catalog fails, or a column has a type that a table cannot have.
pub async fn create(tables: &Tables, model: &Model, result: &ArrowSchema) -> Result<Arc<TableState>> {
    let columns = result.fields().iter().map(|field| wanted(field)).collect::<Result<Vec<_>>>()?;
    let schema = build(&columns, &[])?;
    let mut properties = layers::table_properties();
    properties.extend(kept_by(model));
    let creation =
        Creation { partition_spec: spec(model, &schema)?, sort_order: sort_order(model, &schema)?, schema, properties };
    let ident = model.ident();
    tracing::info!(table = %ident, "creating the model's table");
    tables.create(&ident, creation).await
}

/// Properties by which maintenance knows the order of an incremental table.
#[must_use]
pub fn kept_by(model: &Model) -> Option<(String, String)> {
    let Materialized::Incremental(slice) = &model.header.materialized else { return None };
    Some((property::KEY_COLUMNS.to_owned(), serde_json::json!([slice.by]).to_string()))
}

/// The change of schema and partitioning that a table needs to take the result of its model's present query.
///
/// # Errors
/// When a column has a type that a table cannot have.
pub fn evolution(state: &TableState, model: &Model, result: &ArrowSchema) -> Result<Option<Evolved>> {
    if let Some(schema) = reshaped(state, result)? {
        // Partitions of a column that changed wait for the next full build.
        return evolve(state, schema).map(Some);
    }
    let wanted = spec(model, state.metadata().current_schema())?;
    let present = state.metadata().default_partition_spec();
    let same = match &wanted {
        None => present.is_unpartitioned(),
        Some(wanted) => {
            present.fields().len() == wanted.fields().len()
                && present.fields().iter().zip(wanted.fields()).all(|(a, b)| a.source_id == b.source_id)
        }
    };
    if same {
        return Ok(None);
    }
    repartition(state, wanted.unwrap_or_else(|| UnboundPartitionSpec::builder().build())).map(Some)
}

fn spec(model: &Model, schema: &Schema) -> Result<Option<UnboundPartitionSpec>> {
    let Materialized::Partition(slice) = &model.header.materialized else { return Ok(None) };
    let id = schema.field_id_by_name(&slice.by).ok_or_else(|| missing(model, &slice.by))?;
    let builder = UnboundPartitionSpec::builder().add_partition_field(id, slice.by.clone(), Transform::Identity)?;
    Ok(Some(builder.build()))
}

fn sort_order(model: &Model, schema: &Schema) -> Result<Option<SortOrder>> {
    let Materialized::Incremental(slice) = &model.header.materialized else { return Ok(None) };
    order::by(schema, &[&slice.by]).map(Some)
}

/// A column that the head names and the query does not yield.
#[must_use]
pub fn missing(model: &Model, column: &str) -> LakeError {
    LakeError::definite(format!("{}: materialized: the query yields no column {column}", model.file))
}

/// The column that holds values of an Arrow field.
///
/// # Errors
/// When a table cannot have its type.
pub fn wanted(field: &Field) -> Result<Wanted> {
    match column_type(field)? {
        Type::Primitive(kind) => {
            Ok(Wanted { name: field.name().clone(), kind: WantedType::Primitive(kind), required: false })
        }
        other => Err(LakeError::definite(format!("a model's column {} cannot be of type {other}", field.name()))),
    }
}

fn column_type(field: &Field) -> Result<Type> {
    let kind = match field.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => &DataType::Utf8,
        DataType::UInt32 | DataType::UInt64 => &DataType::Int64,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => &DataType::Int32,
        other => other,
    };
    Ok(arrow_type_to_type(kind)?)
}

/// The table's schema when its query yields other columns: equal columns keep their ids, others get new ones.
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
