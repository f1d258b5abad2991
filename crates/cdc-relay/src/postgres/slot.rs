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

/// The log a slot keeps the server from removing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLog {
    /// As in [`SlotState`].
    pub wal_status: String,
    /// How much more may be written before the slot is lost; `None`: the server sets no limit, or does not tell.
    pub safe_bytes: Option<i64>,
    pub retained_bytes: u64,
    pub confirmed_flush: Lsn,
    /// As in [`SlotState`].
    pub lag_bytes: u64,
    pub in_recovery: bool,
}

/// What the slot holds back now; `None` when there is no such slot.
///
/// # Errors
/// When the server cannot be asked.
pub async fn held_log(connection: &mut Connection, slot: &str) -> Result<Option<HeldLog>, PgError> {
    let sql = format!(
        "SELECT coalesce(to_jsonb(s)->>'wal_status', ''), to_jsonb(s)->>'safe_wal_size', \
         greatest(pg_wal_lsn_diff(w.now, restart_lsn), 0)::bigint, coalesce(confirmed_flush_lsn, '0/0'), \
         greatest(pg_wal_lsn_diff(w.now, confirmed_flush_lsn), 0)::bigint, pg_is_in_recovery() \
         FROM pg_replication_slots s, (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
         ELSE pg_current_wal_lsn() END AS now) w WHERE slot_name = {}",
        quote_literal(slot)
    );
    let Some(row) = connection.query_one(&sql).await? else { return Ok(None) };
    let bytes = |index: usize| row.get(index).and_then(|bytes| bytes.parse().ok()).unwrap_or_default();
    Ok(Some(HeldLog {
        wal_status: row.text(0)?,
        safe_bytes: row.get(1).and_then(|bytes| bytes.parse().ok()),
        retained_bytes: bytes(2),
        confirmed_flush: row.parse(3)?,
        lag_bytes: bytes(4),
        in_recovery: row.flag(5),
    }))
}

/// How a slot is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// Gone with its connection.
    Temporary,
    Lasting,
    /// Kept by standbys too, where the server can (Postgres 17).
    Failover,
}

impl SlotKind {
    /// A slot that outlives its connection (`slot.failover`).
    #[must_use]
    pub fn lasting(failover: bool) -> Self {
        if failover { Self::Failover } else { Self::Lasting }
    }
}

/// Makes a slot on a replication connection and exports the snapshot that belongs to it. Waits for transactions that
/// are running now.
///
/// # Errors
/// When the server refuses, such as with SQLSTATE 53400 for too many slots.
pub async fn create(connection: &mut Connection, slot: &str, kind: SlotKind) -> Result<CreatedSlot, PgError> {
    let name = quote_identifier(slot);
    let failover = kind == SlotKind::Failover && version(connection).await? >= 170_000;
    let sql = if failover {
        format!("CREATE_REPLICATION_SLOT {name} LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER)")
    } else {
        let temporary = if kind == SlotKind::Temporary { " TEMPORARY" } else { "" };
        // The spelling without brackets is understood by every version.
        format!("CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL pgoutput EXPORT_SNAPSHOT")
    };
    let row = connection.query_one(&sql).await?;
    let row = row.ok_or_else(|| PgError::Protocol("no answer to CREATE_REPLICATION_SLOT".into()))?;
    Ok(CreatedSlot { consistent_point: row.parse(1)?, snapshot: row.text(2)? })
}

/// Version of the server, such as 170002.
///
/// # Errors
/// When it cannot be asked.
pub async fn version(connection: &mut Connection) -> Result<u32, PgError> {
    let row = connection.query_one("SHOW server_version_num").await?;
    row.ok_or_else(|| PgError::Protocol("no version".into()))?.parse(0)
}

/// Drops a slot that nobody streams. Returns whether it is gone.
///
/// # Errors
/// When the server cannot be asked.
pub async fn drop_idle(connection: &mut Connection, slot: &str) -> Result<bool, PgError> {
    let name = quote_literal(slot);
    let idle = format!("FROM pg_replication_slots WHERE slot_name = {name}");
    connection.query(&format!("SELECT pg_drop_replication_slot(slot_name) {idle} AND NOT active")).await?;
    Ok(connection.query_one(&format!("SELECT 1 {idle}")).await?.is_none())
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
