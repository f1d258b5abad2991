//! Table schemas: made from named columns, grown by new columns, and batches brought into their shape.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, new_null_array},
    compute::cast,
    datatypes::{DataType, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef},
    record_batch::{RecordBatch, RecordBatchOptions},
};
use iceberg::{
    arrow::schema_to_arrow_schema,
    spec::{ListType, NestedField, NestedFieldRef, PrimitiveType, Schema, Type},
};

use crate::error::{LakeError, Result};

/// A column that a table shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub kind: WantedType,
    pub required: bool,
}

/// Types the lake's tables use: Iceberg's primitive types, and lists of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedType {
    Primitive(PrimitiveType),
    List(Box<WantedType>),
}

impl Wanted {
    /// A column of a primitive type.
    pub fn new(name: impl Into<String>, kind: PrimitiveType, required: bool) -> Self {
        Self { name: name.into(), kind: WantedType::Primitive(kind), required }
    }
}

impl WantedType {
    fn to_type(&self, next_id: &mut i32) -> Type {
        match self {
            Self::Primitive(primitive) => Type::Primitive(primitive.clone()),
            Self::List(element) => {
                let id = take(next_id);
                let element = element.to_type(next_id);
                Type::List(ListType { element_field: NestedField::list_element(id, element, false).into() })
            }
        }
    }

    fn same_as(&self, present: &Type) -> bool {
        match (self, present) {
            (Self::Primitive(wanted), Type::Primitive(present)) => wanted == present,
            (Self::List(wanted), Type::List(present)) => wanted.same_as(&present.element_field.field_type),
            _ => false,
        }
    }

    /// Values of this type fit a column of type `present` as they are.
    fn fits(&self, present: &Type) -> bool {
        use PrimitiveType::{Decimal, Double, Float, Int, Long};
        let (Self::Primitive(wanted), Type::Primitive(present)) = (self, present) else { return self.same_as(present) };
        match (wanted, present) {
            (Int, Long) | (Float, Double) => true,
            (Decimal { precision: a, scale: s }, Decimal { precision: b, scale: t }) => s == t && a <= b,
            _ => wanted == present,
        }
    }

    /// A column of type `present` may become this type by Iceberg's rules of promotion.
    fn widens(&self, present: &Type) -> bool {
        use PrimitiveType::{Decimal, Double, Float, Int, Long};
        let (Self::Primitive(wanted), Type::Primitive(present)) = (self, present) else { return false };
        match (wanted, present) {
            (Long, Int) | (Double, Float) => true,
            (Decimal { precision: a, scale: s }, Decimal { precision: b, scale: t }) => s == t && a > b,
            _ => false,
        }
    }
}

fn take(next_id: &mut i32) -> i32 {
    *next_id += 1;
    *next_id - 1
}

/// A new schema; the columns named by `key` become required identifier fields.
///
/// # Errors
/// When a key column is missing or its type cannot identify a row.
pub fn build(columns: &[Wanted], key: &[String]) -> Result<Schema> {
    let mut next_id = columns.len() as i32 + 1;
    let fields: Vec<NestedFieldRef> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let required = column.required || key.contains(&column.name);
            let kind = column.kind.to_type(&mut next_id);
            NestedField::new(index as i32 + 1, &column.name, kind, required).into()
        })
        .collect();
    let mut ids = Vec::new();
    for name in key {
        let field = fields.iter().find(|field| &field.name == name);
        ids.push(field.ok_or_else(|| LakeError::definite(format!("key column {name} is not in the table")))?.id);
    }
    Ok(Schema::builder().with_fields(fields).with_identifier_field_ids(ids).build()?)
}

/// The schema that also holds `columns`: new ones are added at the end as optional, narrower ones widened.
/// `None` when `schema` holds them as it is.
///
/// # Errors
/// When a column changed its type in a way that old and new values do not share.
pub fn grown(schema: &Schema, last_column_id: i32, columns: &[Wanted]) -> Result<Option<Schema>> {
    let mut fields: Vec<NestedFieldRef> = schema.as_struct().fields().to_vec();
    let mut next_id = last_column_id + 1;
    let mut changed = false;
    for column in columns {
        let Some(position) = fields.iter().position(|field| field.name == column.name) else {
            let id = take(&mut next_id);
            let kind = column.kind.to_type(&mut next_id);
            fields.push(NestedField::optional(id, &column.name, kind).into());
            changed = true;
            continue;
        };
        let present = &fields[position];
        if column.kind.fits(&present.field_type) {
            continue;
        }
        if !column.kind.widens(&present.field_type) {
            return Err(LakeError::definite(format!(
                "column {} was {} and became {:?}: old and new values do not share a type; rename the column at the source or drop the table",
                column.name, present.field_type, column.kind
            )));
        }
        let wider = column.kind.to_type(&mut next_id);
        fields[position] = NestedField::new(present.id, &present.name, wider, present.required).into();
        changed = true;
    }
    if !changed {
        return Ok(None);
    }
    let builder = Schema::builder().with_fields(fields).with_identifier_field_ids(schema.identifier_field_ids());
    Ok(Some(builder.build()?))
}

/// The Arrow schema of a table: types and field ids its data files are written with.
///
/// # Errors
/// When a type has no Arrow counterpart.
pub fn arrow_schema(schema: &Schema) -> Result<ArrowSchemaRef> {
    Ok(Arc::new(schema_to_arrow_schema(schema)?))
}

/// Columns of `batch` by name, in `target`'s order and types; columns the batch lacks are null.
///
/// # Errors
/// When a value does not fit the target's type, or a required column holds null.
pub fn conform(batch: &RecordBatch, target: &ArrowSchemaRef) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(target.fields().len());
    for field in target.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            Some(column) => to_type(column, field.data_type())?,
            None => new_null_array(field.data_type(), batch.num_rows()),
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(target.clone(), columns, &options)?)
}

fn to_type(column: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    if column.data_type() == target {
        return Ok(column.clone());
    }
    Ok(cast(column, target)?)
}

/// Arrow schema without field ids and other metadata, for computations that compare schemas.
pub fn plain(schema: &ArrowSchema) -> ArrowSchemaRef {
    let fields: Vec<_> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default())).collect();
    Arc::new(ArrowSchema::new(fields))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn columns(list: &[(&str, PrimitiveType)]) -> Vec<Wanted> {
        list.iter().map(|(name, kind)| Wanted::new(*name, kind.clone(), false)).collect()
    }

    #[test]
    fn a_known_schema_does_not_grow() {
        let wanted = columns(&[("id", PrimitiveType::Int), ("name", PrimitiveType::String)]);
        let schema = build(&wanted, &["id".into()]).unwrap();
        assert_eq!(grown(&schema, schema.highest_field_id(), &wanted[1..]).unwrap(), None);
        assert!(schema.field_by_name("id").unwrap().required);
    }

    #[test]
    fn a_new_column_gets_a_new_id_and_keeps_the_others() {
        let schema = build(&columns(&[("id", PrimitiveType::Int)]), &["id".into()]).unwrap();
        let list = Wanted {
            name: "tags".into(),
            kind: WantedType::List(Box::new(WantedType::Primitive(PrimitiveType::String))),
            required: false,
        };
        let grown = grown(&schema, 7, &[list]).unwrap().unwrap();
        assert_eq!(grown.field_by_name("id").unwrap().id, 1);
        assert_eq!(grown.field_by_name("tags").unwrap().id, 8);
        assert_eq!(grown.highest_field_id(), 9);
        assert_eq!(grown.identifier_field_ids().collect::<Vec<_>>(), vec![1]);
    }

    #[test]
    fn an_int_widens_to_long_and_a_retyped_column_is_refused_by_name() {
        let schema = build(&columns(&[("n", PrimitiveType::Int)]), &[]).unwrap();
        let wider = grown(&schema, 1, &columns(&[("n", PrimitiveType::Long)])).unwrap().unwrap();
        assert_eq!(*wider.field_by_name("n").unwrap().field_type, Type::Primitive(PrimitiveType::Long));
        let error = grown(&schema, 1, &columns(&[("n", PrimitiveType::String)])).unwrap_err();
        assert!(error.to_string().contains("column n"), "{error}");
    }
}
