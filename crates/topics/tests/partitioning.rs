//! Keys land in the partition Java's producer would choose, or they would move when engines are swapped.

use topics::{Producer, ProducerSettings, RecordOut};

use super::{cluster, fresh_topic};

/// Keys and their murmur2 from the tests of Apache Kafka's Java client.
const VECTORS: [(&str, i32); 6] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ("abc", 479_470_107),
];

#[tokio::test]
async fn keys_are_partitioned_as_by_javas_default_partitioner() {
    let cluster = cluster().await;
    let partitions = 97;
    let topic = fresh_topic(&cluster, partitions).await;
    let producer = Producer::new(&cluster, &ProducerSettings::default()).unwrap();
    for (key, murmur2) in VECTORS {
        let delivered = producer.send(RecordOut::to(&topic).key(key.as_bytes()).value(b"v")).await.unwrap();
        assert_eq!(delivered.partition.0, (murmur2 & 0x7fff_ffff) % partitions, "{key}");
    }
}
