//! Metrics under the names that people know from Kafka Connect: those which the usual rules of Prometheus' JMX exporter
//! make of its beans. What states are is rendered from the picture when asked for, so nothing stale is left of a
//! connector that is gone; what is counted is counted by the tasks.

use std::fmt::Write as _;

use crate::state::State;

/// States of tasks that are counted per connector.
const STATES: [&str; 6] = ["running", "paused", "failed", "restarting", "unassigned", "destroyed"];

/// The gauges of one worker, as Prometheus reads them.
pub fn render(state: &State, worker_id: &str) -> String {
    let mut out = String::new();
    let tasks: Vec<(&str, u32, String)> = state
        .connectors()
        .keys()
        .flat_map(|name| state.task_statuses(name).map(move |(task, status)| (name, task, status)))
        .filter(|(.., status)| status.worker_id == worker_id)
        .map(|(name, task, status)| (name.as_str(), task, status.state.to_lowercase()))
        .collect();
    let connectors: Vec<(&str, String)> = state
        .connectors()
        .keys()
        .filter_map(|name| Some((name.as_str(), state.connector_status(name)?)))
        .filter(|(_, status)| status.worker_id == worker_id)
        .map(|(name, status)| (name, status.state.to_lowercase()))
        .collect();
    sample(&mut out, "kafka_connect_version_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    sample(&mut out, "kafka_connect_worker_connector_count", &[], connectors.len());
    sample(&mut out, "kafka_connect_worker_task_count", &[], tasks.len());
    for (name, status) in &connectors {
        sample(&mut out, "kafka_connect_connector_metrics_status", &[("connector", name), ("status", status)], 1);
        let of_connector = || tasks.iter().filter(|(owner, ..)| owner == name);
        sample(
            &mut out,
            "kafka_connect_worker_connector_total_task_count",
            &[("connector", name)],
            of_connector().count(),
        );
        for counted in STATES {
            let count = of_connector().filter(|(.., state)| state == counted).count();
            by_state(&mut out, counted, name, count);
        }
    }
    for (name, task, status) in &tasks {
        let labels = [("connector", *name), ("task", &task.to_string()), ("status", status)];
        sample(&mut out, "kafka_connect_connector_status", &labels, 1);
    }
    out
}

fn by_state(out: &mut String, state: &str, connector: &str, count: usize) {
    let labels = [("connector", connector)];
    match state {
        "running" => sample(out, "kafka_connect_worker_connector_running_task_count", &labels, count),
        "paused" => sample(out, "kafka_connect_worker_connector_paused_task_count", &labels, count),
        "failed" => sample(out, "kafka_connect_worker_connector_failed_task_count", &labels, count),
        "restarting" => sample(out, "kafka_connect_worker_connector_restarting_task_count", &labels, count),
        "unassigned" => sample(out, "kafka_connect_worker_connector_unassigned_task_count", &labels, count),
        _ => sample(out, "kafka_connect_worker_connector_destroyed_task_count", &labels, count),
    }
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: usize) {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name}{labels} {value}");
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::records::{self, Status};

    fn status(state: &str, worker_id: &str) -> Status {
        Status { state: state.into(), trace: None, worker_id: worker_id.into(), generation: 1, version: None }
    }

    #[test]
    fn tasks_of_this_worker_are_counted_by_state_and_gone_ones_leave_nothing() {
        let mut state = State::default();
        let mut put = |(key, value): records::Record| {
            if key.starts_with("status-") {
                state.apply_status(records::parse_status(&key, value.as_ref().map(String::as_bytes)));
            } else {
                state.apply_config(records::parse_config(&key, value.as_ref().map(String::as_bytes)));
            }
        };
        put(records::connector_record("a\"b", &crate::plugin::Config::new()));
        put(records::connector_status_record("a\"b", Some(&status("RUNNING", "me:1"))));
        put(records::task_status_record("a\"b", 0, Some(&status("RUNNING", "me:1"))));
        put(records::task_status_record("a\"b", 1, Some(&status("FAILED", "me:1"))));
        put(records::task_status_record("a\"b", 2, Some(&status("RUNNING", "other:1"))));
        put(records::task_status_record("gone", 0, Some(&status("RUNNING", "me:1"))));
        let text = render(&state, "me:1");
        for line in [
            "kafka_connect_worker_task_count 2",
            r#"kafka_connect_worker_connector_running_task_count{connector="a\"b"} 1"#,
            r#"kafka_connect_worker_connector_failed_task_count{connector="a\"b"} 1"#,
            r#"kafka_connect_connector_status{connector="a\"b",task="1",status="failed"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("gone"), "{text}");
    }
}
