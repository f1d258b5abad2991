//! Converters: Avro with the registry, JSON with and without schemas.

use std::str::FromStr;

use model::connect_record::{Datum, json, to_avro};

/// How keys or values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Converter {
    #[default]
    Avro,
    /// `schemas.enable`
    Json { schemas: bool },
}

impl FromStr for Converter {
    type Err = &'static str;

    /// By class; JSON with schemas, which is its default.
    fn from_str(class: &str) -> Result<Self, Self::Err> {
        match class {
            "io.confluent.connect.avro.AvroConverter" => Ok(Self::Avro),
            "org.apache.kafka.connect.json.JsonConverter" => Ok(Self::Json { schemas: true }),
            _ => Err("this connector supports io.confluent.connect.avro.AvroConverter and \
                      org.apache.kafka.connect.json.JsonConverter"),
        }
    }
}

impl Converter {
    /// The datum as JSON; `None` when it is to be Avro.
    pub fn json(self, datum: &Datum) -> Option<Vec<u8>> {
        match self {
            Self::Avro => None,
            Self::Json { schemas } => Some(json::write(datum, schemas)),
        }
    }
}

/// The schema to register.
pub fn avro_schema(datum: &Datum) -> String {
    to_avro::schema(&datum.schema)
}

/// The framed bytes.
pub fn avro(schema_id: u32, datum: &Datum) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(schema_id.to_be_bytes());
    to_avro::value(&datum.schema, &datum.value, &mut out);
    out
}
