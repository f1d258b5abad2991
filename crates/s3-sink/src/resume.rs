//! Where a partition goes on when it is assigned.
//!
//! The group's committed offset is the position, but objects may be ahead of it: a writer died between put and
//! commit, or a person reset the group (the seed's habit before it registers the connector again). What is in the
//! bucket counts. So from the committed offset the chain of existing objects is followed to its end, and an
//! object that begins before the offset and reaches beyond it is taken over too.

use futures::StreamExt;
use model::names::RawObject;
use service::Backoff;
use tokio_util::sync::CancellationToken;
use topics::TopicPartition;

use crate::plan::Resume;
use crate::publish::{PublishError, Publisher, Recorded, foreign, retry_or_fail};

/// First distance looked back for an object that reaches over the position; grows by [`LOOK_BACK_FACTOR`].
const LOOK_BACK_OFFSETS: i64 = 4096;
const LOOK_BACK_FACTOR: i64 = 16;

/// Where a partition committed at `committed` goes on.
///
/// # Errors
/// See [`PublishError`].
pub async fn look_up(
    publisher: &Publisher,
    at: &TopicPartition,
    committed: i64,
    stop: &CancellationToken,
) -> Result<Resume, PublishError> {
    let mut position = committed;
    if let Some(start) = last_start_before(publisher, at, committed, stop).await? {
        // An object of another sink says nothing; that sink committed where it ended.
        if let Recorded::Next(next) = publisher.recorded(&publisher.key(at, start), stop).await? {
            position = next.max(position);
        }
    }
    loop {
        let key = publisher.key(at, position);
        match publisher.recorded(&key, stop).await? {
            Recorded::Nothing => break,
            Recorded::Next(next) => position = next,
            Recorded::Foreign(reason) => return Err(foreign(&key, &reason)),
        }
    }
    if position != committed {
        tracing::info!("{at}: objects reach to offset {position}, the group had committed {committed}: going on there");
    }
    let barrier = first_start_after(publisher, at, position, stop).await?;
    if let Some(barrier) = barrier {
        tracing::warn!("{at}: objects are missing from offset {position} to {barrier}: copying those again");
    }
    Ok(Resume { position, barrier })
}

/// Start of the first object that begins after `position`.
async fn first_start_after(
    publisher: &Publisher,
    at: &TopicPartition,
    position: i64,
    stop: &CancellationToken,
) -> Result<Option<i64>, PublishError> {
    let prefix = RawObject::partition_prefix(&publisher.topics_dir, &at.topic, at.partition.0);
    let after = publisher.key(at, position);
    let mut backoff = Backoff::default();
    loop {
        let mut listing = std::pin::pin!(publisher.store.list_after(&prefix, &after));
        match listing.next().await {
            None => return Ok(None),
            Some(Ok(object)) => return Ok(RawObject::parse(&object.key).map(|raw| raw.start_offset)),
            Some(Err(error)) => retry_or_fail(error, &mut backoff, stop).await?,
        }
    }
}

/// Start of the last object that begins before `position`. Listings go upward only, so windows of growing size
/// below the position are listed; almost always the first one holds an object.
async fn last_start_before(
    publisher: &Publisher,
    at: &TopicPartition,
    position: i64,
    stop: &CancellationToken,
) -> Result<Option<i64>, PublishError> {
    if position <= 0 {
        return Ok(None);
    }
    let mut distance = LOOK_BACK_OFFSETS;
    loop {
        let from = position.saturating_sub(distance).max(0);
        if let Some(start) = last_start_between(publisher, at, from, position, stop).await? {
            return Ok(Some(start));
        }
        if from == 0 {
            return Ok(None);
        }
        distance = distance.saturating_mul(LOOK_BACK_FACTOR);
    }
}

async fn last_start_between(
    publisher: &Publisher,
    at: &TopicPartition,
    from: i64,
    to: i64,
    stop: &CancellationToken,
) -> Result<Option<i64>, PublishError> {
    let prefix = RawObject::partition_prefix(&publisher.topics_dir, &at.topic, at.partition.0);
    // The listing begins after a key: the one before `from` has the greatest key that is not wanted.
    let after = if from == 0 { String::new() } else { publisher.key(at, from - 1) };
    let mut backoff = Backoff::default();
    'again: loop {
        let mut listing = std::pin::pin!(publisher.store.list_after(&prefix, &after));
        let mut last = None;
        while let Some(listed) = listing.next().await {
            match listed {
                Ok(object) => match RawObject::parse(&object.key) {
                    Some(raw) if raw.start_offset >= to => break,
                    Some(raw) => last = Some(raw.start_offset),
                    None => {}
                },
                Err(error) => {
                    retry_or_fail(error, &mut backoff, stop).await?;
                    continue 'again;
                }
            }
        }
        return Ok(last);
    }
}
