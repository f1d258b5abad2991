//! Records that cannot be taken: passed over and kept as dead letters, while the others arrive once.

use std::time::Duration;

use testkit::{fresh_name, kafka, wait_until};
use topics::{Cluster, read_to_end};

use crate::fixture::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_is_a_dead_letter_and_the_others_arrive_once() {
    let mut world = World::new().await;
    let (sink, dead) = (world.sink(&[]).await, fresh_name("dead"));
    let tolerant = [
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", dead.as_str()),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
    ];
    world.register(&sink, &tolerant).await;
    world.send(3, 0, true);
    world.send_tombstone();
    world.send(3, 0, true);
    world.check().await;
    world.check_committed().await;
    let cluster = Cluster::new(&kafka().await.bootstrap, "sink-test");
    let letter = wait_until("the dead letter is kept", Duration::from_secs(30), async || {
        read_to_end(&cluster, &dead).await.ok()?.into_iter().next()
    })
    .await;
    assert_eq!((letter.key.as_deref(), letter.value), (Some(&b"k"[..]), None));
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.clone());
        String::from_utf8(found.unwrap_or_default()).unwrap()
    };
    assert_eq!(header("__connect.errors.topic"), world.topic);
    assert_eq!(header("__connect.errors.partition"), "0");
    assert!(header("__connect.errors.exception.message").contains("behavior.on.null.values"));
}
