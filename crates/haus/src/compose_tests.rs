//! `haus up` and the compose files have one definition of ports, settings and health: this compares them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use clap::{Args as _, Command, FromArgMatches as _};
use serde_json::Value;

use self::files::{Names, Service, dot_env, files, read_by, references, services, text};
use crate::{
    settings::Settings,
    stack::{Kind, Part},
};

/// Part of the embedded stack, and the container that does the same.
const TWINS: &[(&str, &str)] = &[
    ("kafka", "kafka"),
    ("postgres", "postgres"),
    ("object-server", "minio"),
    ("migrations", "flyway"),
    ("catalog", "catalog"),
    ("seeder", "seeder"),
    ("registry", "schema-registry"),
    ("cdc-relay", "cdc-relay"),
    ("s3-sink", "s3-sink"),
    ("lake", "lake"),
];

/// Settings that only a container has, all of them addresses: on one machine they follow from the ports.
const CONTAINER_ONLY: &[&str] = &[
    "SEEDER_URL",
    "CONNECT_URL",
    "REGISTRY_ADVERTISED_URL",
    "CONNECT_REST_ADVERTISED_HOST_NAME",
    "HAUS_HOME",
    "LAKE_SCHEDULER",
    "LAKE_EXECUTOR_DIR",
];

/// Settings that only the embedded stack has: it runs Kafka and the object store itself, and keeps state in a folder.
const EMBEDDED_ONLY: &[&str] = &["KAFKA_CONTROLLER_PORT", "KAFKA_HEAP_MB", "OBJECT_SERVER_DIR"];

/// Settings whose value is another in a container although it is no address, with the name in `.env` that gives it.
const OTHER_VALUE: &[(&str, &str)] =
    &[("SINK_FLUSH_SIZE", "COMPOSE_SINK_FLUSH_SIZE"), ("SINK_ROTATE_INTERVAL_MS", "COMPOSE_SINK_ROTATE_INTERVAL_MS")];

/// Read by Docker Compose itself.
const OF_COMPOSE: &[&str] = &["COMPOSE_IGNORE_ORPHANS"];

fn is_address(name: &str) -> bool {
    let endings = ["_HOST", "_PORT", "_URL", "_SERVERS", "_ENDPOINT", "_BIND", "_DIR", "_HOST_NAME", "_HOME"];
    endings.iter().any(|ending| name.ends_with(ending))
}

/// Our services in every form that `.env` can choose.
fn with_ours() -> BTreeMap<String, Service> {
    services(&[("SCHEMA_REGISTRY", "haus"), ("OBJECT_STORE", "haus")])
}

fn twin(part: &str) -> &'static str {
    TWINS.iter().find(|(name, _)| *name == part).unwrap_or_else(|| panic!("{part} has no container")).1
}

/// The settings as `haus` has them with `.env` and nothing else.
fn settings() -> Settings {
    let env = dot_env();
    let command = Settings::augment_args(Command::new("haus"));
    let given = command.get_arguments().filter_map(|argument| {
        let value = env.get(argument.get_env()?.to_str()?)?;
        Some(format!("--{}={value}", argument.get_long()?))
    });
    let given: Vec<String> = std::iter::once("haus".to_owned()).chain(given).collect();
    assert!(given.len() > 20);
    let matches = command.try_get_matches_from(given).unwrap();
    Settings::from_arg_matches(&matches).unwrap()
}

fn parts() -> Vec<Part> {
    Part::all(&settings(), Path::new(".haus"), false).unwrap()
}

/// What a process of the embedded stack gets: `.env`, and over it what `haus up` passes on.
fn embedded() -> Names {
    let mut names = dot_env();
    names.extend(settings().environment());
    names
}

#[test]
fn every_published_port_is_the_one_of_haus_up() {
    let env = dot_env();
    let zones = with_ours();
    let parts = parts();
    for part in &parts {
        let Some(port) = part.port else { continue };
        let ports = zones[twin(part.name)].ports();
        let published = ports.iter().any(|(_, here, _)| files::filled(here, &env) == port.to_string());
        assert!(published, "{}: haus up has {port}, its container publishes {ports:?}", part.name);
    }
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for service in zones.values() {
        let settings = service.settings();
        for (address, here, inside) in service.ports() {
            assert_eq!(address, "${HAUS_BIND}", "{}", service.name);
            let name = references(&here).into_iter().next().unwrap_or_default();
            assert_eq!(here, format!("${{{name}}}"), "{}: a published port is a setting", service.name);
            assert!(env.contains_key(&name), "{}: {name} is not in .env", service.name);
            // What a service listens on inside is its own setting of that name.
            if let Some(port) = settings.get(&name) {
                assert_eq!(*port, inside.to_string(), "{}: {name} in the container", service.name);
            }
            if !service.has_profile() {
                let other = taken.insert(files::filled(&here, &env), &service.name);
                assert_eq!(other, None, "{} publishes a port of another", service.name);
            }
        }
    }
    assert!(taken.len() >= parts.iter().filter(|part| part.port.is_some()).count());
}

#[test]
fn a_container_has_the_settings_of_its_embedded_process() {
    let embedded = embedded();
    let templates: String = files("connectors", ".template.json").iter().map(|file| text(file)).collect();
    let used_in_templates = references(&templates);
    let mut compared = 0;
    for service in with_ours().values().filter(|service| service.is_ours()) {
        let program = service.body["command"][0].as_str().unwrap();
        let program = if program.starts_with('-') { "haus" } else { program };
        let container = service.settings();
        let read: BTreeSet<String> = read_by(program).into_iter().map(|read| read.name).collect();
        assert!(read.contains("LOG_LEVEL"), "{program}: settings not found in its source");
        let apart =
            |name: &&String| !CONTAINER_ONLY.contains(&name.as_str()) && !EMBEDDED_ONLY.contains(&name.as_str());
        let of_templates = used_in_templates.iter().filter(|_| program == "haus");
        for name in read.iter().chain(of_templates).filter(apart) {
            assert_eq!(
                container.contains_key(name),
                embedded.contains_key(name),
                "{}: {program} reads {name}; given in the container and by haus up?",
                service.name
            );
        }
        for (name, value) in &container {
            let of_image = name == "NO_COLOR" || name == "PATH";
            let known = embedded.contains_key(name) || CONTAINER_ONLY.contains(&name.as_str()) || of_image;
            assert!(known, "{}: {name} is given to no embedded process", service.name);
            if is_address(name) || !embedded.contains_key(name) {
                continue;
            }
            let origin =
                OTHER_VALUE.iter().find(|(other, _)| other == name).map_or(name.as_str(), |(_, origin)| origin);
            assert_eq!(value, &embedded[origin], "{}: {name} is no address, and differs", service.name);
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_default_in_a_program_is_the_value_in_env() {
    let env = dot_env();
    let mut compared = 0;
    for program in ["haus", "seeder", "cdc-relay", "s3-sink", "registry", "object-server", "catalog", "lake", "ledger"]
    {
        for read in read_by(program) {
            let (Some(default), Some(value)) = (&read.default, env.get(&read.name)) else { continue };
            assert_eq!(default, value, "{program}: {}", read.name);
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared}");
    for (name, value) in &env {
        let template = crate::connector::default_of(name);
        assert!(template.is_none_or(|default| default == value), "connector templates: {name}");
    }
}

#[test]
fn an_address_in_a_container_is_one_that_the_network_knows() {
    let zones = with_ours();
    let mut known: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for service in zones.values() {
        let inside: BTreeSet<u16> = match service.name.as_str() {
            // Reached from other containers only: not published, or elsewhere than outside.
            "catalog-db" => [5432].into(),
            "kafka" => [19092].into(),
            _ => service.ports().into_iter().map(|(_, _, inside)| inside).collect(),
        };
        for name in service.aliases().into_iter().chain([service.name.clone()]) {
            known.entry(name).or_default().extend(&inside);
        }
    }
    assert!(zones["kafka"].settings()["KAFKA_LISTENERS"].contains("INTERNAL://:19092"));
    for service in zones.values().filter(|service| service.is_ours()) {
        let settings = service.settings();
        let urls = settings
            .iter()
            .filter(|(name, _)| ["_URL", "_ENDPOINT", "_SERVERS", "_SCHEDULER"].iter().any(|e| name.ends_with(e)));
        let postgres = format!("{}:{}", settings["POSTGRES_HOST"], settings["POSTGRES_PORT"]);
        for (name, address) in urls.chain([(&"POSTGRES_HOST".to_owned(), &postgres)]) {
            let (host, port) = address.trim_start_matches("http://").rsplit_once(':').unwrap();
            let there = known.get(host).is_some_and(|ports| ports.contains(&port.parse().unwrap()));
            assert!(there, "{}: nothing is at {name}={address}", service.name);
        }
        assert_eq!(settings["HAUS_BIND"], "0.0.0.0", "{}", service.name);
    }
}

#[test]
fn health_is_asked_where_haus_up_asks() {
    let zones = with_ours();
    let mut compared = 0;
    for part in parts() {
        let Kind::Service { health, binary, .. } = &part.kind else { continue };
        let service = &zones[twin(part.name)];
        assert_eq!(service.body["command"][0], *binary, "{}", service.name);
        let probed = service.probed().unwrap_or_else(|| panic!("{}: no `haus probe`", service.name));
        let path = |url: &str| format!("/{}", url.splitn(4, '/').nth(3).unwrap());
        assert_eq!(path(&probed), path(health), "{}", service.name);
        let inside = service.ports()[0].2;
        assert!(probed.starts_with(&format!("http://127.0.0.1:{inside}/")), "{}: {probed}", service.name);
        compared += 1;
    }
    assert_eq!(compared, 7);
}

#[test]
fn what_haus_up_waits_for_a_container_waits_for() {
    let zones = with_ours();
    let mut compared = 0;
    for part in parts() {
        let service = &zones[twin(part.name)];
        let mut before: BTreeSet<String> = service.needs().into_keys().collect();
        while let Some(more) =
            before.iter().flat_map(|name| zones[name].needs().into_keys()).find(|n| !before.contains(n))
        {
            before.insert(more);
        }
        for need in part.needs {
            let need = match (part.name, twin(need)) {
                // The catalog of the lake zone has a Postgres of its own.
                ("catalog", "postgres") => "catalog-db",
                (_, need) => need,
            };
            // A zone comes up alone: what is in another one is retried, not waited for.
            if zones[need].file == service.file {
                assert!(before.contains(need), "{} starts without waiting for {need}", service.name);
                compared += 1;
            }
        }
    }
    assert!(compared >= 7, "{compared}");
}

#[test]
fn every_container_is_named_limited_restarted_watched_and_pinned() {
    for service in services(&[]).values().chain(with_ours().values()) {
        let name = &service.name;
        let image = service.filled(service.body["image"].as_str().unwrap_or_else(|| panic!("{name}: no image")));
        let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image} has no tag")).1;
        assert!(!tag.contains("latest") && !tag.contains('/') && !image.contains('@'), "{name}: {image}");
        for (need, condition) in service.needs() {
            // Those that do their work and end.
            let once = ["flyway", "mc"].contains(&need.as_str());
            let expected = if once { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(condition, expected, "{name} waits for {need}");
        }
        // Run by hand, to their end.
        if service.body.get("profiles") == Some(&serde_json::json!(["manual"])) {
            continue;
        }
        assert_eq!(service.body["container_name"], *name);
        assert!(service.body.pointer("/deploy/resources/limits/memory").is_some(), "{name}: no limit of memory");
        assert!(service.body.get("restart").is_some(), "{name}: no restart policy");
        let once = ["flyway", "mc"].contains(&name.as_str());
        assert_eq!(service.body.pointer("/healthcheck/test").is_some(), !once, "{name}: health");
    }
}

#[test]
fn akhq_names_kafka_the_registry_and_both_workers() {
    let zones = with_ours();
    let configuration: Value = serde_saphyr::from_str(&zones["akhq"].settings()["AKHQ_CONFIGURATION"]).unwrap();
    let connections = configuration.pointer("/akhq/connections").unwrap().as_object().unwrap();
    assert_eq!(connections.len(), 1);
    let connection = connections.values().next().unwrap();
    let ours = zones["cdc-relay"].settings();
    assert_eq!(connection["properties"]["bootstrap.servers"], *ours["KAFKA_BOOTSTRAP_SERVERS"]);
    assert_eq!(connection["schema-registry"]["url"], *ours["SCHEMA_REGISTRY_URL"]);
    let workers = connection["connect"].as_array().unwrap().iter();
    let workers: BTreeSet<_> = workers.map(|worker| worker["url"].as_str().unwrap()).collect();
    let sink = format!("http://s3-sink:{}", ours["S3_SINK_PORT"]);
    assert_eq!(workers, [ours["CONNECT_URL"].as_str(), &sink].into());
    assert!(zones["cdc-relay"].aliases().contains(&"connect".to_owned()));
}

#[test]
fn env_says_what_each_setting_is_and_has_none_that_nothing_uses() {
    let env = dot_env();
    let mut said = files("", ".yaml");
    said.extend(files("compose", ".yaml"));
    said.push("compose/container.env".to_owned());
    said.extend(files("connectors", ".template.json"));
    let mut used = BTreeSet::new();
    for file in said {
        let names = references(&text(&file));
        let unknown: Vec<_> = names.iter().filter(|name| !env.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "{file}: not in .env: {unknown:?}");
        used.extend(names);
    }
    for program in ["haus", "seeder", "cdc-relay", "s3-sink", "registry", "object-server", "catalog", "lake", "ledger"]
    {
        used.extend(read_by(program).into_iter().map(|read| read.name));
    }
    used.extend(OF_COMPOSE.iter().map(|name| (*name).to_owned()));
    let unused: Vec<_> = env.keys().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), ".env: nothing uses {unused:?}");

    // A comment stands for the lines below it, up to a blank line or the next comment; the name of a section is none.
    let mut commented = false;
    for line in text(".env").lines() {
        if line.is_empty() || line.starts_with("# ---") {
            commented = false;
        } else if line.starts_with('#') {
            commented = true;
        } else {
            assert!(commented, ".env: no comment above {line}");
        }
    }
}
