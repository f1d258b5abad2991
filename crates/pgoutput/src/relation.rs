//! Tables as the stream describes them, and the cache of them.

use std::collections::HashMap;

use crate::reader::{ParseError, Reader};

/// Which columns of the old row an update or delete carries (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// `d`: the primary key.
    Default,
    /// `n`: none.
    Nothing,
    /// `f`: all columns.
    Full,
    /// `i`: those of an index.
    Index,
}

/// One column of a relation message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity (every column under `FULL`).
    pub key: bool,
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
}

/// A table as of the next change: the server sends it before the first change and again after it may have altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`
    pub id: u32,
    pub namespace: String,
    pub name: String,
    pub replica_identity: ReplicaIdentity,
    /// In attribute order, without dropped and generated columns.
    pub columns: Vec<RelationColumn>,
}

impl Relation {
    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let id = reader.u32("relation id")?;
        let namespace = namespace(reader)?;
        let name = reader.string("relation name")?.to_owned();
        let replica_identity = match reader.u8("replica identity")? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            other => return Err(ParseError::UnknownReplicaIdentity(other)),
        };
        let count = reader.u16("column count")?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(RelationColumn {
                key: reader.u8("column flags")? & 1 == 1,
                name: reader.string("column name")?.to_owned(),
                type_oid: reader.u32("column type")?,
                typmod: reader.i32("column type modifier")?,
            });
        }
        Ok(Self { id, namespace, name, replica_identity, columns })
    }
}

/// A schema's name; the protocol writes `pg_catalog` as nothing.
pub(crate) fn namespace(reader: &mut Reader<'_>) -> Result<String, ParseError> {
    let name = reader.string("namespace")?;
    Ok(if name.is_empty() { "pg_catalog" } else { name }.to_owned())
}

/// The relations the stream has described so far, by id. Bounded by the number of tables in the publication.
#[derive(Debug, Clone, Default)]
pub struct Relations {
    by_id: HashMap<u32, Relation>,
}

impl Relations {
    /// Takes a description. True when it says something new; the server repeats itself, for example after `ANALYZE`.
    pub fn update(&mut self, relation: Relation) -> bool {
        match self.by_id.get_mut(&relation.id) {
            Some(known) if *known == relation => false,
            Some(known) => {
                *known = relation;
                true
            }
            None => {
                self.by_id.insert(relation.id, relation);
                true
            }
        }
    }

    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Relation> {
        self.by_id.get(&id)
    }
}
