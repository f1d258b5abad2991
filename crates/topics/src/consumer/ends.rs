//! First offsets and ends of many partitions, asked for together.
//!
//! A reader of hundreds of partitions would spend minutes of round trips on asking for each. librdkafka's lookup of
//! offsets by time takes the protocol's two special times as well (the earliest offset and the end), and sends one
//! request to each broker that leads some of the partitions.

use std::collections::HashMap;

use rdkafka::Offset as RdOffset;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use super::{ASK, Consumer, native_list, offsets_of};
use crate::admin::Watermarks;
use crate::error::ConsumeError;
use crate::record::{Offset, TopicPartition};

impl Consumer {
    /// First offset kept and the end for this reader (the last stable offset when only committed records are
    /// read: an open transaction holds it back) of each partition. Blocks for two round trips, however many there are.
    ///
    /// # Errors
    /// `Retry` when a broker is away, `Refused` for an unknown topic.
    pub fn watermarks_of(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Watermarks>, ConsumeError> {
        watermarks(&self.inner, partitions)
            .map_err(|error| ConsumeError::from_kafka(&error))?
            .map_err(|reason| ConsumeError::Retry { reason })
    }
}

/// As [`Consumer::watermarks_of`], of any reader. The inner error says that the answer was incomplete: ask again.
pub(crate) fn watermarks<C: ConsumerContext>(
    reader: &impl rdkafka::consumer::Consumer<C>,
    partitions: &[TopicPartition],
) -> Result<Result<HashMap<TopicPartition, Watermarks>, String>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Ok(HashMap::new()));
    }
    let low = offsets_at(reader, partitions, RdOffset::Beginning)?;
    let mut high = offsets_at(reader, partitions, RdOffset::End)?;
    let both = |(at, low)| {
        let high = high.remove(&at)?;
        Some((at, Watermarks { low, high }))
    };
    let marks: HashMap<_, _> = low.into_iter().filter_map(both).collect();
    Ok(match partitions.iter().find(|at| !marks.contains_key(at)) {
        None => Ok(marks),
        Some(at) => Err(format!("the broker did not say where {at} begins and ends")),
    })
}

fn offsets_at<C: ConsumerContext>(
    reader: &impl rdkafka::consumer::Consumer<C>,
    partitions: &[TopicPartition],
    time: RdOffset,
) -> Result<HashMap<TopicPartition, Offset>, KafkaError> {
    let asked = native_list(partitions.iter().map(|at| (at, time)))?;
    let answered = reader.offsets_for_times(asked, ASK)?;
    for element in answered.elements() {
        element.error()?;
    }
    Ok(offsets_of(&answered).into_iter().filter_map(|(at, offset)| Some((at, offset?))).collect())
}
