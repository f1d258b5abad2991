//! Removing the files of a dropped table.
//!
//! Runs after the table's row is gone, so nobody can open it any more. A table in a folder of its own (ours are: the
//! folder's name ends in an id) is removed folder and all; of one in a foreign place only the files it names are.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use iceberg::{
    io::FileIO,
    spec::{Snapshot, TableMetadata},
};

use crate::files::MetadataFiles;

/// Files removed at once.
const REMOVALS_AT_ONCE: usize = 16;

/// Removes what a dropped table has left, as far as its property `gc.enabled` allows. Failures are logged: what stays
/// is an orphan.
pub async fn purge(files: MetadataFiles, location: String) {
    let metadata = match files.read(&location).await {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::warn!(location, "the files of a dropped table stay, its metadata cannot be read: {error}");
            return;
        }
    };
    let keep_data = metadata.properties().get("gc.enabled").is_some_and(|value| value.eq_ignore_ascii_case("false"));
    if !keep_data && has_own_folder(metadata.location()) {
        if let Err(error) = files.io().delete_prefix(format!("{}/", metadata.location())).await {
            tracing::warn!(location, "some files of a dropped table stay as orphans: {error}");
        }
        return;
    }
    let mut doomed: BTreeSet<String> =
        metadata.metadata_log().iter().map(|entry| entry.metadata_file.clone()).collect();
    doomed.insert(location.clone());
    for snapshot in metadata.snapshots() {
        if let Err(error) = add_files(files.io(), &metadata, snapshot, keep_data, &mut doomed).await {
            tracing::warn!(location, "some files of a dropped table stay as orphans: {error}");
        }
    }
    let io = files.io();
    stream::iter(doomed)
        .for_each_concurrent(REMOVALS_AT_ONCE, |file| async move {
            if let Err(error) = io.delete(&file).await {
                tracing::warn!(file, "a file of a dropped table stays as an orphan: {error}");
            }
        })
        .await;
}

async fn add_files(
    io: &FileIO,
    metadata: &TableMetadata,
    snapshot: &Snapshot,
    keep_data: bool,
    doomed: &mut BTreeSet<String>,
) -> iceberg::Result<()> {
    let list = io.new_input(snapshot.manifest_list())?.read().await?;
    let list = iceberg::spec::ManifestList::parse_with_version(&list, metadata.format_version())?;
    for manifest in list.entries() {
        if !keep_data && !doomed.contains(&manifest.manifest_path) {
            let loaded = manifest.load_manifest(io).await?;
            doomed.extend(loaded.entries().iter().map(|entry| entry.data_file().file_path().to_owned()));
        }
        doomed.insert(manifest.manifest_path.clone());
    }
    doomed.insert(snapshot.manifest_list().to_owned());
    Ok(())
}

/// Whether a location is one that [`crate::names::table_location`] made.
fn has_own_folder(location: &str) -> bool {
    location
        .trim_end_matches('/')
        .rsplit_once('-')
        .is_some_and(|(_, id)| id.len() == 32 && uuid::Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_with_an_id_is_the_tables_own() {
        assert!(has_own_folder("s3://lakehouse/shape/orders-0199f0d5a1b77c3c8f4f6c1d2e3a4b5c"));
        assert!(!has_own_folder("s3://lakehouse/shape/orders"));
        assert!(!has_own_folder("s3://lakehouse/shape-1/orders-2026"));
        assert!(!has_own_folder("s3://lakehouse/"));
    }
}
