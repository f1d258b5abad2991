//! Layouts by field and time, other formats, keys and headers: each record once, in its folder.

use crate::fixture::{FIRST_HOUR_MS, HOURS, WITH_TIME, World, avro_ids, json_ids, kind_of, time_of};

const HOURLY: [(&str, &str); 4] = [
    ("partitioner.class", "io.confluent.connect.storage.partitioner.HourlyPartitioner"),
    ("locale", "en-US"),
    ("timestamp.extractor", "RecordField"),
    ("timestamp.field", "at"),
];
const JSON: (&str, &str) = ("format.class", "io.confluent.connect.s3.format.json.JsonFormat");

fn hour_of(id: i64) -> Option<String> {
    let hour = 10 + (time_of(id) - FIRST_HOUR_MS) / 3_600_000;
    Some(format!("year=2026/month=06/day=30/hour={hour}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn late_data_stay_in_few_files_of_their_hours() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    let mut changes = HOURLY.to_vec();
    changes.extend([("flush.size", "100"), ("rotate.schedule.interval.ms", "-1"), ("rotate.interval.ms", "1500")]);
    world.register(&sink, &changes).await;
    for _ in 0..10 {
        world.send(90, WITH_TIME, true);
    }
    world.check_layout(avro_ids, hour_of).await;
    world.check_plans().await;
    let files = world.keys().await.len() as u64;
    // A file for each change of the hour would be one for each third record.
    assert!(files <= world.sent_count() / 100 * HOURS as u64 + 3 * 3 * HOURS as u64, "{files} files");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lies_by_field_with_keys_and_headers_beside() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    let changes = [
        JSON,
        ("partitioner.class", "io.confluent.connect.storage.partitioner.FieldPartitioner"),
        ("partition.field.name", "kind"),
        ("store.kafka.keys", "true"),
        ("keys.format.class", JSON.1),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("store.kafka.headers", "true"),
        ("headers.format.class", JSON.1),
    ];
    world.register(&sink, &changes).await;
    world.send(90, WITH_TIME, true);
    let folder = |id: i64| Some(if id % 5 == 0 { "kind=null".into() } else { format!("kind={}", kind_of(id)) });
    world.check_layout(json_ids, folder).await;
    world.check_plans().await;
    for key in world.keys().await.iter().filter(|key| key.ends_with(".keys.json")) {
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let keys = text(world.store.get(key).await.unwrap());
        let values = world.store.get(&key.replace(".keys.", ".")).await.unwrap();
        let expected: String = json_ids(&values).iter().map(|id| format!("\"key {id}\"\n")).collect();
        assert_eq!(keys, expected, "{key}");
        let headers = text(world.store.get(&key.replace(".keys.", ".headers.")).await.unwrap());
        let expected: String = json_ids(&values)
            .iter()
            .map(|id| format!("{{\"headers\":[{{\"key\":\"h\",\"value\":\"key {id}\"}}]}}\n"))
            .collect();
        assert_eq!(headers, expected, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reset_makes_no_new_objects_and_deleted_ones_again() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    let mut changes = HOURLY.to_vec();
    changes.push(("flush.size", "20"));
    world.register(&sink, &changes).await;
    for _ in 0..4 {
        world.send(90, WITH_TIME, true);
    }
    world.check_layout(avro_ids, hour_of).await;
    world.check_plans().await;
    let before = world.keys().await;
    assert_eq!(world.call(&sink, reqwest::Method::DELETE, "").await, 204);
    for key in before.iter().step_by(4) {
        world.store.delete(key).await.unwrap();
    }
    world.reset_group().await;
    // Other rotation: the plans say what is made.
    changes.push(("flush.size", "7"));
    world.register(&sink, &changes).await;
    world.check_layout(avro_ids, hour_of).await;
    world.check_plans().await;
    assert_eq!(world.keys().await, before, "the same under the same names");
}
