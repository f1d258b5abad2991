//! Where downloaded servers lie: one folder per machine and user, shared by all checkouts.

use std::path::PathBuf;

use crate::EmbeddedError;

/// Versions as in `embedded/pom.xml`; a test holds the two together.
pub const KAFKA_VERSION: &str = "4.3.1";
/// See [`KAFKA_VERSION`].
pub const POSTGRES_VERSION: &str = "17.5.0";

/// `$HAUS_CACHE`, else `$HOME/.cache/haus-am-see`.
#[must_use]
pub fn root() -> PathBuf {
    std::env::var_os("HAUS_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache/haus-am-see"),
        PathBuf::from,
    )
}

/// The folder with Kafka's jars.
///
/// # Errors
/// When it was not fetched.
pub fn kafka_jars() -> Result<PathBuf, EmbeddedError> {
    let path = root().join(format!("kafka-{KAFKA_VERSION}"));
    let broker = path.join(format!("kafka_2.13-{KAFKA_VERSION}.jar"));
    if broker.is_file() { Ok(path) } else { Err(EmbeddedError::NotFetched { what: "Apache Kafka", path }) }
}

/// Where Postgres lies when root starts it: it runs as another user, who cannot reach root's home.
const ROOT_SHARED: &str = "/var/cache/haus-am-see";

/// The folder with Postgres' `bin`, `lib` and `share`.
///
/// # Errors
/// When it was not fetched.
pub fn postgres_home() -> Result<PathBuf, EmbeddedError> {
    let shared = if rustix::process::geteuid().is_root() { PathBuf::from(ROOT_SHARED) } else { root() };
    let path = shared.join(format!("postgres-{POSTGRES_VERSION}"));
    if path.join("bin/postgres").is_file() {
        Ok(path)
    } else {
        Err(EmbeddedError::NotFetched { what: "PostgreSQL", path })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_those_that_maven_fetches() {
        let pom = include_str!("../../../embedded/pom.xml");
        assert!(pom.contains(&format!("<kafka.version>{KAFKA_VERSION}</kafka.version>")));
        assert!(pom.contains(&format!("<postgres.version>{POSTGRES_VERSION}</postgres.version>")));
    }
}
