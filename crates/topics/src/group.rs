//! What a consumer group looks like from outside, and the bytes in which its members' shares are written.
//!
//! Format of the assignment: Kafka's consumer protocol (ConsumerProtocolAssignment), version 0 and up:
//! `int16 version, int32 n, n x { string topic, int32 m, m x int32 partition }, bytes user_data`, big endian.

use rdkafka::groups::GroupInfo;

use crate::record::TopicPartition;

/// One member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub client_id: String,
    pub client_host: String,
    pub partitions: Vec<TopicPartition>,
}

/// A group and who is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    /// Kafka's name: `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
    pub state: String,
    pub protocol: String,
    pub members: Vec<GroupMember>,
}

impl GroupDescription {
    pub(crate) fn from_native(group: &GroupInfo) -> Self {
        let members = group
            .members()
            .iter()
            .map(|member| GroupMember {
                member_id: member.id().to_owned(),
                client_id: member.client_id().to_owned(),
                client_host: member.client_host().to_owned(),
                partitions: member.assignment().and_then(parse_assignment).unwrap_or_default(),
            })
            .collect();
        Self {
            group: group.name().to_owned(),
            state: group.state().to_owned(),
            protocol: group.protocol().to_owned(),
            members,
        }
    }
}

/// Partitions in a member's assignment; `None` when the bytes are not of the consumer protocol.
pub(crate) fn parse_assignment(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let mut rest = Bytes(bytes);
    let version = rest.int16()?;
    if version < 0 {
        return None;
    }
    let mut partitions = Vec::new();
    for _ in 0..rest.int32()? {
        let topic = rest.string()?;
        for _ in 0..rest.int32()? {
            partitions.push(TopicPartition::new(topic, rest.int32()?));
        }
    }
    Some(partitions)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn int16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn string(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.int16()?).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(head).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn written(topics: &[(String, Vec<i32>)]) -> Vec<u8> {
        let mut out = 0i16.to_be_bytes().to_vec();
        out.extend((topics.len() as i32).to_be_bytes());
        for (topic, partitions) in topics {
            out.extend((topic.len() as i16).to_be_bytes());
            out.extend(topic.as_bytes());
            out.extend((partitions.len() as i32).to_be_bytes());
            partitions.iter().for_each(|partition| out.extend(partition.to_be_bytes()));
        }
        out.extend((-1i32).to_be_bytes());
        out
    }

    proptest! {
        #[test]
        fn an_assignment_reads_back_as_written(topics in prop::collection::vec(("[a-z.]{1,9}", prop::collection::vec(0..99i32, 0..5)), 0..5)) {
            let expected: Vec<_> = topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| TopicPartition::new(topic.as_str(), *partition))).collect();
            prop_assert_eq!(parse_assignment(&written(&topics)).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_assignment(&bytes);
        }
    }
}
