//! `schema.compatibility`.

use connect::FieldError;

use super::fields::Fields;
use crate::evolution::Compatibility;
use crate::format::Format;
use crate::intake::Converter;

/// Confluent's names. Any other word is NONE to Confluent's sink, without a word about it: the levels of the registry that
/// people write here are taken as it takes them, what is misspelt is refused.
const RULES: [(&str, Compatibility); 7] = [
    ("NONE", Compatibility::None),
    ("BACKWARD", Compatibility::Older),
    ("FORWARD", Compatibility::Newer),
    ("FULL", Compatibility::Older),
    ("BACKWARD_TRANSITIVE", Compatibility::None),
    ("FORWARD_TRANSITIVE", Compatibility::None),
    ("FULL_TRANSITIVE", Compatibility::None),
];

/// Versions and projections are those of schemas: values without one have neither.
pub(super) fn compatibility(fields: &mut Fields<'_>, values: Converter, format: &Format) -> Compatibility {
    let rule = fields.choice("schema.compatibility", &RULES);
    let why = match (format, values) {
        _ if rule == Compatibility::None => return rule,
        (Format::Bytes { .. }, _) => "ByteArrayFormat has no schema; use NONE",
        (_, Converter::Avro) => return rule,
        _ => "only values of AvroConverter have a schema with a version; use NONE or AvroConverter",
    };
    let text = fields.text("schema.compatibility").unwrap_or_default().to_owned();
    fields.errors.push(FieldError::invalid("schema.compatibility", &text, why));
    Compatibility::None
}
