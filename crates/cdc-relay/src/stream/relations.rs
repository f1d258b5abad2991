//! The tables of the stream: from relation messages to tables ready to encode.
//!
//! The server describes a table before its first change and again whenever it may have changed. The description is only
//! noted; the catalog and the registry are asked when a row of the table is really to be written.

use std::{collections::HashMap, sync::Arc};

use crate::{
    error::RelayError,
    postgres::{PgError, catalog},
    records::CapturedTable,
    session::Session,
    tables::RelationShape,
};

/// What is known of one table of the stream.
enum Known {
    /// The lists leave it out.
    LeftOut,
    /// Described, not looked up yet. `before`: how it was until now, to be kept if nothing changed.
    Described {
        shape: RelationShape,
        before: Option<Arc<CapturedTable>>,
    },
    Ready(Arc<CapturedTable>),
}

/// All tables of the stream, by their `pg_class.oid`.
#[derive(Default)]
pub struct Relations {
    known: HashMap<u32, Known>,
}

impl Relations {
    /// Takes a relation message.
    pub fn describe(&mut self, shape: RelationShape, session: &Session) {
        let id = shape.id.0;
        if !session.settings.tables.includes(&shape.schema, &shape.name) {
            self.known.insert(id, Known::LeftOut);
            return;
        }
        let before = match self.known.remove(&id) {
            Some(Known::Ready(table)) => Some(table),
            Some(Known::Described { before, .. }) => before,
            Some(Known::LeftOut) | None => None,
        };
        self.known.insert(id, Known::Described { shape, before });
    }

    /// The table if it is captured, ready to encode. Does not wait but after a relation message.
    ///
    /// # Errors
    /// When a server cannot be asked, or the registry refuses the table's schema.
    pub async fn ready(&mut self, id: u32, session: &mut Session) -> Result<Option<Arc<CapturedTable>>, RelayError> {
        match self.known.get(&id) {
            Some(Known::Ready(table)) => return Ok(Some(Arc::clone(table))),
            Some(Known::LeftOut) => return Ok(None),
            Some(Known::Described { .. }) => {}
            None => {
                return Err(RelayError::Retry {
                    server: "replication stream".into(),
                    reason: format!("a change of table {id}, which was never described"),
                });
            }
        }
        // Taken out while it is looked up; on an error the session ends and the map with it.
        let Some(Known::Described { shape, before }) = self.known.remove(&id) else { return Ok(None) };
        let table = look_up(&shape, before, session).await?;
        self.known.insert(id, Known::Ready(Arc::clone(&table)));
        Ok(Some(table))
    }
}

async fn look_up(
    shape: &RelationShape,
    before: Option<Arc<CapturedTable>>,
    session: &mut Session,
) -> Result<Arc<CapturedTable>, RelayError> {
    let target = &session.settings.target;
    let asked = |error: PgError| RelayError::postgres(target, "describe a table", &error);
    let found = catalog::table(&mut session.control, shape.id).await.map_err(asked)?;
    let mut types = Vec::new();
    for column in shape.unknown_columns(found.as_ref()) {
        let described =
            catalog::column_of_type(&mut session.control, &column.name, column.type_oid, column.typmod).await;
        types.push(described.map_err(asked)?);
    }
    let mut schema = shape.with_catalog(found.as_ref(), types);
    session.settings.columns.rekey(&mut schema);
    match before {
        Some(before) if before.schema == schema => Ok(before),
        Some(_) | None => session.desk.prepare(schema).await,
    }
}
