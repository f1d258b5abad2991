//! Topics are created once, described, and checked.

use std::time::Duration;

use topics::{Admin, AdminError, TopicPlan};

use super::{DEADLINE, cluster};

#[tokio::test]
async fn creating_a_topic_twice_leaves_the_first_as_it_is() {
    let cluster = cluster().await;
    let admin = Admin::new(&cluster).unwrap();
    let name = testkit::fresh_name("topics_test");
    let plan = TopicPlan::new(&name, 3).compacted().with("max.message.bytes", "2000000");
    assert!(admin.create_topic(&plan).await.unwrap());
    assert!(!admin.create_topic(&TopicPlan::new(&name, 5)).await.unwrap());
    let topic = admin.topic(&name).await.unwrap().unwrap();
    assert_eq!((topic.partitions, topic.replication), (3, 1));
    let own = admin.topic_config_own(&name).await.unwrap();
    assert_eq!(own.get("cleanup.policy").map(String::as_str), Some("compact"));
    assert_eq!(own.get("max.message.bytes").map(String::as_str), Some("2000000"));
    assert!(admin.topic_config(&name).await.unwrap().len() > own.len());
    assert!(admin.delete_topic(&name).await.unwrap());
    testkit::wait_until("the topic is gone", DEADLINE, async || admin.topic(&name).await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_state_topic_that_expires_records_is_refused() {
    let cluster = cluster().await;
    let admin = Admin::new(&cluster).unwrap();
    let name = testkit::fresh_name("topics_test");
    admin.create_topic(&TopicPlan::new(&name, 1)).await.unwrap();
    let error = admin.ensure_compacted(TopicPlan::new(&name, 1)).await.unwrap_err();
    assert!(matches!(&error, AdminError::TopicDiffers { topic, .. } if *topic == name), "{error}");
    let fresh = testkit::fresh_name("topics_test");
    admin.ensure_compacted(TopicPlan::new(&fresh, 1)).await.unwrap();
    admin.ensure_compacted(TopicPlan::new(&fresh, 1)).await.unwrap();
}

#[tokio::test]
async fn an_unknown_topic_and_an_unknown_group_are_told_apart_from_empty_ones() {
    let cluster = cluster().await;
    let admin = Admin::new(&cluster).unwrap();
    let name = testkit::fresh_name("no_such");
    assert!(matches!(admin.watermarks(&name).await, Err(AdminError::UnknownTopic { .. })));
    assert!(matches!(admin.topic_config(&name).await, Err(AdminError::UnknownTopic { .. })));
    assert_eq!(admin.group(&name).await.unwrap().state, "Dead");
    // A broker that has just started still loads the coordinator of the group: that passes.
    let deleted = testkit::wait_until("the coordinator is loaded", Duration::from_secs(30), async || {
        match admin.delete_group(&name).await {
            Err(AdminError::Retry { .. }) => None,
            answer => Some(answer.unwrap()),
        }
    });
    assert!(!deleted.await);
}
