//! What becomes of the settings that Kafka Connect gives every connector: the table in the book is made from this and from
//! the definitions.

use std::fmt::Write as _;

use super::{Entry, framework};
use crate::plugin::ConnectorKind;

/// Settings that are not taken as Kafka Connect takes them; all others are.
const NOTES: [(&str, &str, &str); 17] = [
    ("connector.plugin.version", "ignored", "one version is there"),
    ("tasks.max.enforce", "ignored", "there are never more tasks"),
    ("key.converter.plugin.version", "ignored", "one version is there"),
    ("value.converter.plugin.version", "ignored", "one version is there"),
    ("header.converter", "ignored", "headers are copied"),
    ("header.converter.plugin.version", "ignored", "one version is there"),
    ("transforms", "differs", "the relay knows five transformations; a sink none"),
    ("predicates", "differs", "the relay knows three; a sink none"),
    ("config.action.reload", "ignored", "references are resolved at each start of a task"),
    ("errors.retry.timeout", "differs", "without it, for ever; given, the task is FAILED after it, also with 0"),
    (
        "errors.tolerance",
        "differs",
        "sinks; the relay stops at what it cannot read: passing over it would lose a change",
    ),
    ("errors.log.enable", "differs", "sinks; other failures are always logged"),
    ("errors.log.include.messages", "differs", "sinks; topic, partition and offset, never the content"),
    ("exactly.once.support", "ignored", "the relay is always exactly once"),
    ("transaction.boundary", "ignored", "the relay decides"),
    ("transaction.boundary.interval.ms", "ignored", "commit.interval.ms of the relay"),
    ("offsets.storage.topic", "ignored", "the worker's topic is used"),
];

/// The rows, by name.
fn rows() -> String {
    let mut all = framework(ConnectorKind::Source);
    for entry in framework(ConnectorKind::Sink) {
        if !all.iter().any(|known| known["name"] == entry["name"]) {
            all.push(entry);
        }
    }
    let name = |entry: &Entry| entry["name"].as_str().unwrap_or_default().to_owned();
    all.sort_by_key(name);
    let mut out = String::from("| setting | default | | |\n|---|---|---|---|\n");
    for entry in all {
        let name = name(&entry);
        let default = entry["default_value"].as_str().filter(|default| !default.is_empty());
        let default = default.map_or_else(|| "-".to_owned(), |default| format!("`{default}`"));
        let (support, note) = NOTES
            .iter()
            .find(|(noted, ..)| *noted == name)
            .map_or(("supported", ""), |(_, support, note)| (*support, *note));
        // Writing into a string cannot fail.
        let _ = writeln!(out, "| `{name}` | {default} | {support} | {note} |");
    }
    out
}

mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MARKS: [&str; 2] = ["<!-- definitions: connect -->\n", "<!-- end of definitions -->"];

    #[test]
    fn the_book_shows_this_table() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/services/connect-api.md");
        let page = std::fs::read_to_string(file).unwrap();
        let (before, rest) = page.split_once(MARKS[0]).unwrap();
        let (shown, after) = rest.split_once(MARKS[1]).unwrap();
        let fresh = rows();
        if shown != fresh {
            std::fs::write(file, format!("{before}{}{fresh}{}{after}", MARKS[0], MARKS[1])).unwrap();
        }
        assert_eq!(shown, fresh, "the page was not what the code says; it has been written anew, commit it");
    }

    #[test]
    fn every_note_is_of_a_setting() {
        for (name, ..) in NOTES {
            assert!(rows().contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
