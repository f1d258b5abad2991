//! The committed history as Postgres tells it: what triggers wrote down, in the order in which a slot sees the commits.

use std::collections::{BTreeMap, HashMap};

use model::lsn::Lsn;
use testkit::fresh_name;
use tokio_postgres::Client;

use super::traffic::TABLES;

/// One row's change; neither old nor new for a truncate.
#[derive(Debug)]
pub struct Change {
    pub table: String,
    pub tx_id: i64,
    /// Where the commit record of its transaction ends.
    pub commit_end: Lsn,
    pub old: Option<BTreeMap<String, String>>,
    pub new: Option<BTreeMap<String, String>>,
}

pub struct History {
    slot: String,
}

/// A trigger writes in the transaction it fires in, so a rollback, also to a savepoint, takes its row away too. The order
/// within a transaction is that of the sequence, which one session draws in its own order.
const WRITTEN_DOWN: &str = "
CREATE TABLE history (seq bigserial, tx_id bigint DEFAULT pg_current_xact_id()::text::bigint, tab text, old text, new text);
CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO history (tab, old, new) VALUES (TG_TABLE_NAME,
        CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN to_jsonb(OLD)::text END,
        CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN to_jsonb(NEW)::text END);
    RETURN NULL;
END $$;
CREATE FUNCTION write_down_truncate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO history (tab) VALUES (TG_TABLE_NAME);
    RETURN NULL;
END $$;
CREATE PUBLICATION oracle FOR TABLE history;
";

impl History {
    /// Makes the tables and begins to write down.
    pub async fn begin(sql: &Client) -> Self {
        for table in &TABLES {
            sql.batch_execute(table.sql).await.unwrap();
        }
        sql.batch_execute(WRITTEN_DOWN).await.unwrap();
        for table in &TABLES {
            let name = table.name;
            sql.batch_execute(&format!(
                "CREATE TRIGGER w AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION write_down(); \
                 CREATE TRIGGER t AFTER TRUNCATE ON {name} FOR EACH STATEMENT EXECUTE FUNCTION write_down_truncate()"
            ))
            .await
            .unwrap();
        }
        let slot = fresh_name("oracle");
        let make = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        sql.batch_execute(&make).await.unwrap();
        Self { slot }
    }

    /// Everything committed since, in the order of the commits.
    pub async fn committed(self, sql: &Client) -> Vec<Change> {
        // Only the bounds of transactions are looked at, so that nothing but the order comes from decoding.
        let commits = format!(
            "SELECT xid::text::bigint, lsn::text FROM pg_logical_slot_get_binary_changes('{}', NULL, NULL, \
             'proto_version', '1', 'publication_names', 'oracle') WHERE get_byte(data, 0) = ascii('C')",
            self.slot
        );
        let commits = sql.query(&commits, &[]).await.unwrap();
        let commits: HashMap<i64, Lsn> =
            commits.iter().map(|row| (row.get(0), row.get::<_, String>(1).parse().unwrap())).collect();
        let rows = sql.query("SELECT tx_id, tab, old, new FROM history ORDER BY seq", &[]).await.unwrap();
        let mut changes: Vec<Change> = rows
            .iter()
            .map(|row| Change {
                tx_id: row.get(0),
                commit_end: commits[&row.get::<_, i64>(0)],
                table: row.get(1),
                old: row.get::<_, Option<&str>>(2).map(columns),
                new: row.get::<_, Option<&str>>(3).map(columns),
            })
            .collect();
        changes.sort_by_key(|change| change.commit_end);
        changes
    }
}

fn columns(json: &str) -> BTreeMap<String, String> {
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap();
    let text = |value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    row.into_iter().map(|(name, value)| (name, text(value))).collect()
}
