//! The replication slot: its state, its making, and the lock that keeps two relays apart while nobody streams it.

use model::lsn::Lsn;

use super::{PgError, connection::Connection, quote_identifier, quote_literal};

/// A slot as `pg_replication_slots` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    pub plugin: String,
    pub database: String,
    /// The server forgets changes before this; it starts to stream here.
    pub confirmed_flush: Lsn,
    /// `reserved`, `extended`, `unreserved` or `lost`; empty before Postgres 13.
    pub wal_status: String,
    /// Process that streams it.
    pub active_pid: Option<i32>,
    /// Log written since the confirmed position, bytes.
    pub lag_bytes: u64,
}

/// What a new slot brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Everything that commits from here on will be streamed; the exported snapshot shows everything before.
    pub consistent_point: Lsn,
    /// Name for `SET TRANSACTION SNAPSHOT`; valid until the next command on the connection that made the slot.
    pub snapshot: String,
}

/// The slot's state; `None` when there is no such slot.
///
/// # Errors
/// When the server cannot be asked.
pub async fn state(connection: &mut Connection, slot: &str) -> Result<Option<SlotState>, PgError> {
    // Through jsonb, because older servers lack wal_status.
    let sql = format!(
        "SELECT plugin, coalesce(database, ''), coalesce(confirmed_flush_lsn, '0/0'), \
         coalesce(to_jsonb(s)->>'wal_status', ''), active_pid, \
         greatest(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
         ELSE pg_current_wal_lsn() END, confirmed_flush_lsn), 0)::bigint \
         FROM pg_replication_slots s WHERE slot_name = {} AND slot_type = 'logical'",
        quote_literal(slot)
    );
    let Some(row) = connection.query_one(&sql).await? else { return Ok(None) };
    Ok(Some(SlotState {
        plugin: row.text(0)?,
        database: row.text(1)?,
        confirmed_flush: row.parse(2)?,
        wal_status: row.get(3).unwrap_or_default().to_owned(),
        active_pid: row.get(4).and_then(|pid| pid.parse().ok()),
        lag_bytes: row.get(5).and_then(|bytes| bytes.parse().ok()).unwrap_or_default(),
    }))
}

/// Makes a slot on a replication connection and exports the snapshot that belongs to it. Waits for transactions that
/// are running now.
///
/// # Errors
/// When the server refuses, such as with SQLSTATE 53400 for too many slots.
pub async fn create(connection: &mut Connection, slot: &str, temporary: bool) -> Result<CreatedSlot, PgError> {
    let kind = if temporary { " TEMPORARY" } else { "" };
    // The spelling without brackets is understood by every version.
    let sql = format!("CREATE_REPLICATION_SLOT {}{kind} LOGICAL pgoutput EXPORT_SNAPSHOT", quote_identifier(slot));
    let row = connection.query_one(&sql).await?;
    let row = row.ok_or_else(|| PgError::Protocol("no answer to CREATE_REPLICATION_SLOT".into()))?;
    Ok(CreatedSlot { consistent_point: row.parse(1)?, snapshot: row.text(2)? })
}

/// Tries to take the lock that stands for the slot. It is held until the connection ends.
///
/// # Errors
/// When the server cannot be asked.
pub async fn try_lock(connection: &mut Connection, slot: &str) -> Result<bool, PgError> {
    let name = quote_literal(&format!("cdc-relay slot {slot}"));
    let row = connection.query_one(&format!("SELECT pg_try_advisory_lock(hashtextextended({name}, 0))")).await?;
    Ok(row.is_some_and(|row| row.flag(0)))
}

/// Identity of the database cluster (`IDENTIFY_SYSTEM`), on a replication connection.
///
/// # Errors
/// When the server cannot be asked.
pub async fn system_id(connection: &mut Connection) -> Result<String, PgError> {
    let row = connection.query_one("IDENTIFY_SYSTEM").await?;
    row.ok_or_else(|| PgError::Protocol("no answer to IDENTIFY_SYSTEM".into()))?.text(0)
}
