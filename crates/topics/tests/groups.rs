//! Groups: rebalances as events, commits that hold, offsets changed from outside.

use std::cell::RefCell;
use std::collections::BTreeSet;

use topics::{
    Admin, AdminError, Cluster, Consumer, ConsumerSettings, Event, Offset, OwnedRecord, Producer, ProducerSettings,
    RecordOut, ResetTo, StartAt, TopicPartition,
};

use super::{DEADLINE, cluster, fresh_topic, values};

async fn fill(cluster: &Cluster, topic: &str, count: usize) {
    let producer = Producer::new(cluster, &ProducerSettings::default()).unwrap();
    let sends = (0..count).map(|number| {
        let producer = &producer;
        async move {
            let text = number.to_string();
            producer.send(RecordOut::to(topic).key(text.as_bytes()).value(text.as_bytes())).await.unwrap()
        }
    });
    futures::future::join_all(sends).await;
}

fn member(cluster: &Cluster, group: &str, topic: &str) -> Consumer {
    Consumer::subscribe(cluster, group, &[topic], &ConsumerSettings::default()).unwrap()
}

/// Polls until `count` records came; returns them and the partitions assigned on the way.
async fn poll(consumer: &Consumer, count: usize) -> (Vec<OwnedRecord>, BTreeSet<TopicPartition>) {
    let (mut records, mut assigned) = (Vec::new(), BTreeSet::new());
    while records.len() < count {
        match tokio::time::timeout(DEADLINE, consumer.next()).await.expect("an event in time").unwrap() {
            Event::Record(record) => records.push(record.to_owned()),
            Event::Assigned(partitions) => assigned.extend(partitions),
            Event::Revoked { .. } | Event::End(_) => {}
        }
    }
    (records, assigned)
}

fn next_offsets(records: &[OwnedRecord]) -> Vec<(TopicPartition, Offset)> {
    let mut next = std::collections::BTreeMap::new();
    for record in records {
        next.insert(TopicPartition::new(record.topic.as_ref(), record.partition.0), record.offset.next());
    }
    next.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_goes_on_where_the_group_committed() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 3).await;
    let group = testkit::fresh_name("group");
    fill(&cluster, &topic, 50).await;
    let first = member(&cluster, &group, &topic);
    let (records, assigned) = poll(&first, 50).await;
    assert_eq!(assigned.len(), 3);
    first.commit(&next_offsets(&records)).unwrap();
    drop(first);
    fill(&cluster, &topic, 10).await;
    let (records, _) = poll(&member(&cluster, &group, &topic), 10).await;
    let mut numbers = values(&records);
    numbers.sort();
    assert_eq!(numbers, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assigned_partition_can_start_elsewhere_than_committed() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    fill(&cluster, &topic, 10).await;
    let consumer = member(&cluster, &testkit::fresh_name("group"), &topic);
    loop {
        match tokio::time::timeout(DEADLINE, consumer.next()).await.unwrap().unwrap() {
            Event::Assigned(partitions) => consumer.start_at(partitions[0].clone(), StartAt::Offset(Offset(7))),
            Event::Record(record) => return assert_eq!(record.offset(), Offset(7)),
            Event::Revoked { .. } | Event::End(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_takes_over_part_and_what_the_first_commits_while_being_revoked_counts() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 2).await;
    let group = testkit::fresh_name("group");
    fill(&cluster, &topic, 40).await;
    let first = member(&cluster, &group, &topic);
    let (records, assigned) = poll(&first, 40).await;
    assert_eq!(assigned.len(), 2);

    let second = member(&cluster, &group, &topic);
    let revoked = RefCell::new(Vec::new());
    let going_on = async {
        loop {
            if let Event::Revoked { partitions, lost } = first.next().await.unwrap() {
                assert!(!lost);
                let offsets: Vec<_> =
                    next_offsets(&records).into_iter().filter(|(at, _)| partitions.contains(at)).collect();
                first.commit(&offsets).unwrap();
                revoked.replace(partitions);
            }
        }
    };
    let taking_over = async {
        loop {
            match second.next().await.unwrap() {
                Event::Assigned(partitions) if !partitions.is_empty() => return partitions,
                Event::Record(record) => panic!("{record:?} was committed by the first member"),
                Event::Assigned(_) | Event::Revoked { .. } | Event::End(_) => {}
            }
        }
    };
    let taken = tokio::select! {
        () = going_on => unreachable!(),
        taken = tokio::time::timeout(DEADLINE, taking_over) => taken.expect("an assignment in time"),
    };
    let revoked = revoked.take();
    assert_eq!(revoked, taken);
    let committed = second.committed(&taken).unwrap();
    assert!(committed.values().all(Option::is_some), "{committed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_reset_while_nobody_is_in_the_group_and_refused_otherwise() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let group = testkit::fresh_name("group");
    fill(&cluster, &topic, 10).await;
    let admin = Admin::new(&cluster).unwrap();
    let partitions = admin.partitions(&topic).await.unwrap();

    let consumer = member(&cluster, &group, &topic);
    let (records, _) = poll(&consumer, 10).await;
    consumer.commit(&next_offsets(&records)).unwrap();
    let refused = admin.reset_group(&group, partitions.clone(), ResetTo::Earliest, true).await.unwrap_err();
    assert!(matches!(refused, AdminError::GroupActive { members: 1, .. }), "{refused}");
    let described = admin.group(&group).await.unwrap();
    assert_eq!((described.state.as_str(), described.members.len()), ("Stable", 1));
    assert_eq!(described.members[0].partitions, partitions);
    drop(consumer);

    let planned = admin.reset_group(&group, partitions.clone(), ResetTo::Earliest, false).await.unwrap();
    assert_eq!((planned[0].from, planned[0].to), (Some(Offset(10)), Offset(0)));
    assert_eq!(admin.group_offsets(&group).await.unwrap()[0].lag(), 0);
    for (to, lag) in [(ResetTo::Earliest, 10), (ResetTo::Offset(Offset(4)), 6), (ResetTo::Latest, 0)] {
        admin.reset_group(&group, partitions.clone(), to, true).await.unwrap();
        assert_eq!(admin.group_offsets(&group).await.unwrap()[0].lag(), lag);
    }
    assert!(admin.groups().await.unwrap().iter().any(|listed| listed.group == group && listed.members == 0));
    assert!(admin.delete_group(&group).await.unwrap());
    assert!(admin.group_offsets(&group).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_partition_gives_no_records_until_it_is_resumed_or_sought() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    fill(&cluster, &topic, 20).await;
    let at = TopicPartition::new(topic.as_str(), 0);
    let consumer =
        Consumer::assign(&cluster, &[(at.clone(), StartAt::Earliest)], &ConsumerSettings::default()).unwrap();
    let (records, _) = poll(&consumer, 5).await;
    assert_eq!(records[4].offset, Offset(4));
    consumer.pause(std::slice::from_ref(&at)).unwrap();
    assert!(consumer.try_next().is_none());
    consumer.resume(std::slice::from_ref(&at)).unwrap();
    assert_eq!(poll(&consumer, 1).await.0[0].offset, Offset(5));
    consumer.seek(&at, StartAt::Offset(Offset(2))).unwrap();
    assert_eq!(poll(&consumer, 1).await.0[0].offset, Offset(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_in_the_log_is_an_error_and_no_silent_jump() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    fill(&cluster, &topic, 3).await;
    let at = TopicPartition::new(topic.as_str(), 0);
    let start = StartAt::Offset(Offset(100));
    let consumer = Consumer::assign(&cluster, &[(at, start)], &ConsumerSettings::default()).unwrap();
    let error = tokio::time::timeout(DEADLINE, consumer.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, topics::ConsumeError::PositionLost { .. }), "{error}");
}
