//! Views: SQL texts with a schema, by Iceberg's view specification; a row in the JDBC catalog's tables, a metadata file each
//! version.
//!
//! As for tables, the file is written before anything points to it, and the pointer moves by compare-and-swap.

use iceberg::{
    ViewUpdate,
    spec::{ViewMetadata, ViewMetadataBuilder},
};
use uuid::Uuid;

use crate::{error::CatalogError, files::MetadataFiles, names::TableName, tables::Tables};

/// Times a change is planned anew after it lost a race.
const ATTEMPTS_MAX: usize = 20;

/// The views of one catalog.
#[derive(Clone)]
pub struct Views {
    pub rows: Tables,
    pub files: MetadataFiles,
}

/// A view and where its metadata lies.
pub struct LocatedView {
    pub location: String,
    pub metadata: ViewMetadata,
}

impl Views {
    /// # Errors
    /// `NoSuchView`.
    pub async fn load(&self, view: &TableName) -> Result<LocatedView, CatalogError> {
        let location = self.rows.location(view).await?;
        Ok(LocatedView { metadata: self.files.read_view(&location).await?, location })
    }

    /// # Errors
    /// `AlreadyExists` (also for a table of this name), `NoSuchNamespace`.
    pub async fn create(&self, view: &TableName, metadata: ViewMetadata) -> Result<LocatedView, CatalogError> {
        let location = next_location(None, &metadata);
        self.files.write_view(&metadata, &location).await?;
        match self.rows.register(view, &location, false).await {
            Ok(()) => Ok(LocatedView { location, metadata }),
            Err(error) => {
                if matches!(error, CatalogError::AlreadyExists(_) | CatalogError::NoSuchNamespace(_)) {
                    self.files.remove([location]).await;
                }
                Err(error)
            }
        }
    }

    /// Applies changes to a view; `uuid` is the one it must have.
    ///
    /// # Errors
    /// `NoSuchView`, `CommitFailed`, `BadRequest`: nothing happened. `CommitStateUnknown`: it may have happened.
    pub async fn replace(
        &self,
        view: &TableName,
        uuid: Option<Uuid>,
        updates: &[ViewUpdate],
    ) -> Result<LocatedView, CatalogError> {
        let mut attempt = 1;
        loop {
            let old = self.load(view).await?;
            if uuid.is_some_and(|uuid| uuid != old.metadata.uuid()) {
                return Err(CatalogError::CommitFailed(format!("the view {view} is another one by now")));
            }
            let metadata = changed(old.metadata, updates)?;
            let location = next_location(Some(&old.location), &metadata);
            self.files.write_view(&metadata, &location).await?;
            match self.swap(view, &old.location, &location).await {
                Ok(()) => return Ok(LocatedView { location, metadata }),
                Err(error @ CatalogError::CommitStateUnknown(_)) => return Err(error),
                Err(error) => {
                    self.files.remove([location]).await;
                    if !matches!(error, CatalogError::CommitFailed(_)) || attempt == ATTEMPTS_MAX {
                        return Err(error);
                    }
                    attempt += 1;
                }
            }
        }
    }

    async fn swap(&self, view: &TableName, old: &str, new: &str) -> Result<(), CatalogError> {
        let mut client = self.rows.database.connection().await?;
        let transaction = client.transaction().await?;
        self.rows.swap(&transaction, view, old, new).await?;
        transaction.commit().await.map_err(|error| match error.code() {
            Some(code) if code.code().starts_with("40") => CatalogError::CommitFailed(error.to_string()),
            _ => CatalogError::CommitStateUnknown(error.to_string()),
        })
    }
}

/// The metadata that updates lead to. No I/O.
fn changed(metadata: ViewMetadata, updates: &[ViewUpdate]) -> Result<ViewMetadata, CatalogError> {
    let refused = |error: iceberg::Error| CatalogError::BadRequest(error.message().to_owned());
    let mut builder: ViewMetadataBuilder = metadata.into_builder();
    for update in updates.iter().cloned() {
        builder = match update {
            ViewUpdate::AssignUuid { uuid } => builder.assign_uuid(uuid),
            ViewUpdate::UpgradeFormatVersion { format_version } => {
                builder.upgrade_format_version(format_version).map_err(refused)?
            }
            ViewUpdate::AddSchema { schema, .. } => builder.add_schema(schema),
            ViewUpdate::SetLocation { location } => builder.set_location(location),
            ViewUpdate::SetProperties { updates } => builder.set_properties(updates).map_err(refused)?,
            ViewUpdate::RemoveProperties { removals } => builder.remove_properties(&removals),
            ViewUpdate::AddViewVersion { view_version } => builder.add_version(view_version).map_err(refused)?,
            ViewUpdate::SetCurrentViewVersion { view_version_id } => {
                builder.set_current_version_id(view_version_id).map_err(refused)?
            }
        };
    }
    Ok(builder.build().map_err(refused)?.metadata)
}

/// The next file of a view, numbered as tables' are; after a file of another name numbering starts anew.
fn next_location(old: Option<&str>, metadata: &ViewMetadata) -> String {
    let number = old.and_then(|old| old.rsplit('/').next()?.split('-').next()?.parse::<u32>().ok());
    let number = number.map_or(0, |number| number + 1);
    let folder = metadata.location().trim_end_matches('/');
    format!("{folder}/metadata/{number:05}-{}.metadata.json", Uuid::now_v7())
}
