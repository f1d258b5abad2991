//! Where a partition goes on when it is assigned.
//!
//! The group's committed offset is the position, but objects may be ahead of it: a writer died between put and
//! commit, or a person reset the group (the seed's habit before it registers the connector again). What is in the
//! bucket counts. So from the committed offset the chain of existing objects is followed to its end, and an
//! object that begins before the offset and reaches beyond it is taken over too. Where plans stand for objects, the
//! first one whose objects are not all there is made again, exactly as it is written down.

use std::sync::Arc;

use futures::StreamExt;
use model::names::RawObject;
use service::Backoff;
use tokio_util::sync::CancellationToken;
use topics::TopicPartition;

use crate::group::GroupPlan;
use crate::plan::Resume;
use crate::publish::{PublishError, Publisher, Recorded, foreign, retry_or_fail};

/// First distance looked back for an object that reaches over the position; grows by [`LOOK_BACK_FACTOR`].
const LOOK_BACK_OFFSETS: i64 = 4096;
const LOOK_BACK_FACTOR: i64 = 16;

/// Objects of a plan that are asked for at once.
const HEADS_MAX: usize = 16;

/// Where a partition goes on, and what is to be made there when that is written down.
pub type Found = (Resume, Option<Arc<GroupPlan>>);

/// Where a partition committed at `committed` goes on.
///
/// # Errors
/// See [`PublishError`].
pub async fn look_up(
    publisher: &Publisher,
    at: &TopicPartition,
    committed: i64,
    stop: &CancellationToken,
) -> Result<Found, PublishError> {
    let mut position = committed;
    if let Some(start) = last_start_before(publisher, at, committed, stop).await? {
        // An object of another sink says nothing; that sink committed where it ended.
        let key = publisher.shape.chain_key(at, start);
        if let Recorded::Next(next) = publisher.recorded(&key, stop).await? {
            // A range that ends at or before the commit was complete when it was committed.
            if next > committed
                && let Some(plan) = unfinished(publisher, &key, stop).await?
            {
                return Ok(again(at, plan));
            }
            position = next.max(position);
        }
    }
    loop {
        let key = publisher.shape.chain_key(at, position);
        match publisher.recorded(&key, stop).await? {
            Recorded::Nothing => break,
            Recorded::Next(next) => {
                if let Some(plan) = unfinished(publisher, &key, stop).await? {
                    return Ok(again(at, plan));
                }
                position = next;
            }
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
    Ok((Resume { position, barrier, pinned: false }, None))
}

fn again(at: &TopicPartition, plan: GroupPlan) -> Found {
    let GroupPlan { start, next, .. } = plan;
    tracing::info!("{at}: objects of the range from {start} to {next} are missing: making those");
    (Resume { position: start, barrier: Some(next), pinned: true }, Some(Arc::new(plan)))
}

/// The plan under this name, when objects of it are missing. Nothing where objects speak for themselves.
async fn unfinished(
    publisher: &Publisher,
    key: &str,
    stop: &CancellationToken,
) -> Result<Option<GroupPlan>, PublishError> {
    if !publisher.shape.planned {
        return Ok(None);
    }
    let plan = publisher.read_plan(key, stop).await?;
    let missing = async |object: &str| Ok(publisher.recorded(object, stop).await? == Recorded::Nothing);
    let asked: Vec<_> = plan.objects().map(|object| missing(object)).collect();
    let missing: Vec<Result<bool, PublishError>> =
        futures::stream::iter(asked).buffer_unordered(HEADS_MAX).collect().await;
    for one in missing {
        if one? {
            return Ok(Some(plan));
        }
    }
    Ok(None)
}

/// Start of the first object that begins after `position`.
async fn first_start_after(
    publisher: &Publisher,
    at: &TopicPartition,
    position: i64,
    stop: &CancellationToken,
) -> Result<Option<i64>, PublishError> {
    let prefix = publisher.shape.chain_prefix(at);
    let after = publisher.shape.chain_key(at, position);
    let mut backoff = Backoff::default();
    'again: loop {
        let mut listing = std::pin::pin!(publisher.store.list_after(&prefix, &after));
        while let Some(listed) = listing.next().await {
            match listed {
                Ok(object) => {
                    if let Some(raw) = chained(publisher, &object.key) {
                        return Ok(Some(raw.start_offset));
                    }
                }
                Err(error) => {
                    retry_or_fail(error, &mut backoff, stop).await?;
                    continue 'again;
                }
            }
        }
        return Ok(None);
    }
}

/// An object of this format: another connector may keep the same topic in another one beside it.
fn chained(publisher: &Publisher, key: &str) -> Option<RawObject> {
    RawObject::parse(key).filter(|raw| raw.extension == publisher.shape.chain_extension())
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
    let prefix = publisher.shape.chain_prefix(at);
    // The listing begins after a key: the one before `from` has the greatest key that is not wanted.
    let after = if from == 0 { String::new() } else { publisher.shape.chain_key(at, from - 1) };
    let mut backoff = Backoff::default();
    'again: loop {
        let mut listing = std::pin::pin!(publisher.store.list_after(&prefix, &after));
        let mut last = None;
        while let Some(listed) = listing.next().await {
            match listed {
                Ok(object) => match chained(publisher, &object.key) {
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
