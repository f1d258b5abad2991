//! Random transactions of one session.

use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio_postgres::{Client, CopyInSink, Error};

pub struct Table {
    pub name: &'static str,
    pub sql: &'static str,
    pub key: &'static [&'static str],
    /// The whole row is its replica identity.
    pub full: bool,
}

pub const TABLES: [Table; 3] = [
    Table {
        name: "acc",
        // Long values of `big` lie outside of the row, uncompressed, and are not logged when they do not change.
        sql: "CREATE TABLE acc (id int PRIMARY KEY, v text, big text); ALTER TABLE acc ALTER big SET STORAGE EXTERNAL",
        key: &["id"],
        full: false,
    },
    Table {
        name: "led",
        sql: "CREATE TABLE led (a int, b int, v text, PRIMARY KEY (a, b)); ALTER TABLE led REPLICA IDENTITY FULL",
        key: &["a", "b"],
        full: true,
    },
    Table {
        name: "bag",
        sql: "CREATE TABLE bag (n bigserial, v text); ALTER TABLE bag REPLICA IDENTITY FULL",
        key: &[],
        full: true,
    },
];

/// Rows for the sessions to meet on.
pub async fn fill(sql: &Client) {
    sql.batch_execute(
        "INSERT INTO acc SELECT i, 'v' || i, repeat('b', 3000) FROM generate_series(1, 60) i; \
         INSERT INTO led SELECT i % 10, i, 'v' || i FROM generate_series(1, 60) i; \
         INSERT INTO bag (v) SELECT 'v' || i FROM generate_series(1, 60) i",
    )
    .await
    .unwrap();
}

/// Writes some transactions; those that meet another session's in a deadlock or break a key are rolled back.
pub async fn session(mut client: Client, number: u64, seed: u64, transactions: usize, truncates: bool) {
    let mut random = StdRng::seed_from_u64(seed);
    client.batch_execute("SET deadlock_timeout = '30ms'").await.unwrap();
    // Ids nobody else draws, for rows that come many at a time.
    let mut own = i32::try_from(number + 1).unwrap() * 1_000_000;
    for _ in 0..transactions {
        client.batch_execute("BEGIN").await.unwrap();
        let end = match statements(&mut client, &mut random, &mut own, truncates).await {
            Ok(()) if random.random_bool(0.85) => "COMMIT",
            Ok(()) | Err(_) => "ROLLBACK",
        };
        client.batch_execute(end).await.unwrap();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..25))).await;
    }
}

async fn statements(client: &mut Client, random: &mut StdRng, own: &mut i32, truncates: bool) -> Result<(), Error> {
    for _ in 0..random.random_range(1..8) {
        let nested = random.random_bool(0.2);
        if nested {
            client.batch_execute("SAVEPOINT s").await?;
        }
        statement(client, random, own, truncates).await?;
        if nested {
            client.batch_execute(if random.random() { "ROLLBACK TO s" } else { "RELEASE s" }).await?;
        }
        if random.random_bool(0.1) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..40))).await;
        }
    }
    Ok(())
}

async fn statement(client: &mut Client, random: &mut StdRng, own: &mut i32, truncates: bool) -> Result<(), Error> {
    let (id, other, word) = (random.random_range(1..80), random.random_range(1..80), random.random_range(0..1_000_000));
    let (low, high) = (id.min(other), id.max(other));
    let sql = match random.random_range(0..20) {
        0 | 1 => format!("INSERT INTO acc VALUES ({id}, 'n{word}', repeat('n', 3000)) ON CONFLICT DO NOTHING"),
        2 => format!("INSERT INTO acc VALUES ({id}, NULL, NULL) ON CONFLICT (id) DO UPDATE SET v = 'up{word}'"),
        3 | 4 => format!("UPDATE acc SET v = 'u{word}' WHERE id = {id}"),
        5 => format!("UPDATE acc SET big = repeat('{}', 3000) WHERE id = {id}", word % 10),
        6 => format!("UPDATE acc SET id = {other} WHERE id = {id} AND NOT EXISTS (SELECT FROM acc WHERE id = {other})"),
        7 => format!("DELETE FROM acc WHERE id = {id}"),
        8 => format!("UPDATE acc SET v = 'many{word}' WHERE id BETWEEN {low} AND {high}"),
        9 | 10 => format!("INSERT INTO led VALUES ({}, {id}, 'n{word}') ON CONFLICT DO NOTHING", id % 10),
        11 | 12 => format!("UPDATE led SET v = 'u{word}' WHERE b = {id}"),
        13 => format!("UPDATE led SET a = a + 100 WHERE b = {id}"),
        14 => format!("DELETE FROM led WHERE b BETWEEN {low} AND {}", low + 2),
        15 => "INSERT INTO bag (v) SELECT 'row' || i FROM generate_series(1, 5) i".to_owned(),
        16 => format!("UPDATE bag SET v = 'u{word}' WHERE n = (SELECT min(n) + {id} FROM bag)"),
        17 => "DELETE FROM bag WHERE n = (SELECT min(n) FROM bag)".to_owned(),
        18 => return copy(client, random, own).await,
        _ if truncates => "TRUNCATE bag".to_owned(),
        _ => format!("DELETE FROM acc WHERE id > 1000000 AND id % 7 = {}", word % 7),
    };
    client.batch_execute(&sql).await
}

/// Rows that share one LSN.
async fn copy(client: &mut Client, random: &mut StdRng, own: &mut i32) -> Result<(), Error> {
    let sink: CopyInSink<Bytes> = client.copy_in("COPY acc (id, v) FROM STDIN").await?;
    futures::pin_mut!(sink);
    let mut text = String::new();
    for _ in 0..random.random_range(2..60) {
        *own += 1;
        text.push_str(&format!("{own}\tcopied\n"));
    }
    sink.send(Bytes::from(text)).await?;
    sink.finish().await?;
    Ok(())
}
