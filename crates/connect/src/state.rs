//! What the topics say, folded into one picture: connectors, tasks, states, used topics, source offsets.
//!
//! Pure. Fed record by record in topic order by `store`, read by the REST API and by the supervisor. Applying
//! the same records in the same order gives the same picture on every worker.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::plugin::Config;
use crate::records::{ConfigRecord, OffsetRecord, Restart, Status, StatusRecord, TargetState};

/// One connector as configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connector {
    /// As posted, plus `name`.
    pub config: Config,
    /// Rises with every configuration record, equal or not: putting a config again restarts.
    pub version: u64,
}

/// Everything the three topics say.
#[derive(Debug, Default)]
pub struct State {
    connectors: BTreeMap<String, Connector>,
    // Beside the connectors, because records of a connector may come before its configuration (an initial
    // state is written first) or survive it in a compacted topic.
    targets: BTreeMap<String, TargetState>,
    tasks: BTreeMap<String, Vec<Config>>,
    uncommitted_tasks: BTreeMap<String, BTreeMap<u32, Config>>,
    restarts: Vec<(String, Restart)>,
    connector_status: BTreeMap<String, Status>,
    task_status: BTreeMap<String, BTreeMap<u32, Status>>,
    topics: BTreeMap<String, BTreeSet<String>>,
    offsets: BTreeMap<String, BTreeMap<String, OffsetRecord>>,
    configs_seen: u64,
}

impl State {
    /// Fold in a record of the config topic.
    pub fn apply_config(&mut self, record: ConfigRecord) {
        match record {
            ConfigRecord::Connector(name, Some(config)) => {
                self.configs_seen += 1;
                self.connectors.insert(name, Connector { config, version: self.configs_seen });
            }
            ConfigRecord::Connector(name, None) => {
                self.connectors.remove(&name);
                self.tasks.remove(&name);
                self.uncommitted_tasks.remove(&name);
                self.restarts.retain(|(restarted, _)| *restarted != name);
            }
            ConfigRecord::Target(name, Some(state)) => {
                self.targets.insert(name, state);
            }
            ConfigRecord::Target(name, None) => {
                self.targets.remove(&name);
            }
            ConfigRecord::Task(name, task, Some(config)) => {
                self.uncommitted_tasks.entry(name).or_default().insert(task, config);
            }
            ConfigRecord::Task(name, task, None) => {
                self.uncommitted_tasks.entry(name).or_default().remove(&task);
            }
            ConfigRecord::Commit(name, count) => self.commit_tasks(name, count),
            ConfigRecord::Restart(name, restart) => self.restarts.push((name, restart)),
            ConfigRecord::Logger(..) | ConfigRecord::Unknown => {}
        }
    }

    fn commit_tasks(&mut self, name: String, count: u32) {
        let mut new = self.uncommitted_tasks.remove(&name).unwrap_or_default();
        let old = self.tasks.remove(&name).unwrap_or_default();
        // Compaction may have taken the record of a task between two commits; an incomplete set is none, and
        // the worker that runs the connector writes it anew.
        let tasks: Option<Vec<Config>> =
            (0..count).map(|task| new.remove(&task).or_else(|| old.get(task as usize).cloned())).collect();
        self.tasks.insert(name, tasks.unwrap_or_default());
    }

    /// Fold in a record of the status topic.
    pub fn apply_status(&mut self, record: StatusRecord) {
        match record {
            StatusRecord::Connector(name, Some(status)) => {
                self.connector_status.insert(name, status);
            }
            StatusRecord::Connector(name, None) => {
                self.connector_status.remove(&name);
            }
            StatusRecord::Task(name, task, Some(status)) => {
                self.task_status.entry(name).or_default().insert(task, status);
            }
            StatusRecord::Task(name, task, None) => {
                if let Some(tasks) = self.task_status.get_mut(&name) {
                    tasks.remove(&task);
                    if tasks.is_empty() {
                        self.task_status.remove(&name);
                    }
                }
            }
            StatusRecord::Topic(connector, topic, true) => {
                self.topics.entry(connector).or_default().insert(topic);
            }
            StatusRecord::Topic(connector, topic, false) => {
                if let Some(topics) = self.topics.get_mut(&connector) {
                    topics.remove(&topic);
                }
            }
            StatusRecord::Unknown => {}
        }
    }

    /// Fold in a record of the offsets topic.
    pub fn apply_offset(&mut self, record: OffsetRecord) {
        let offsets = self.offsets.entry(record.connector.clone()).or_default();
        let key = Value::Object(record.partition.clone()).to_string();
        match record.offset {
            Some(_) => offsets.insert(key, record),
            None => offsets.remove(&key),
        };
    }

    /// All connectors by name.
    pub fn connectors(&self) -> &BTreeMap<String, Connector> {
        &self.connectors
    }

    /// One connector.
    pub fn connector(&self, name: &str) -> Option<&Connector> {
        self.connectors.get(name)
    }

    /// What the connector is asked to be; started when nothing was asked.
    pub fn target(&self, name: &str) -> TargetState {
        self.targets.get(name).copied().unwrap_or_default()
    }

    /// The committed task configurations.
    pub fn tasks(&self, name: &str) -> &[Config] {
        self.tasks.get(name).map_or(&[], Vec::as_slice)
    }

    /// Published state of the connector.
    pub fn connector_status(&self, name: &str) -> Option<&Status> {
        self.connector_status.get(name)
    }

    /// Published state of one task.
    pub fn task_status(&self, name: &str, task: u32) -> Option<&Status> {
        self.task_status.get(name)?.get(&task)
    }

    /// Published states of the connector's tasks by number.
    pub fn task_statuses(&self, name: &str) -> impl Iterator<Item = (u32, &Status)> {
        self.task_status.get(name).into_iter().flatten().map(|(task, status)| (*task, status))
    }

    /// Who published something of which connector: connector and worker.
    pub fn workers(&self) -> impl Iterator<Item = (&str, &str)> {
        let tasks = self.task_status.iter().flat_map(|(name, tasks)| tasks.values().map(move |status| (name, status)));
        self.connector_status.iter().chain(tasks).map(|(name, status)| (name.as_str(), status.worker_id.as_str()))
    }

    /// Topics the connector used.
    pub fn topics(&self, name: &str) -> impl Iterator<Item = &str> {
        self.topics.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Source offsets of the connector.
    pub fn offsets(&self, name: &str) -> impl Iterator<Item = (&Map<String, Value>, &Map<String, Value>)> {
        let records = self.offsets.get(name).into_iter().flatten();
        records.filter_map(|(_, record)| Some((&record.partition, record.offset.as_ref()?)))
    }

    /// Restarts asked for since the last call.
    pub fn take_restarts(&mut self) -> Vec<(String, Restart)> {
        std::mem::take(&mut self.restarts)
    }

    /// Names that statuses or topics are published for although there is no such connector: its worker died
    /// between the deletion and forgetting them.
    pub fn orphans(&self) -> BTreeSet<String> {
        let published = self
            .connector_status
            .keys()
            .chain(self.task_status.keys())
            .chain(self.topics.iter().filter(|(_, topics)| !topics.is_empty()).map(|(name, _)| name));
        published.filter(|name| !self.connectors.contains_key(*name)).cloned().collect()
    }

    /// A generation above every published one, for a worker that starts now.
    pub fn next_generation(&self) -> i64 {
        let tasks = self.task_status.values().flat_map(BTreeMap::values);
        tasks.chain(self.connector_status.values()).map(|status| status.generation).max().unwrap_or(0) + 1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::records;

    fn config(value: &str) -> Config {
        Config::from([("x".to_owned(), value.to_owned())])
    }

    fn apply(state: &mut State, records: impl IntoIterator<Item = records::Record>) {
        for (key, value) in records {
            state.apply_config(records::parse_config(&key, value.as_ref().map(String::as_bytes)));
        }
    }

    #[test]
    fn task_configs_count_only_once_they_are_committed() {
        let mut state = State::default();
        apply(&mut state, [records::connector_record("a", &config("1")), records::task_record("a", 0, &config("t"))]);
        assert!(state.tasks("a").is_empty());
        apply(&mut state, [records::commit_record("a", 1)]);
        assert_eq!(state.tasks("a"), [config("t")]);
    }

    #[test]
    fn a_commit_with_a_missing_task_leaves_no_tasks() {
        let mut state = State::default();
        apply(&mut state, [records::task_record("a", 0, &config("t")), records::commit_record("a", 2)]);
        assert!(state.tasks("a").is_empty());
    }

    #[test]
    fn a_deleted_connector_leaves_nothing_behind() {
        let mut state = State::default();
        apply(
            &mut state,
            [
                records::connector_record("a", &config("1")),
                records::target_record("a", TargetState::Paused),
                records::task_record("a", 0, &config("t")),
                records::commit_record("a", 1),
            ],
        );
        assert_eq!(state.target("a"), TargetState::Paused);
        apply(&mut state, records::deletion_records("a"));
        assert!(state.connectors().is_empty() && state.tasks("a").is_empty());
        assert_eq!(state.target("a"), TargetState::Started);
    }

    #[test]
    fn an_initial_state_may_come_before_the_connector() {
        let mut state = State::default();
        apply(
            &mut state,
            [records::target_record("a", TargetState::Stopped), records::connector_record("a", &config("1"))],
        );
        assert_eq!(state.target("a"), TargetState::Stopped);
    }

    #[test]
    fn the_last_offset_of_a_partition_counts_and_a_tombstone_forgets_it() {
        let mut state = State::default();
        let key = br#"["a",{"server":"s"}]"#;
        for value in [Some(&b"{\"lsn\":1}"[..]), Some(b"{\"lsn\":2}"), None] {
            state.apply_offset(records::parse_offset(key, value).unwrap());
            let lsn = state.offsets("a").map(|(_, offset)| offset["lsn"].clone()).collect::<Vec<_>>();
            match value {
                Some(_) => assert_eq!(lsn.len(), 1),
                None => assert!(lsn.is_empty()),
            }
        }
    }
}
