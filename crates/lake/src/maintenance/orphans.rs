//! Files in a table's folder that nothing needs: what a killed writer or a lost commit left.
//!
//! Pure. A file is an orphan only if it is older than the age: what is being written now is named by its commit only
//! later. Files of unknown age are never taken for orphans.

use std::collections::HashSet;

use super::warehouse::Stored;

/// The orphans among the files of a folder.
#[must_use]
pub fn find(stored: Vec<Stored>, needed: &HashSet<String>, older_than_ms: i64) -> Vec<Stored> {
    let needed: HashSet<&str> = needed.iter().map(|location| plain(location)).collect();
    let orphan = |file: &Stored| {
        file.modified_ms.is_some_and(|modified| modified < older_than_ms)
            && !needed.contains(plain(&file.location))
            && !file.location.ends_with('/')
    };
    stored.into_iter().filter(orphan).collect()
}

/// Without the scheme: engines write `s3a` and `s3n` for the same place.
fn plain(location: &str) -> &str {
    location.split_once(":/").map_or(location, |(_, rest)| rest.trim_start_matches('/'))
}

/// Whether a table's folder is its own: the catalog ends a folder's name with an id. In a folder chosen by somebody else
/// another table's files may lie.
#[must_use]
pub fn own_folder(location: &str) -> bool {
    let id = location.trim_end_matches('/').rsplit_once('-').map(|(_, id)| id);
    id.is_some_and(|id| id.len() == 32 && uuid::Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(location: &str, modified_ms: Option<i64>) -> Stored {
        Stored { location: location.to_owned(), bytes: 1, modified_ms }
    }

    #[test]
    fn only_old_files_that_nothing_names_are_orphans() {
        let needed = HashSet::from(["s3a://lakehouse/t/needed".to_owned()]);
        let files = vec![
            stored("s3://lakehouse/t/needed", Some(1)),
            stored("s3://lakehouse/t/lost", Some(1)),
            stored("s3://lakehouse/t/young", Some(100)),
            stored("s3://lakehouse/t/unknown", None),
        ];
        assert_eq!(find(files, &needed, 100), vec![stored("s3://lakehouse/t/lost", Some(1))]);
    }

    #[test]
    fn a_folder_with_an_id_is_a_tables_own() {
        assert!(own_folder("s3://lakehouse/shape/orders-0199f0d5a1b77c3c8f4f6c1d2e3a4b5c"));
        assert!(!own_folder("s3://lakehouse/shape/orders"));
    }
}
