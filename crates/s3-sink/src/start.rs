//! What Kafka says about partitions when they are assigned, and whether that goes with what is in the bucket.

use connect::TaskError;
use topics::{ConsumeError, Consumer, TopicPartition, Watermarks};

/// What Kafka says about a partition at its assignment.
pub struct Start {
    /// What the group has committed, else where the log begins.
    pub committed: i64,
    low: i64,
    high: i64,
}

impl Start {
    /// Blocks for three round trips, however many partitions there are.
    ///
    /// # Errors
    /// As the calls to the broker.
    pub fn of(consumer: &Consumer, asked: &[TopicPartition]) -> Result<Vec<(TopicPartition, Self)>, ConsumeError> {
        let committed = consumer.committed(asked)?;
        let start = |(at, marks): (TopicPartition, Watermarks)| {
            let committed = committed.get(&at).copied().flatten().unwrap_or(marks.low).0;
            (at, Self { committed, low: marks.low.0, high: marks.high.0 })
        };
        Ok(consumer.watermarks_of(asked)?.into_iter().map(start).collect())
    }

    /// The log must hold the position; otherwise records were lost, or it is another log.
    ///
    /// # Errors
    /// With the cure.
    pub fn check(&self, at: &TopicPartition, position: i64) -> Result<(), TaskError> {
        if position < self.low {
            return Err(TaskError::Fail(format!(
                "{at}: the next offset to copy is {position}, but the topic begins at {}: records were deleted before \
                 they were copied. To go on without them reset the group to the earliest offset, then restart the connector",
                self.low
            )));
        }
        if position > self.high {
            return Err(TaskError::Fail(format!(
                "{at}: objects or the group reach to offset {position}, but the topic ends at {}: it was deleted and made \
                 anew. Move its old objects away (or choose another topics.dir), reset the group, then restart the connector",
                self.high
            )));
        }
        Ok(())
    }
}
