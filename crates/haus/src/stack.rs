//! The embedded stack as data: its processes, what each needs before it can start, how one sees that it is ready.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use embedded::{EmbeddedError, Kafka, Postgres, ProcessSpec, StopSignal};

use crate::settings::Settings;

/// One process (or one-time step) of the stack.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: &'static str,
    pub port: Option<u16>,
    /// Parts that have to be ready first, and that are stopped after this one.
    pub needs: &'static [&'static str],
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Postgres(Postgres),
    Kafka(Kafka),
    /// One of our binaries, ready when this URL answers 2xx.
    Service {
        binary: &'static str,
        args: &'static [&'static str],
        health: String,
        /// A second port, at which it speaks something else than HTTP.
        beside: Option<u16>,
    },
    /// Databases and migrations: runs once at every start.
    Migrations,
}

/// What `--external` leaves to others.
const EXTERNAL: [&str; 3] = ["kafka", "postgres", "object-server"];

impl Part {
    /// Every part, in an order in which each stands behind what it needs. With `external`, Postgres, Kafka and the
    /// object store run already, at the addresses of the settings.
    ///
    /// # Errors
    /// When a setting does not fit an embedded stack.
    pub fn all(settings: &Settings, dir: &Path, external: bool) -> anyhow::Result<Vec<Self>> {
        let kafka_port: u16 = settings
            .kafka_bootstrap_servers
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .context("KAFKA_BOOTSTRAP_SERVERS: expected host:port")?;
        let service = |binary, args, port: u16, needs: &'static [&'static str], path: &str| Self {
            name: binary,
            port: Some(port),
            needs,
            kind: Kind::Service { binary, args, health: format!("http://127.0.0.1:{port}{path}"), beside: None },
        };
        let mut parts = vec![
            Self {
                name: "kafka",
                port: Some(kafka_port),
                needs: &[],
                kind: Kind::Kafka(Kafka {
                    dir: dir.join("kafka"),
                    port: kafka_port,
                    controller_port: settings.kafka_controller_port,
                    heap_mb: settings.kafka_heap_mb,
                }),
            },
            Self {
                name: "postgres",
                port: Some(settings.postgres_port),
                needs: &[],
                kind: Kind::Postgres(Postgres {
                    dir: dir.join("postgres"),
                    port: settings.postgres_port,
                    user: settings.postgres_user.clone(),
                    password: settings.postgres_password.expose().to_owned(),
                    settings: vec![],
                }),
            },
            service("object-server", &[], settings.s3_port, &[], "/-/health"),
            Self { name: "migrations", port: None, needs: &["postgres"], kind: Kind::Migrations },
            service("catalog", &[], settings.catalog_port, &["postgres", "object-server"], "/health"),
            service("seeder", &[], settings.seeder_port, &["migrations"], "/health"),
            service("registry", &[], settings.registry_port, &["kafka"], "/health"),
            service("cdc-relay", &[], settings.cdc_relay_port, &["kafka", "registry", "migrations"], "/health"),
            service("s3-sink", &[], settings.s3_sink_port, &["kafka", "registry", "object-server"], "/health"),
            service("lake", &["watch"], settings.lake_port, &["catalog", "registry"], "/health"),
        ];
        for part in &mut parts {
            if let Kind::Service { binary: "lake", beside, .. } = &mut part.kind {
                *beside = Some(settings.lake_sql_port).filter(|port| *port > 0);
            }
        }
        if external {
            parts.retain(|part| !EXTERNAL.contains(&part.name));
        }
        Ok(parts)
    }

    /// All ports that the part listens on.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let second = match &self.kind {
            Kind::Kafka(kafka) => Some(kafka.controller_port),
            Kind::Service { beside, .. } => *beside,
            _ => None,
        };
        self.port.into_iter().chain(second).collect()
    }

    /// How the part's process is started; `None` for a step that is no process.
    ///
    /// # Errors
    /// When something it needs is missing on this machine.
    pub async fn spec(&self, settings: &Settings, logs: &Path) -> Result<Option<ProcessSpec>, EmbeddedError> {
        let mut spec = match &self.kind {
            Kind::Postgres(postgres) => postgres.prepare().await?,
            Kind::Kafka(kafka) => kafka.prepare()?,
            Kind::Service { binary, args, .. } => ProcessSpec {
                name: self.name.to_owned(),
                program: sibling(binary),
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                env: settings.environment(),
                dir: None,
                log: PathBuf::new(),
                stop_signal: StopSignal::Terminate,
                dies_with_parent: true,
            },
            Kind::Migrations => return Ok(None),
        };
        spec.log = logs.join(format!("{}.log", self.name));
        spec.dies_with_parent = true;
        Ok(Some(spec))
    }
}

/// A binary of ours: beside this one, as cargo and the image lay them.
fn sibling(binary: &str) -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(|folder| folder.join(binary)))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(binary))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn every_part_stands_behind_what_it_needs_and_ports_differ() {
        let settings = Wrapper::parse_from(["haus"]).settings;
        let parts = Part::all(&settings, Path::new(".haus"), false).unwrap();
        let mut seen = HashSet::new();
        for part in &parts {
            assert!(part.needs.iter().all(|need| seen.contains(need)), "{}", part.name);
            seen.insert(part.name);
        }
        let ports: Vec<_> = parts.iter().flat_map(Part::ports).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
    }
}
