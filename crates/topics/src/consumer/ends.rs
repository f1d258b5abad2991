//! First offsets and ends of many partitions, asked for together.
//!
//! A reader of hundreds of partitions would spend minutes of round trips on asking for each. librdkafka's lookup of
//! offsets by time takes the protocol's two special times as well (the earliest offset and the end), and sends one
//! request to each broker that leads some of the partitions.

use std::collections::HashMap;

use rdkafka::Offset as RdOffset;
use rdkafka::consumer::Consumer as _;

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
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let low = self.offsets_at(partitions, RdOffset::Beginning)?;
        let mut high = self.offsets_at(partitions, RdOffset::End)?;
        let both = |(at, low)| {
            let high = high.remove(&at)?;
            Some((at, Watermarks { low, high }))
        };
        let marks: HashMap<_, _> = low.into_iter().filter_map(both).collect();
        match partitions.iter().find(|at| !marks.contains_key(at)) {
            None => Ok(marks),
            Some(at) => {
                Err(ConsumeError::Retry { reason: format!("the broker did not say where {at} begins and ends") })
            }
        }
    }

    fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        time: RdOffset,
    ) -> Result<HashMap<TopicPartition, Offset>, ConsumeError> {
        let asked = native_list(partitions.iter().map(|at| (at, time)))?;
        let answered = self.inner.offsets_for_times(asked, ASK).map_err(|error| ConsumeError::from_kafka(&error))?;
        for element in answered.elements() {
            element.error().map_err(|error| ConsumeError::from_kafka(&error))?;
        }
        Ok(offsets_of(&answered).into_iter().filter_map(|(at, offset)| Some((at, offset?))).collect())
    }
}
