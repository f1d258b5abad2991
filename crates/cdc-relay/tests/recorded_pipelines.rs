//! Transformations and converters against what they made of the same statements with real Debezium.

use std::collections::BTreeMap;

use serde_json::Value;
use topics::OwnedRecord;

use crate::{
    golden::{bytes, execute, golden},
    recorded::prepare,
    rig::Rig,
};

/// Connector, topic, and whether its records tell time or place in the log behind their rows.
const TOPICS: [(&str, &str, bool); 19] = [
    ("unwr", "unwr.public.people", false),
    ("unwr", "unwr.public.plain", false),
    ("unwr", "unwr.public.sh_1", false),
    ("unw2", "unw2.public.plain", true),
    ("unw3", "unw3.public.people", true),
    ("unw3", "unw3.public.plain", true),
    ("outb", "outbox.event.order", false),
    ("outb", "outbox.event.customer", false),
    ("out2", "out2.order.ev", false),
    ("out2", "out2.customer.ev", false),
    ("rout", "rout.public.all_shards", true),
    ("rout", "renamed-people", true),
    ("jsch", "jsch.public.people", true),
    ("jsch", "jsch.public.plain", true),
    ("jsch", "jsch.public.sh_1", true),
    ("jnos", "jnos.public.people", true),
    ("jnos", "jnos.public.plain", true),
    ("jnos", "jnos.public.nodef", true),
    ("jnos", "jnos.public.sh_1", true),
];

/// Key, value and further headers, without what is different in every run.
#[derive(Debug, PartialEq)]
struct Part {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<String>)>,
}

/// Everything before the source, which is the first thing that names the run.
fn stable(value: Vec<u8>, varies: bool) -> Vec<u8> {
    let marks: [&[u8]; 6] = [
        b"\x163.6.3.Final",
        br#","source":{"version""#,
        br#","meta_source_lsn""#,
        br#","__source_ts_ms""#,
        b"\x0a\x66alse\x02",
        b"\x08true\x02",
    ];
    let end = marks.iter().filter_map(|mark| value.windows(mark.len()).position(|part| part == *mark)).min();
    match end {
        Some(end) if varies => value[..end].to_vec(),
        _ => value,
    }
}

fn headers(all: impl Iterator<Item = (String, Option<String>)>) -> Vec<(String, Option<String>)> {
    all.filter(|(name, _)| !name.starts_with("__debezium.context"))
        .map(|(name, value)| if name == "__source_txId" { (name, None) } else { (name, value) })
        .collect()
}

fn recorded(topic: &str, varies: bool) -> Vec<Part> {
    let part = |part: &Value| match (part["hex"].as_str(), part["text"].as_str()) {
        (Some(hex), _) => Some(bytes(hex)),
        (None, text) => text.map(|text| text.as_bytes().to_vec()),
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    golden(&format!("modes/messages/{topic}.jsonl"))
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|record| Part {
            key: part(&record["key"]),
            value: part(&record["value"]).map(|value| stable(value, varies)),
            headers: headers(
                record["headers"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|header| (text(&header[0]).unwrap(), text(&header[1]))),
            ),
        })
        .collect()
}

/// Avro without magic and schema id; JSON as it is.
fn unframed(bytes: &[u8]) -> Vec<u8> {
    if bytes.first() == Some(&0) { bytes[5..].to_vec() } else { bytes.to_vec() }
}

fn written(records: &[OwnedRecord], varies: bool) -> Vec<Part> {
    let text = |value: &Option<Vec<u8>>| value.as_ref().map(|value| String::from_utf8(value.clone()).unwrap());
    records
        .iter()
        .map(|record| Part {
            key: record.key.as_deref().map(unframed),
            value: record.value.as_deref().map(|value| stable(unframed(value), varies)),
            headers: headers(record.headers.iter().map(|(name, value)| (name.clone(), text(value)))),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn transformed_records_are_what_debezium_wrote() {
    let rig = Rig::start().await;
    prepare(&rig).await;
    let settings: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(&golden("modes/connectors.json")).unwrap();
    let mut connectors: Vec<&str> = TOPICS.iter().map(|(connector, ..)| *connector).collect();
    connectors.dedup();
    for connector in &connectors {
        let mut changes: Vec<_> =
            settings[*connector].iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        changes.push(("topic.creation.default.partitions", "1"));
        // Two readers may read two tables of one topic in any order.
        changes.push(("snapshot.max.threads", "1"));
        rig.connect_as(connector, &changes).await;
    }
    execute(&rig, "modes/stream.sql").await;
    for connector in &connectors {
        rig.wait_until_slot_drained(connector).await;
    }
    let mut different = Vec::new();
    for (_, topic, varies) in TOPICS {
        let (expected, found) = (recorded(topic, varies), written(&rig.topic_records(topic).await, varies));
        if expected != found {
            let first = expected.iter().zip(&found).position(|(a, b)| a != b);
            let shown = |part: &Part| {
                let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| bytes.escape_ascii().to_string());
                format!("{:?} {:?} {:?}", text(&part.key), text(&part.value), part.headers)
            };
            let shown = first.map(|at| format!("record {at}:\n  {}\n  {}", shown(&found[at]), shown(&expected[at])));
            different.push(format!("{topic}: {} of {}; {}", found.len(), expected.len(), shown.unwrap_or_default()));
        }
    }
    assert!(different.is_empty(), "{}\n{}", different.join("\n"), rig.relay.log_tail());
    rig.clean().await;
}
