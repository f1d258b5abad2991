//! The verdict, as JSON with stable names and as a table for people.

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use serde::Serialize;

use crate::marts::MartReport;
use crate::state::KeyDifferences;

/// Keys and offsets named of each kind of difference.
const NAMED_MAX: usize = 20;

/// What `ledger verify --json` prints.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// True only when everything was read and everything was equal.
    pub ok: bool,
    pub tables: Vec<TableReport>,
    pub marts: Vec<MartReport>,
    /// The snapshot of Postgres that was compared (`pg_snapshot`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// End of Postgres' log at that snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    pub seconds: f64,
    /// Why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One source table through all hops.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TableReport {
    /// `public.orders`.
    pub table: String,
    /// Rows at the snapshot.
    pub postgres_rows: u64,
    /// Sum of the rows' hashes, hexadecimal.
    pub postgres_digest: String,
    /// Records below the ends that were compared, and so on for the next three.
    pub kafka_records: u64,
    pub raw_objects: u64,
    pub raw_records: u64,
    pub stage_rows: u64,
    /// Rows of the current state, which under traffic is a little later than the snapshot.
    pub shape_rows: u64,
    /// `equal` or `different`.
    pub verdict: String,
    pub differences: Vec<Difference>,
    /// What was left out, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One kind of difference at one hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `topic`, `raw`, `stage` or `shape`.
    pub hop: &'static str,
    /// `missing`, `extra`, `different` (keys); `missing offsets`, `extra offsets`, `offsets twice`; `broken` (objects).
    pub kind: &'static str,
    /// How many.
    pub count: usize,
    /// The first twenty: keys as `id=7`, offsets as `partition/offset`, objects by name with the reason.
    pub first: Vec<String>,
}

impl TableReport {
    /// Notes keys that differ from Postgres' (or, for shape, stage's).
    pub fn keys(&mut self, hop: &'static str, keys: &KeyDifferences) {
        for (kind, keys) in [("missing", &keys.missing), ("extra", &keys.extra), ("different", &keys.different)] {
            self.note(hop, kind, keys.len(), keys.iter().map(ToString::to_string));
        }
    }

    /// Notes offsets.
    pub fn offsets(&mut self, hop: &'static str, kind: &'static str, offsets: &[(i32, i64)]) {
        let texts = offsets.iter().map(|(partition, offset)| format!("{partition}/{offset}"));
        self.note(hop, kind, offsets.len(), texts);
    }

    /// Notes objects that are broken, in words.
    pub fn objects(&mut self, broken: &[String]) {
        self.note("raw", "broken", broken.len(), broken.iter().cloned());
    }

    fn note(&mut self, hop: &'static str, kind: &'static str, count: usize, all: impl Iterator<Item = String>) {
        if count > 0 {
            self.differences.push(Difference { hop, kind, count, first: all.take(NAMED_MAX).collect() });
        }
    }

    /// Sets the verdict.
    pub fn judge(&mut self) {
        self.verdict = if self.differences.is_empty() { "equal" } else { "different" }.to_owned();
    }
}

impl Report {
    /// Sets `ok`: something was compared, and all of it was equal.
    pub fn judge(&mut self) {
        self.ok = self.error.is_none()
            && !self.tables.is_empty()
            && self.tables.iter().all(|table| table.verdict == "equal")
            && self.marts.iter().all(|mart| mart.verdict == "equal");
    }

    /// The report for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["table", "Postgres", "Kafka", "raw objects", "raw", "stage", "shape", "verdict"]);
        for report in &self.tables {
            let number = |count: u64| Cell::new(count).set_alignment(CellAlignment::Right);
            table.add_row([
                Cell::new(&report.table),
                number(report.postgres_rows),
                number(report.kafka_records),
                number(report.raw_objects),
                number(report.raw_records),
                number(report.stage_rows),
                number(report.shape_rows),
                verdict(&report.verdict),
            ]);
        }
        let mut text = format!("{table}\n");
        for mart in &self.marts {
            let MartReport { mart, rows, compared_with, verdict, .. } = mart;
            text.push_str(&format!("serve.{mart}: {rows} rows, {verdict} to a recomputation from {compared_with}\n"));
        }
        for line in self.difference_lines() {
            text.push_str(&line);
            text.push('\n');
        }
        let summary = match &self.error {
            Some(error) => format!("No verdict: {error}\n"),
            None if self.ok => {
                format!("All equal at {} ({:.1} s).\n", self.lsn.as_deref().unwrap_or_default(), self.seconds)
            }
            None => format!("Not equal ({:.1} s).\n", self.seconds),
        };
        text + &summary
    }

    fn difference_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for table in &self.tables {
            lines.extend(table.note.iter().map(|note| format!("{}: {note}", table.table)));
            for Difference { hop, kind, count, first } in &table.differences {
                lines.push(format!("{}: {hop}: {count} {kind}: {}", table.table, first.join(", ")));
            }
        }
        for mart in &self.marts {
            lines.extend(mart.differences.iter().map(|difference| format!("serve.{}: {difference}", mart.mart)));
        }
        lines
    }
}

fn verdict(text: &str) -> Cell {
    Cell::new(text).fg(if text == "equal" { Color::Green } else { Color::Red })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn nothing_compared_or_an_error_is_never_ok() {
        let mut report = Report::default();
        report.judge();
        assert!(!report.ok);
        let mut table = TableReport::default();
        table.judge();
        report.tables.push(table);
        report.judge();
        assert!(report.ok);
        report.error = Some("Kafka is away".to_owned());
        report.judge();
        assert!(!report.ok);
    }

    #[test]
    fn a_difference_is_counted_whole_and_named_in_part() {
        let mut table = TableReport { table: "public.orders".to_owned(), ..TableReport::default() };
        table.offsets("stage", "offsets twice", &(0..50).map(|offset| (1, offset)).collect::<Vec<_>>());
        table.judge();
        assert_eq!(table.verdict, "different");
        assert_eq!((table.differences[0].count, table.differences[0].first.len()), (50, 20));
        let report = Report { tables: vec![table], ..Report::default() };
        assert!(report.text().contains("public.orders: stage: 50 offsets twice: 1/0, 1/1"), "{}", report.text());
    }

    #[test]
    fn the_json_has_the_names_that_others_read() {
        let report = Report { tables: vec![TableReport::default()], ..Report::default() };
        let json = serde_json::to_value(&report).unwrap();
        for name in [
            "table",
            "postgres_rows",
            "kafka_records",
            "raw_objects",
            "raw_records",
            "stage_rows",
            "shape_rows",
            "verdict",
            "differences",
        ] {
            assert!(json["tables"][0].get(name).is_some(), "{name}");
        }
        assert!(json["marts"].is_array() && json["ok"] == false);
    }
}
