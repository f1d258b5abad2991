//! The arrows of the architecture: which crate may depend on which. ARCHITECTURE.md has the same table with reasons.

use std::collections::{BTreeMap, BTreeSet};

/// Crate and what it may depend on, of this workspace; and the libraries that only it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("pgoutput", &["model"]),
    ("service", &[]),
    ("embedded", &[]),
    ("migrate", &[]),
    ("topics", &["model"]),
    ("objects", &["model"]),
    ("connect", &["model", "topics", "service"]),
    ("seeder", &["model", "service"]),
    ("cdc-relay", &["model", "pgoutput", "connect", "topics", "service"]),
    ("s3-sink", &["model", "connect", "topics", "objects", "service"]),
    ("registry", &["model", "topics", "service"]),
    ("object-server", &["service"]),
    ("catalog", &["model", "service"]),
    ("lake", &["model", "objects", "service"]),
    ("ledger", &["model", "topics", "objects", "service"]),
    ("haus", &["model", "service", "embedded", "migrate", "topics"]),
    ("bundle", &["catalog", "cdc-relay", "haus", "lake", "ledger", "object-server", "registry", "s3-sink", "seeder"]),
    ("testkit", &["embedded"]),
    ("e2e", &[]),
];

/// Libraries that stand behind one adapter, and the crates that may name them.
const ADAPTED: &[(&str, &[&str])] = &[
    ("rdkafka", &["topics"]),
    ("datafusion", &["lake"]),
    ("opendal", &["objects"]),
    ("iceberg", &["lake", "catalog"]),
    ("s3s", &["object-server"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata =
        cargo_metadata::MetadataCommand::new().no_deps().other_options(["--locked".to_owned()]).exec().unwrap();
    let normal = |package: &cargo_metadata::Package| {
        let kinds =
            package.dependencies.iter().filter(|dependency| dependency.kind == cargo_metadata::DependencyKind::Normal);
        kinds.map(|dependency| dependency.name.clone()).collect()
    };
    metadata.workspace_packages().into_iter().map(|package| (package.name.to_string(), normal(package))).collect()
}

#[test]
fn every_dependency_between_our_crates_is_an_arrow_of_the_architecture() {
    let all = dependencies();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for (name, dependencies) in &all {
        let arrows = allowed.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} is not in the table of arrows"));
        for dependency in dependencies.iter().filter(|dependency| all.contains_key(*dependency)) {
            assert!(arrows.contains(&dependency.as_str()), "{name} -> {dependency} is no arrow of the architecture");
        }
    }
    assert_eq!(all.len(), ARROWS.len(), "the table of arrows names a crate that is gone");
}

#[test]
fn each_adapted_library_is_named_by_its_adapter_only() {
    for (name, dependencies) in dependencies() {
        for (library, adapters) in ADAPTED {
            assert!(
                !dependencies.contains(*library) || adapters.contains(&name.as_str()),
                "{name} names {library}; {adapters:?} may"
            );
        }
    }
}
