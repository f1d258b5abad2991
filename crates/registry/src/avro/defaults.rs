//! Defaults of fields must fit their types, or readers that need them fail on every record.

use serde_json::Value;

use super::{AvroSchema, Body, Kind, Node, Primitive, SchemaError};

pub(super) fn check(schema: &AvroSchema) -> Result<(), SchemaError> {
    for named in &schema.named {
        let Body::Record { fields, .. } = &named.body else { continue };
        for field in fields {
            if let Some(default) = &field.default
                && !fits(schema, &field.node, default, 0)
            {
                return Err(SchemaError(format!(
                    "invalid default for field {} of record {}: {default} does not fit its type",
                    field.name,
                    named.name.full()
                )));
            }
        }
    }
    Ok(())
}

fn fits(schema: &AvroSchema, node: &Node, value: &Value, depth: usize) -> bool {
    // A default that recurses through its own record cannot be finite.
    if depth > 50 {
        return false;
    }
    match &node.kind {
        Kind::Primitive(primitive) => fits_primitive(*primitive, value),
        Kind::Array(items) => {
            value.as_array().is_some_and(|list| list.iter().all(|item| fits(schema, items, item, depth + 1)))
        }
        Kind::Map(values) => {
            value.as_object().is_some_and(|map| map.values().all(|value| fits(schema, values, value, depth + 1)))
        }
        // Avro 1.12 and later take a default of any branch; before it was the first.
        Kind::Union(branches) => branches.iter().any(|branch| fits(schema, branch, value, depth + 1)),
        Kind::Named(index) => schema.named.get(*index).is_some_and(|named| match &named.body {
            Body::Enum { .. } | Body::Fixed { .. } => value.is_string(),
            Body::Record { fields, .. } => value.as_object().is_some_and(|object| {
                fields.iter().all(|field| match object.get(&field.name).or(field.default.as_ref()) {
                    Some(value) => fits(schema, &field.node, value, depth + 1),
                    None => false,
                })
            }),
        }),
    }
}

fn fits_primitive(primitive: Primitive, value: &Value) -> bool {
    match primitive {
        Primitive::Null => value.is_null(),
        Primitive::Boolean => value.is_boolean(),
        Primitive::Int => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Primitive::Long => value.as_i64().is_some(),
        Primitive::Float | Primitive::Double => value.is_number(),
        Primitive::Bytes | Primitive::String => value.is_string(),
    }
}
