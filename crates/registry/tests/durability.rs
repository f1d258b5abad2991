//! What survives kills, and that two instances are one registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::json;

use super::{DEADLINE, Registry, schema};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let topic = testkit::fresh_name("schemas");
    let mut registry = Registry::start(&topic).await;
    for number in 0..5 {
        assert_eq!(registry.register("a", &schema(number)).await.status, 200);
    }
    registry.ask(reqwest::Method::PUT, "/config/a", Some(json!({"compatibility": "FULL"}))).await;
    registry.ask(reqwest::Method::DELETE, "/subjects/a/versions/2", None).await;
    let paths = ["/schemas?deleted=true", "/config/a", "/subjects/a/versions", "/subjects/a/versions?deleted=true"];
    let mut before = Vec::new();
    for path in paths {
        before.push(registry.get(path).await.body);
    }
    let port = registry.port;
    registry.binary.kill().await;
    let registry = Registry::start_on(&topic, port).await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(registry.get(path).await.body, before, "{path}");
    }
    assert_eq!(registry.register("a", &schema(9)).await.body, json!({"id": 6}));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_registrations_no_answered_id_is_lost_or_given_twice() {
    let topic = testkit::fresh_name("schemas");
    let mut answered: HashMap<u64, usize> = HashMap::new();
    let port = testkit::free_port();
    for round in 0..3 {
        let mut registry = Registry::start_on(&topic, port).await;
        let url = format!("http://127.0.0.1:{port}");
        let writer = tokio::spawn(async move {
            let (http, mut got) = (reqwest::Client::new(), Vec::new());
            for number in round * 1000.. {
                // Each its own subject, so that nothing but the id is at stake.
                let path = format!("{url}/subjects/s{number}/versions");
                let schema = json!({ "schema": fixed(number) }).to_string();
                let Ok(answer) = http.post(path).body(schema).send().await else { return got };
                let Ok(text) = answer.text().await else { return got };
                let body: serde_json::Value = serde_json::from_str(&text).unwrap();
                let Some(id) = body["id"].as_u64() else { return got };
                got.push((id, number));
            }
            got
        });
        let registered = format!("/subjects/s{}/versions/1", round * 1000 + 8);
        testkit::wait_until("some registrations", DEADLINE, async || registry.get(&registered).await.status == 200)
            .await;
        registry.binary.kill().await;
        for (id, number) in writer.await.unwrap() {
            assert_eq!(answered.insert(id, number), None, "id {id} was given twice");
        }
    }
    let registry = Registry::start_on(&topic, port).await;
    for (id, number) in answered {
        assert_eq!(registry.get(&format!("/schemas/ids/{id}")).await.body["schema"], json!(fixed(number)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_never_give_one_id_to_two_schemas_and_the_second_takes_over() {
    let topic = testkit::fresh_name("schemas");
    let mut first = Registry::start(&topic).await;
    // Makes sure that the first leads.
    assert_eq!(first.register("first", &fixed(0)).await.status, 200);
    let second = Arc::new(Registry::start(&topic).await);
    let mut given = BTreeMap::new();
    for number in 1..20 {
        let registry = if number % 2 == 0 { &first } else { &*second };
        let answer = registry.register(&format!("s{number}"), &fixed(number)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(given.insert(answer.body["id"].as_u64().unwrap(), number), None);
    }
    testkit::wait_until("both know all subjects", DEADLINE, async || {
        let subjects = first.get("/subjects").await.body;
        subjects.as_array().unwrap().len() == 20 && subjects == second.get("/subjects").await.body
    })
    .await;
    first.binary.kill().await;
    assert_eq!(second.get("/subjects/s1/versions").await.body, json!([1]), "reads go on at once");
    let answer = testkit::wait_until("the second leads", DEADLINE, async || {
        let answer = second.register("after", &fixed(99)).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert!(given.insert(answer.body["id"].as_u64().unwrap(), 99).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_registrations_of_one_schema_agree_on_one_id() {
    let registry = Arc::new(Registry::start(&testkit::fresh_name("schemas")).await);
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move { registry.register(&format!("s{}", number % 4), &fixed(7)).await.body })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), json!({"id": 1}));
    }
    assert_eq!(registry.get("/subjects/s0/versions").await.body, json!([1]));
}

fn fixed(number: usize) -> String {
    format!(r#"{{"type":"fixed","name":"F{number}","size":{}}}"#, number + 1)
}
