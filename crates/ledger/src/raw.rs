//! The landing zone: every object of a topic, its chain of offsets, its records.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use model::names::RawObject;
use objects::{OFFSET_RUNS, ObjectError, RawMetadata, Store};

use crate::container::Container;
use crate::envelope::EnvelopeReader;
use crate::error::{LedgerError, Result, broken};
use crate::offsets::Positions;
use crate::rows::Table;
use crate::topic::TopicContent;
use crate::visibility::Snapshot;

/// Objects fetched ahead.
const OBJECTS_AT_ONCE: usize = 8;

/// What the landing zone holds of a topic below the ends.
#[derive(Debug, Default)]
pub struct RawContent {
    /// Objects that hold a position below the ends.
    pub objects: u64,
    pub content: TopicContent,
    /// Breaks of the chain and objects that cannot be read, in words.
    pub broken: Vec<String>,
    /// Where each partition's last object ends.
    pub next: Positions,
}

/// Access to the bucket.
#[derive(Clone)]
pub struct LandingZone {
    store: Store,
    endpoint: String,
    topics_dir: String,
}

impl LandingZone {
    /// `topics_dir` is the first part of every key.
    #[must_use]
    pub fn new(store: Store, endpoint: &str, topics_dir: &str) -> Self {
        Self { store, endpoint: endpoint.to_owned(), topics_dir: topics_dir.to_owned() }
    }

    /// Reads all objects of a topic that hold a position below `ends`.
    ///
    /// # Errors
    /// When the store is away. An object that is broken is reported in the result instead.
    pub async fn read(
        &self,
        topic: &str,
        table: &Arc<Table>,
        ends: &Positions,
        snapshot: &Snapshot,
    ) -> Result<RawContent> {
        let mut raw = RawContent::default();
        let objects = self.objects(topic).await?;
        let wanted = objects
            .into_iter()
            .filter(|object| ends.get(&object.partition).is_some_and(|end| object.start_offset < *end));
        let fetches = futures::stream::iter(wanted.map(|object| async move {
            let bytes = self.store.get(&object.to_string()).await.map_err(|error| self.error(&error));
            (object, bytes)
        }));
        // In order of partition and offset, as the chain is checked on the way.
        let mut fetches = fetches.buffered(OBJECTS_AT_ONCE);
        let mut readers = HashMap::new();
        while let Some((object, bytes)) = fetches.next().await {
            raw.objects += 1;
            if let Err(error) = take(&mut raw, &object, &bytes?, table, ends, snapshot, &mut readers) {
                raw.broken.push(format!("{object}: {error}"));
            }
        }
        Ok(raw)
    }

    /// The objects of a topic by partition and start.
    async fn objects(&self, topic: &str) -> Result<Vec<RawObject>> {
        let listing = self.store.list_after(&RawObject::topic_prefix(&self.topics_dir, topic), "");
        let listed: Vec<_> = listing.try_collect().await.map_err(|error| self.error(&error))?;
        let mut objects: Vec<RawObject> = listed.iter().filter_map(|listed| RawObject::parse(&listed.key)).collect();
        objects.sort_by_key(|object| (object.partition, object.start_offset));
        Ok(objects)
    }

    /// Where the last object of a partition ends; `None` when there is none. Tells the sink's lag from the lake's.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn next_of(&self, topic: &str, partition: i32) -> Result<Option<i64>> {
        let objects = self.objects(topic).await?;
        let Some(last) = objects.iter().rev().find(|object| object.partition == partition) else { return Ok(None) };
        let head = self.store.head(&last.to_string()).await.map_err(|error| self.error(&error))?;
        let metadata = head.and_then(|head| RawMetadata::from_metadata(&head.metadata).ok());
        Ok(metadata.map(|metadata| metadata.next_offset))
    }

    fn error(&self, error: &ObjectError) -> LedgerError {
        LedgerError::Away {
            server: format!("the object store at {}", self.endpoint),
            reason: error.to_string(),
            setting: "S3_ENDPOINT",
        }
    }
}

/// Takes an object in: its place in the chain, then its records.
fn take(
    raw: &mut RawContent,
    object: &RawObject,
    bytes: &[u8],
    table: &Arc<Table>,
    ends: &Positions,
    snapshot: &Snapshot,
    readers: &mut HashMap<String, EnvelopeReader>,
) -> Result<()> {
    let partition = object.partition;
    let container = Container::parse(bytes)?;
    let (start, next) = (number(&container, "haus.start-offset")?, number(&container, "haus.next-offset")?);
    let due = raw.next.insert(partition, next);
    if start != object.start_offset {
        return Err(broken(format!("its name says it starts at {}, its header at {start}", object.start_offset)));
    }
    // Where the first object of a partition must begin is judged against the topic, record by record.
    if let Some(due) = due.filter(|due| *due != start) {
        let what = if start > due { "gap" } else { "overlap" };
        raw.broken.push(format!("{object}: {what}, the object before ends at {due}"));
    }
    let count = container.record_count();
    if count as i64 != number(&container, "haus.record-count")? {
        return Err(broken(format!("it holds {count} records, its header says another number")));
    }
    let mut offsets = runs(&container, start, count)?;
    let end = ends.get(&partition).copied().unwrap_or_default();
    if !readers.contains_key(&container.schema) {
        readers.insert(container.schema.clone(), EnvelopeReader::new(&container.schema, Arc::clone(table))?);
    }
    let reader = &readers[&container.schema];
    for (count, block) in &container.blocks {
        let mut rest = *block;
        for _ in 0..*count {
            let change = reader.read(&mut rest)?;
            let offset = offsets.next().ok_or_else(|| broken("its offset runs are shorter than its records"))?;
            if offset >= next {
                return Err(broken(format!("offset {offset} lies beyond its own end {next}")));
            }
            if offset < end {
                let event = reader.event(partition, offset, change)?;
                raw.content.take(partition, offset, event.as_ref(), snapshot);
            }
        }
        if !rest.is_empty() {
            return Err(broken("bytes are left over at the end of a block"));
        }
    }
    if offsets.next().is_some() { Err(broken("its offset runs are longer than its records")) } else { Ok(()) }
}

fn number(container: &Container<'_>, entry: &str) -> Result<i64> {
    let text = container.entries.get(entry).ok_or_else(|| broken(format!("its header lacks {entry}")))?;
    text.parse().map_err(|_| broken(format!("its header's {entry} is {text:?}")))
}

/// The offsets of the records, in order.
fn runs(container: &Container<'_>, start: i64, count: u64) -> Result<impl Iterator<Item = i64> + use<>> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let runs: Vec<(i64, i64)> = match container.entries.get(OFFSET_RUNS) {
        None => vec![(start, count)],
        Some(text) => parse_runs(text).ok_or_else(|| broken(format!("its header's {OFFSET_RUNS} is {text:?}")))?,
    };
    Ok(runs.into_iter().flat_map(|(first, count)| first..first.saturating_add(count)))
}

fn parse_runs(text: &str) -> Option<Vec<(i64, i64)>> {
    text.split(',')
        .filter(|run| !run.is_empty())
        .map(|run| {
            let (first, count) = run.split_once('+')?;
            Some((first.parse().ok()?, count.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn runs_are_first_and_count() {
        assert_eq!(parse_runs("0+3,7+1"), Some(vec![(0, 3), (7, 1)]));
        assert_eq!(parse_runs(""), Some(vec![]));
        for text in ["3", "a+1", "1+b", "1-2"] {
            assert_eq!(parse_runs(text), None, "{text}");
        }
    }
}
