//! Consumer groups from outside: who is in them, what they have committed, and setting that elsewhere.
//!
//! Offsets are changed only while nobody is in the group. Many partitions are asked for together.

use std::collections::HashMap;

use rdkafka::Offset as RdOffset;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::{ASK, Admin, Watermarks, partitions_of};
use crate::consumer::{native_list, offsets_of};
use crate::error::AdminError;
use crate::group::GroupDescription;
use crate::record::{Offset, TopicPartition};

/// A group's progress in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    pub partition: TopicPartition,
    /// The offset the group reads next.
    pub committed: Offset,
    pub watermarks: Watermarks,
}

impl GroupOffset {
    /// Offsets still to be read, transaction markers included.
    pub fn lag(&self) -> i64 {
        (self.watermarks.high.0 - self.committed.0.max(self.watermarks.low.0)).max(0)
    }
}

/// A group as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    pub group: String,
    pub state: String,
    pub members: usize,
}

/// Where a group's offsets are set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    Earliest,
    Latest,
    /// This offset in every partition chosen, held within what the log has.
    Offset(Offset),
}

/// One change of a group's offsets, done or planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetReset {
    pub partition: TopicPartition,
    pub from: Option<Offset>,
    pub to: Offset,
}

impl Admin {
    /// All consumer groups, by name.
    ///
    /// # Errors
    /// `Retry`.
    pub async fn groups(&self) -> Result<Vec<GroupSummary>, AdminError> {
        self.blocking(|admin| {
            let list = admin.client()?.inner().fetch_group_list(None, ASK).map_err(|error| admin.error(&error))?;
            let mut groups: Vec<_> = list
                .groups()
                .iter()
                .map(|group| GroupSummary {
                    group: group.name().to_owned(),
                    state: group.state().to_owned(),
                    members: group.members().len(),
                })
                .collect();
            groups.sort_by(|a, b| a.group.cmp(&b.group));
            Ok(groups)
        })
        .await
    }

    /// State and members of a group. A group nobody ever used is `Dead` without members, as in Kafka's tools.
    ///
    /// # Errors
    /// `Retry`.
    pub async fn group(&self, group: &str) -> Result<GroupDescription, AdminError> {
        let group = group.to_owned();
        self.blocking(move |admin| admin.group_now(&group)).await
    }

    /// Everything the group has committed, with the ends of those partitions, ordered.
    ///
    /// # Errors
    /// `Retry`.
    pub async fn group_offsets(&self, group: &str) -> Result<Vec<GroupOffset>, AdminError> {
        let group = group.to_owned();
        let topics = self.topics().await?;
        self.blocking(move |admin| {
            let partitions = topics.iter().filter(|topic| !topic.name.starts_with("__")).flat_map(partitions_of);
            let reader = admin.reader(&group)?;
            let committed = admin.committed(&reader, &partitions.collect::<Vec<_>>())?;
            let committed: Vec<_> = committed.into_iter().filter_map(|(at, offset)| Some((at, offset?))).collect();
            let read: Vec<_> = committed.iter().map(|(at, _)| at.clone()).collect();
            let marks = admin.watermarks_of(&reader, &read)?;
            let offset = |(partition, committed)| {
                let watermarks = *marks.get(&partition)?;
                Some(GroupOffset { partition, committed, watermarks })
            };
            let mut offsets: Vec<_> = committed.into_iter().filter_map(offset).collect();
            offsets.sort_by(|a, b| a.partition.cmp(&b.partition));
            Ok(offsets)
        })
        .await
    }

    /// Sets the group's offsets in these partitions and tells from where to where; with `execute` false it only
    /// tells. The group must be without members.
    ///
    /// # Errors
    /// `GroupActive`, `UnknownTopic`, `Retry`, `Refused`.
    pub async fn reset_group(
        &self,
        group: &str,
        partitions: Vec<TopicPartition>,
        to: ResetTo,
        execute: bool,
    ) -> Result<Vec<OffsetReset>, AdminError> {
        let group = group.to_owned();
        self.blocking(move |admin| admin.reset_now(&group, partitions, to, execute)).await
    }

    /// Forgets a group and its offsets; true when it existed.
    ///
    /// # Errors
    /// `GroupActive`, `Retry`, `Refused`.
    pub async fn delete_group(&self, group: &str) -> Result<bool, AdminError> {
        let options = AdminOptions::new().request_timeout(Some(ASK));
        let outcomes = self.client()?.delete_groups(&[group], &options).await.map_err(|error| self.error(&error))?;
        match outcomes.into_iter().next() {
            None | Some(Ok(_)) => Ok(true),
            Some(Err((_, Code::GroupIdNotFound))) => Ok(false),
            Some(Err((_, Code::NonEmptyGroup))) => {
                let members = self.group(group).await?.members.len();
                Err(AdminError::GroupActive { group: group.to_owned(), members })
            }
            Some(Err((_, code))) => Err(self.error(&KafkaError::AdminOp(code))),
        }
    }

    fn reset_now(
        &self,
        group: &str,
        partitions: Vec<TopicPartition>,
        to: ResetTo,
        execute: bool,
    ) -> Result<Vec<OffsetReset>, AdminError> {
        let members = self.group_now(group)?.members.len();
        if members > 0 {
            return Err(AdminError::GroupActive { group: group.to_owned(), members });
        }
        let reader = self.reader(group)?;
        let committed = self.committed(&reader, &partitions)?;
        let marks = self.watermarks_of(&reader, &partitions)?;
        let mut resets = Vec::new();
        for partition in partitions {
            // All that were asked for are there.
            let Some(marks) = marks.get(&partition) else { continue };
            let from = committed.get(&partition).copied().flatten();
            let to = match to {
                ResetTo::Earliest => marks.low,
                ResetTo::Latest => marks.high,
                ResetTo::Offset(offset) => Offset(offset.0.clamp(marks.low.0, marks.high.0)),
            };
            resets.push(OffsetReset { partition, from, to });
        }
        if execute && !resets.is_empty() {
            let list = native_list(resets.iter().map(|reset| (&reset.partition, RdOffset::Offset(reset.to.0))))
                .map_err(|error| self.error(&error))?;
            // The broker itself refuses a commit from outside while the group has members.
            reader.commit(&list, CommitMode::Sync).map_err(|error| match error.rdkafka_error_code() {
                Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress) => {
                    AdminError::GroupActive { group: group.to_owned(), members: 1 }
                }
                _ => self.error(&error),
            })?;
        }
        Ok(resets)
    }

    fn group_now(&self, group: &str) -> Result<GroupDescription, AdminError> {
        let list = self.client()?.inner().fetch_group_list(Some(group), ASK).map_err(|error| self.error(&error))?;
        Ok(list.groups().iter().find(|found| found.name() == group).map_or_else(
            || GroupDescription {
                group: group.to_owned(),
                state: "Dead".to_owned(),
                protocol: String::new(),
                members: Vec::new(),
            },
            GroupDescription::from_native,
        ))
    }

    /// What a reader's group has committed in these partitions.
    fn committed(
        &self,
        reader: &BaseConsumer,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Option<Offset>>, AdminError> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let list =
            native_list(partitions.iter().map(|at| (at, RdOffset::Invalid))).map_err(|error| self.error(&error))?;
        let list = reader.committed_offsets(list, ASK).map_err(|error| self.error(&error))?;
        Ok(offsets_of(&list))
    }
}
