//! What real clients and other registries wrote is answered and taken over.

use std::collections::HashMap;

use serde_json::{Value, json};
use topics::{Cluster, Headers, Producer, ProducerSettings, RecordOut, TopicPlan};

use super::{Registry, golden};

#[tokio::test(flavor = "multi_thread")]
async fn avro_converters_requests_get_the_ids_they_got_when_recorded_and_the_texts_come_back_verbatim() {
    let registry = Registry::start(&testkit::fresh_name("schemas")).await;
    let traffic = golden("registry-traffic/avroconverter.jsonl");
    assert_eq!(traffic.len(), 54);
    let mut texts = HashMap::new();
    for exchange in &traffic {
        let body: Value = serde_json::from_str(exchange["request_body"].as_str().unwrap()).unwrap();
        let answer = registry.post(exchange["path"].as_str().unwrap(), body.clone()).await;
        let recorded: Value = serde_json::from_str(exchange["response_body"].as_str().unwrap()).unwrap();
        assert_eq!(answer.status, 200, "{}: {}", exchange["path"], answer.body);
        assert_eq!(answer.content_type, "application/vnd.schemaregistry.v1+json");
        assert_eq!(answer.body, recorded, "{}", exchange["path"]);
        texts.insert(recorded["id"].as_u64().unwrap(), body["schema"].as_str().unwrap().to_owned());
    }
    for (id, text) in texts {
        assert_eq!(registry.get(&format!("/schemas/ids/{id}")).await.body, json!({ "schema": text }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_name_with_a_hyphen_is_no_reason_to_refuse() {
    let registry = Registry::start(&testkit::fresh_name("schemas")).await;
    let traffic = golden("registry-traffic/hyphen-table/karapace-rejects-namespace.jsonl");
    let refused = traffic.iter().find(|exchange| exchange["status"] == 422).unwrap();
    let body: Value = serde_json::from_str(refused["request_body"].as_str().unwrap()).unwrap();
    let answer = registry.post(refused["path"].as_str().unwrap(), body).await;
    assert_eq!((answer.status, answer.body), (200, json!({"id": 1})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_another_registry_wrote_is_taken_over() {
    let topic = testkit::fresh_name("schemas");
    let cluster = Cluster::new(&testkit::kafka().await.bootstrap, "test");
    topics::Admin::new(&cluster).unwrap().create_topic(&TopicPlan::new(&topic, 1).compacted()).await.unwrap();
    let producer = Producer::new(&cluster, &ProducerSettings::default()).unwrap();
    let records = golden("topics/_schemas.jsonl");
    for record in &records {
        let (key, value) = (bytes(&record["key_hex"]), bytes(&record["value_hex"]));
        let headers: Headers = record["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| (header[0].as_str().unwrap().to_owned(), Some(bytes(&header[1]["hex"]))))
            .collect();
        producer.send(RecordOut::to(&topic).key(&key).value(&value).headers(&headers)).await.unwrap();
    }
    let registry = Registry::start(&topic).await;
    let mut id_max = 0;
    for record in &records {
        let value = &record["value"];
        let path = format!("/subjects/{}/versions/{}", value["subject"].as_str().unwrap(), value["version"]);
        let answer = registry.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!((&answer.body["id"], &answer.body["schema"]), (&value["id"], &value["schema"]));
        id_max = id_max.max(value["id"].as_u64().unwrap());
    }
    assert_eq!(registry.register("new", r#""string""#).await.body, json!({"id": id_max + 1}));
    // What the converter posts is the same schema as what the other registry keeps with sorted keys.
    let traffic = golden("registry-traffic/avroconverter.jsonl");
    let body: Value = serde_json::from_str(traffic[0]["request_body"].as_str().unwrap()).unwrap();
    assert_eq!(registry.post(traffic[0]["path"].as_str().unwrap(), body).await.body, json!({"id": 1}));
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
