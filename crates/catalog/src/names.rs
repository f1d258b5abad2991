//! Names of namespaces and tables: as the REST paths carry them and as the JDBC catalog's tables store them.
//!
//! In a path the levels of a namespace are joined by U+001F, in the tables by a dot. A level with a dot could not be
//! told from two levels there, so it is refused.

use std::fmt;

use crate::error::CatalogError;

/// What joins levels in REST paths.
const PATH_SEPARATOR: char = '\u{1F}';
const NAME_BYTES_MAX: usize = 255;

/// A namespace of one or more levels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Vec<String>);

impl Namespace {
    /// # Errors
    /// `BadRequest` when a level is empty, too long, or has characters that cannot be stored.
    pub fn new(levels: Vec<String>) -> Result<Self, CatalogError> {
        if levels.is_empty() {
            return Err(CatalogError::BadRequest("a namespace needs at least one level".into()));
        }
        levels.iter().try_for_each(|level| check_name(level, "namespace level"))?;
        if let Some(level) = levels.iter().find(|level| level.contains('.')) {
            return Err(CatalogError::BadRequest(format!("the namespace level '{level}' must not contain a dot")));
        }
        let namespace = Self(levels);
        if namespace.stored().len() > NAME_BYTES_MAX {
            return Err(CatalogError::BadRequest(format!("the namespace is longer than {NAME_BYTES_MAX} bytes")));
        }
        Ok(namespace)
    }

    /// From a path segment (percent-decoded).
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn from_path(segment: &str) -> Result<Self, CatalogError> {
        Self::new(segment.split(PATH_SEPARATOR).map(str::to_owned).collect())
    }

    /// From the tables of the JDBC catalog.
    pub fn from_stored(text: &str) -> Self {
        Self(text.split('.').map(str::to_owned).collect())
    }

    /// As in the tables of the JDBC catalog.
    pub fn stored(&self) -> String {
        self.0.join(".")
    }

    pub fn levels(&self) -> &[String] {
        &self.0
    }

    /// The namespace one level below `parent` that contains this one, or this one itself.
    pub fn child_of(&self, parent: Option<&Self>) -> Option<Self> {
        let depth = parent.map_or(0, |parent| parent.0.len());
        let below = parent.is_none_or(|parent| self.0.starts_with(&parent.0));
        (below && self.0.len() > depth).then(|| Self(self.0[..=depth].to_vec()))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stored())
    }
}

/// A table's full name. Ordered, so that several can be locked in one order by everybody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    pub namespace: Namespace,
    pub name: String,
}

impl TableName {
    /// # Errors
    /// `BadRequest` when a name cannot be stored.
    pub fn new(namespace: Namespace, name: &str) -> Result<Self, CatalogError> {
        check_name(name, "table name")?;
        Ok(Self { namespace, name: name.to_owned() })
    }

    /// # Errors
    /// As [`TableName::new`].
    pub fn from_ident(ident: &iceberg::TableIdent) -> Result<Self, CatalogError> {
        Self::new(Namespace::new(ident.namespace().clone().inner())?, ident.name())
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

fn check_name(name: &str, what: &str) -> Result<(), CatalogError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(CatalogError::BadRequest(format!(
            "a {what} has 1 to {NAME_BYTES_MAX} bytes and no control characters"
        )));
    }
    Ok(())
}

/// A folder for a new table: below the namespace's folder, with an id of its own, so that a table which is dropped,
/// renamed or made anew never shares a folder with another.
pub fn table_location(base: &str, table: &TableName, id: uuid::Uuid) -> String {
    let mut location = base.trim_end_matches('/').to_owned();
    for level in table.namespace.levels() {
        location.push('/');
        location.push_str(&path_part(level));
    }
    own_folder(&location, &table.name, id)
}

/// A table's folder directly below `base`.
pub fn own_folder(base: &str, table: &str, id: uuid::Uuid) -> String {
    format!("{}/{}-{}", base.trim_end_matches('/'), path_part(table), id.simple())
}

/// Characters that object stores and engines treat alike.
fn path_part(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
    name.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_namespace_reads_back_from_path_and_storage() {
        let namespace = Namespace::from_path("stage\u{1F}storefront").unwrap();
        assert_eq!(namespace.levels(), ["stage", "storefront"]);
        assert_eq!(namespace.stored(), "stage.storefront");
        assert_eq!(Namespace::from_stored("stage.storefront"), namespace);
    }

    #[test]
    fn names_that_cannot_be_stored_are_refused() {
        for path in ["", "a\u{1F}", "a.b", "a\nb", &"x".repeat(256)] {
            assert!(Namespace::from_path(path).is_err(), "{path:?}");
        }
        let namespace = Namespace::from_path("a").unwrap();
        assert!(TableName::new(namespace.clone(), "").is_err());
        assert!(TableName::new(namespace, "with.dot").is_ok());
    }

    #[test]
    fn a_namespace_is_shown_below_its_parent() {
        let deep = Namespace::from_stored("a.b.c");
        let top = Namespace::from_stored("a");
        assert_eq!(deep.child_of(None), Some(top.clone()));
        assert_eq!(deep.child_of(Some(&top)), Some(Namespace::from_stored("a.b")));
        assert_eq!(top.child_of(Some(&top)), None);
        assert_eq!(deep.child_of(Some(&Namespace::from_stored("b"))), None);
    }

    #[test]
    fn a_table_has_a_folder_of_its_own() {
        let table = TableName::new(Namespace::from_stored("stage.storefront"), "orders ü").unwrap();
        let location = table_location("s3://lakehouse/", &table, uuid::Uuid::nil());
        assert_eq!(location, "s3://lakehouse/stage/storefront/orders__-00000000000000000000000000000000");
    }
}
