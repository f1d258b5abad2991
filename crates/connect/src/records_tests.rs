//! Tests of the record formats against what a JVM worker wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn golden(topic: &str) -> Vec<(String, Option<Vec<u8>>)> {
    let path = format!("{}/../../tests/golden/topics/{topic}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    };
    let record = |line: &str| {
        let json: Value = serde_json::from_str(line).unwrap();
        let key = String::from_utf8(unhex(json["key_hex"].as_str().unwrap())).unwrap();
        (key, json["value_hex"].as_str().map(unhex))
    };
    text.lines().map(record).collect()
}

fn same_json(ours: &Record, theirs: &(String, Option<Vec<u8>>)) {
    assert_eq!(ours.0, theirs.0);
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(
        ours.1.as_ref().map(|text| parse(text.as_bytes())),
        theirs.1.as_ref().map(|bytes| parse(bytes)),
        "{}",
        ours.0
    );
}

#[test]
fn every_config_record_of_a_jvm_worker_is_read_and_written_back_the_same() {
    let mut known = 0;
    for record in golden("connect_configs") {
        let ours = match parse_config(&record.0, record.1.as_deref()) {
            ConfigRecord::Connector(name, Some(config)) => connector_record(&name, &config),
            ConfigRecord::Connector(name, None) => deletion_records(&name)[0].clone(),
            ConfigRecord::Target(name, Some(state)) => target_record(&name, state),
            ConfigRecord::Target(name, None) => deletion_records(&name)[1].clone(),
            ConfigRecord::Task(name, task, Some(config)) => task_record(&name, task as usize, &config),
            ConfigRecord::Commit(name, tasks) => commit_record(&name, tasks as usize),
            ConfigRecord::Restart(name, restart) => restart_record(&name, restart),
            ConfigRecord::Task(_, _, None) | ConfigRecord::Logger(..) | ConfigRecord::Unknown => {
                assert_eq!(record.0, "session-key");
                continue;
            }
        };
        same_json(&ours, &record);
        known += 1;
    }
    assert!(known > 25, "{known}");
}

#[test]
fn every_status_record_of_a_jvm_worker_is_read_and_written_back_the_same() {
    for record in golden("connect_statuses") {
        let ours = match parse_status(&record.0, record.1.as_deref()) {
            StatusRecord::Connector(name, status) => connector_status_record(&name, status.as_ref()),
            StatusRecord::Task(name, task, status) => task_status_record(&name, task, status.as_ref()),
            StatusRecord::Topic(connector, topic, used) => {
                let at = used.then(|| {
                    let json: Value = serde_json::from_slice(record.1.as_ref().unwrap()).unwrap();
                    json["topic"]["discoverTimestamp"].as_i64().unwrap()
                });
                topic_record(&connector, &topic, at.map(|at| (0, at)))
            }
            StatusRecord::Unknown => panic!("{}", record.0),
        };
        same_json(&ours, &record);
    }
}

#[test]
fn every_offset_record_of_a_jvm_worker_is_read_and_written_back_byte_for_byte() {
    for (key, value) in golden("connect_offsets") {
        let offset = parse_offset(key.as_bytes(), value.as_deref()).unwrap();
        let (our_key, our_value) = offset.record();
        assert_eq!(our_key, key);
        assert_eq!(our_value.map(String::into_bytes), value);
    }
}

#[test]
fn a_connector_whose_name_holds_hyphens_and_digits_keeps_its_name() {
    assert_eq!(
        parse_config("task-a-1-2", Some(b"{\"properties\":{}}")),
        ConfigRecord::Task("a-1".into(), 2, Some(Config::new()))
    );
    assert!(matches!(parse_status("status-task-a-1-2", None), StatusRecord::Task(name, 2, None) if name == "a-1"));
}

#[test]
fn a_level_for_the_whole_cluster_is_read_back_as_it_was_written() {
    let (key, value) = logger_record("io.debezium", "DEBUG");
    assert_eq!((key.as_str(), value.as_deref()), ("logger-cluster-io.debezium", Some(r#"{"level":"DEBUG"}"#)));
    let read = parse_config(&key, value.as_ref().map(String::as_bytes));
    assert_eq!(read, ConfigRecord::Logger("io.debezium".into(), "DEBUG".into()));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(key in ".{0,60}", value in prop::option::of(prop::collection::vec(any::<u8>(), 0..60))) {
        let _ = parse_config(&key, value.as_deref());
        let _ = parse_status(&key, value.as_deref());
        let _ = parse_offset(key.as_bytes(), value.as_deref());
        for prefix in ["connector-", "task-", "commit-", "status-task-", "status-topic-", "restart-connector-"] {
            let _ = parse_config(&format!("{prefix}{key}"), value.as_deref());
            let _ = parse_status(&format!("{prefix}{key}"), value.as_deref());
        }
    }
}
