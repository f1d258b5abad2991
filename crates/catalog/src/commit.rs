//! Commits: requirements checked, updates applied, a new metadata file written, the pointer swapped.
//!
//! The order makes a crash harmless: the file is written before anything points to it, and the pointers of all tables
//! of a commit move in one Postgres transaction, each by compare-and-swap. A commit that lost the race is planned anew
//! on the winner's metadata while its requirements still hold; otherwise it is refused and its file removed. When the
//! answer to COMMIT is lost, the table itself is asked; only what even that cannot tell is reported as unknown.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use iceberg::{
    MetadataLocation, TableRequirement, TableUpdate,
    spec::{FormatVersion, PartitionSpec, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    error::CatalogError,
    files::MetadataFiles,
    names::TableName,
    receipts::Receipt,
    tables::{Tables, is_ancestor},
};

/// Times a commit is planned anew after it lost a race, all its requirements still holding.
const ATTEMPTS_MAX: usize = 20;
/// How long the table is asked whether a commit with a lost answer has happened.
const RESOLVE_MAX: Duration = Duration::from_secs(10);
const LOCK_STRIPES: usize = 64;
/// `write.metadata.delete-after-commit.enabled`.
const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// What one table shall become.
pub struct Change {
    pub table: TableName,
    pub requirements: Vec<TableRequirement>,
    pub updates: Vec<TableUpdate>,
}

/// Metadata and where it lies.
#[derive(Clone)]
pub struct Located {
    pub location: String,
    pub metadata: Arc<TableMetadata>,
}

/// Commits to the tables of one catalog. Cheap to clone.
#[derive(Clone)]
pub struct Commits {
    tables: Tables,
    files: MetadataFiles,
    /// Commits of one table queue here instead of losing races in Postgres. Held in ascending order.
    stripes: Arc<[Arc<Mutex<()>>]>,
    hasher: RandomState,
}

/// A planned step of one table.
struct Planned {
    table: TableName,
    /// None for a new table.
    old: Option<Located>,
    new: Located,
    /// Metadata files that the table no longer remembers.
    expired: Vec<String>,
    changed: bool,
}

impl Commits {
    pub fn new(tables: Tables, files: MetadataFiles) -> Self {
        Self { tables, files, stripes: (0..LOCK_STRIPES).map(|_| Arc::default()).collect(), hasher: RandomState::new() }
    }

    /// Commits all changes or none. Runs to its end even when the request is dropped. When its receipt says that it
    /// happened already, the tables are answered as they are.
    ///
    /// # Errors
    /// `CommitFailed` (a requirement does not hold), `NoSuchTable`, `BadRequest`, `Unavailable`: nothing happened.
    /// `CommitStateUnknown`: it may have happened.
    pub async fn commit(&self, changes: Vec<Change>, receipt: Option<Receipt>) -> Result<Vec<Located>, CatalogError> {
        let commits = self.clone();
        let running = tokio::spawn(async move { commits.commit_now(&changes, receipt.as_ref()).await });
        running.await.map_err(|lost| CatalogError::CommitStateUnknown(lost.to_string()))?
    }

    async fn commit_now(&self, changes: &[Change], receipt: Option<&Receipt>) -> Result<Vec<Located>, CatalogError> {
        let _queued = self.queue(changes).await;
        let mut attempt = 1;
        loop {
            if let Some(receipt) = receipt
                && receipt.is_known(&self.tables.database, &self.tables.catalog).await?
            {
                return self.as_they_are(changes).await;
            }
            let planned = self.plan_all(changes).await?;
            match self.publish(&planned, receipt).await {
                Ok(()) => return Ok(self.finish(planned).await),
                Err(CatalogError::CommitFailed(_)) if attempt < ATTEMPTS_MAX => {
                    self.discard(planned).await;
                    metrics::counter!("catalog_commit_retries_total").increment(1);
                    attempt += 1;
                }
                Err(error @ CatalogError::CommitStateUnknown(_)) => return Err(error),
                Err(error) => {
                    self.discard(planned).await;
                    return Err(error);
                }
            }
        }
    }

    /// The tables of a commit that happened before, with whatever was committed since.
    async fn as_they_are(&self, changes: &[Change]) -> Result<Vec<Located>, CatalogError> {
        let mut located = Vec::with_capacity(changes.len());
        for change in changes {
            let location = self.tables.location(&change.table).await?;
            located.push(Located { metadata: self.files.read(&location).await?, location });
        }
        Ok(located)
    }

    async fn queue(&self, changes: &[Change]) -> Vec<OwnedMutexGuard<()>> {
        let mut stripes: Vec<_> =
            changes.iter().map(|change| self.hasher.hash_one(&change.table) as usize % LOCK_STRIPES).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let mut held = Vec::with_capacity(stripes.len());
        for stripe in stripes {
            held.push(self.stripes[stripe].clone().lock_owned().await);
        }
        held
    }

    /// Plans every change on the tables' present metadata and writes the new metadata files.
    async fn plan_all(&self, changes: &[Change]) -> Result<Vec<Planned>, CatalogError> {
        let mut planned = Vec::with_capacity(changes.len());
        for change in changes {
            match self.plan_one(change).await {
                Ok(step) => planned.push(step),
                Err(error) => {
                    self.discard(planned).await;
                    return Err(error);
                }
            }
        }
        // One order for everybody, so that commits of several tables wait for each other instead of deadlocking.
        planned.sort_by(|a, b| a.table.cmp(&b.table));
        Ok(planned)
    }

    async fn plan_one(&self, change: &Change) -> Result<Planned, CatalogError> {
        let old = match self.tables.find(&change.table).await? {
            Some(location) => Some(Located { metadata: self.files.read(&location).await?, location }),
            None => None,
        };
        if old.is_none() && !change.requirements.contains(&TableRequirement::NotExist) {
            return Err(CatalogError::NoSuchTable(change.table.to_string()));
        }
        let step = plan(change, old.as_ref())?;
        let Some(metadata) = step.metadata else {
            let unchanged =
                old.ok_or_else(|| CatalogError::BadRequest("a new table needs a schema and a location".into()))?;
            return Ok(Planned {
                table: change.table.clone(),
                new: unchanged.clone(),
                old: Some(unchanged),
                expired: Vec::new(),
                changed: false,
            });
        };
        let metadata = Arc::new(metadata);
        let location = next_location(old.as_ref(), &metadata);
        self.files.write(&metadata, &location).await?;
        Ok(Planned {
            table: change.table.clone(),
            old,
            new: Located { location: location.to_string(), metadata },
            expired: step.expired,
            changed: true,
        })
    }

    /// Moves all pointers in one transaction.
    async fn publish(&self, planned: &[Planned], receipt: Option<&Receipt>) -> Result<(), CatalogError> {
        if planned.iter().all(|step| !step.changed) {
            return Ok(());
        }
        let mut client = self.tables.database.connection().await?;
        let transaction = client.transaction().await?;
        if let Some(receipt) = receipt {
            receipt.write(&transaction, &self.tables.catalog).await?;
        }
        for step in planned.iter().filter(|step| step.changed) {
            match &step.old {
                Some(old) => self.tables.swap(&transaction, &step.table, &old.location, &step.new.location).await?,
                None => self.tables.insert(&transaction, &step.table, &step.new.location).await?,
            }
        }
        match transaction.commit().await {
            Ok(()) => Ok(()),
            // The transaction was told to give way: it did not happen.
            Err(error) if error.code().is_some_and(|code| code.code().starts_with("40")) => {
                Err(CatalogError::CommitFailed(error.to_string()))
            }
            Err(error) => {
                tracing::warn!("the answer to a commit was lost, asking the table: {error}");
                self.resolve(planned).await
            }
        }
    }

    /// Finds out whether a commit whose answer was lost has happened. One table tells for all: they moved together.
    async fn resolve(&self, planned: &[Planned]) -> Result<(), CatalogError> {
        let unknown = || CatalogError::CommitStateUnknown("Postgres is away since the commit was sent".into());
        let Some(step) = planned.iter().find(|step| step.changed) else { return Ok(()) };
        let asking = async {
            loop {
                match self.tables.settled_location(&step.table).await {
                    Ok(found) => return self.judge(step, found).await,
                    Err(CatalogError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(200)).await,
                    Err(error) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(RESOLVE_MAX, asking).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                Err(CatalogError::Unavailable("Postgres ended the commit before it happened, try again".into()))
            }
            Ok(Err(error)) => Err(CatalogError::CommitStateUnknown(error.to_string())),
            Err(_) => Err(unknown()),
        }
    }

    async fn judge(&self, step: &Planned, found: Option<String>) -> Result<bool, CatalogError> {
        let Some(found) = found else {
            // A new table's row holds nobody up before it is visible, and a dropped one tells nothing.
            return Err(CatalogError::CommitStateUnknown(format!(
                "the table {} is not there (yet or any more)",
                step.table
            )));
        };
        if step.old.as_ref().is_some_and(|old| old.location == found) {
            return Ok(false);
        }
        let now = self.files.read(&found).await?;
        Ok(is_ancestor(&step.new.location, &found, &now))
    }

    async fn finish(&self, planned: Vec<Planned>) -> Vec<Located> {
        let mut located = Vec::with_capacity(planned.len());
        for step in planned {
            if step.changed {
                metrics::counter!("catalog_commits_total").increment(1);
                tracing::debug!(table = %step.table, location = step.new.location, "committed");
            }
            let delete = step
                .new
                .metadata
                .properties()
                .get(DELETE_AFTER_COMMIT)
                .is_some_and(|value| value.eq_ignore_ascii_case("true"));
            if delete && !step.expired.is_empty() {
                self.files.remove(step.expired).await;
            }
            located.push(step.new);
        }
        located
    }

    /// Removes the metadata files of a commit that did not happen.
    async fn discard(&self, planned: Vec<Planned>) {
        self.files.remove(planned.into_iter().filter(|step| step.changed).map(|step| step.new.location)).await;
    }
}

/// New metadata, or none when the updates change nothing.
struct Step {
    metadata: Option<TableMetadata>,
    expired: Vec<String>,
}

/// Checks a change against the present metadata and applies it. No I/O.
fn plan(change: &Change, old: Option<&Located>) -> Result<Step, CatalogError> {
    for requirement in &change.requirements {
        requirement
            .check(old.map(|old| &*old.metadata))
            .map_err(|error| CatalogError::CommitFailed(error.message().to_owned()))?;
    }
    let refused = |error: iceberg::Error| CatalogError::BadRequest(error.message().to_owned());
    let mut builder = match old {
        Some(old) => (*old.metadata).clone().into_builder(Some(old.location.clone())),
        None => builder_of_new(&change.updates)?,
    };
    for update in &change.updates {
        builder = update.clone().apply(builder).map_err(refused)?;
    }
    let built = builder.build().map_err(refused)?;
    if old.is_some() && built.changes.is_empty() {
        return Ok(Step { metadata: None, expired: Vec::new() });
    }
    let expired = built.expired_metadata_logs.into_iter().map(|log| log.metadata_file).collect();
    Ok(Step { metadata: Some(built.metadata), expired })
}

/// The start of a table that was staged and is now created by its updates.
fn builder_of_new(updates: &[TableUpdate]) -> Result<TableMetadataBuilder, CatalogError> {
    let (mut schema, mut spec, mut order, mut location) = (None, None, None, None);
    let mut version = FormatVersion::V2;
    for update in updates {
        match update {
            TableUpdate::AddSchema { schema: added } => schema = schema.or(Some(added.clone())),
            TableUpdate::AddSpec { spec: added } => spec = spec.or(Some(added.clone())),
            TableUpdate::AddSortOrder { sort_order } => order = order.or(Some(sort_order.clone())),
            TableUpdate::SetLocation { location: set } => location = Some(set.clone()),
            TableUpdate::UpgradeFormatVersion { format_version } => version = *format_version,
            _ => {}
        }
    }
    let (Some(schema), Some(location)) = (schema, location) else {
        return Err(CatalogError::BadRequest("a new table needs a schema and a location".into()));
    };
    let spec: UnboundPartitionSpec = spec.unwrap_or_else(|| PartitionSpec::unpartition_spec().into_unbound());
    let order = order.unwrap_or_else(SortOrder::unsorted_order);
    TableMetadataBuilder::new(schema, spec, order, location, version, HashMap::new())
        .map_err(|error| CatalogError::BadRequest(error.message().to_owned()))
}

/// The next file of a table. Files of other writers may be named otherwise; then numbering starts anew.
fn next_location(old: Option<&Located>, metadata: &TableMetadata) -> MetadataLocation {
    let first = || MetadataLocation::new_with_metadata(metadata.location(), metadata);
    let Some(old) = old else { return first() };
    // A table that was moved writes to its new folder.
    let follows = old.location.starts_with(&format!("{}/metadata/", metadata.location()));
    match old.location.parse::<MetadataLocation>() {
        Ok(location) if follows => location.with_next_version().with_new_metadata(metadata),
        _ => first(),
    }
}
