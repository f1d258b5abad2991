//! Real servers for tests: PostgreSQL 17, Apache Kafka, our own binaries; free ports, own folders, waits with deadlines.
//!
//! A test binary starts each server once, when a test first asks for it, and shares it between its tests; tests keep apart
//! by fresh databases and fresh names. `HAUS_TEST_KAFKA` and `HAUS_TEST_POSTGRES` (`host:port`) name servers that run
//! already and are used instead. Everything started here ends with the test process.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot have its server shall fail with the reason")]

mod binary;
pub mod certificates;
mod http_faults;
pub mod own;
mod proxy;
mod servers;
mod wait;

use std::sync::atomic::{AtomicU32, Ordering};

pub use binary::Binary;
pub use http_faults::{HttpFault, HttpFaults, HttpRequest};
pub use proxy::{Fault, Proxy, kafka_api};
pub use servers::{Kafka, Postgres, fresh_database, kafka, postgres};
pub use wait::{Condition, wait_until};

/// A name no other test uses: `<prefix>_<random>`, fit for topics, databases, slots and buckets alike.
#[must_use]
pub fn fresh_name(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}_{}", &random[..12])
}

/// A TCP port on loopback that was free a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    // Below the ports that the kernel gives to outgoing connections, which may take one before its server listens; and not
    // from where another process of tests begins.
    const PORTS: std::ops::Range<u32> = 15_000..32_000;
    static HANDED_OUT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(613);
    (0..PORTS.len())
        .find_map(|_| {
            let step = begin.wrapping_add(HANDED_OUT.fetch_add(1, Ordering::Relaxed));
            let port = u16::try_from(PORTS.start + step % (PORTS.end - PORTS.start)).ok()?;
            std::net::TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
        })
        .expect("a free port")
}
