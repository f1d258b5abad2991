//! Care for the slot: how much log it holds back, when that will meet its limit, and that it moves while nothing happens.
//!
//! Stands beside snapshot and stream, with a connection of its own, for as long as a session lives. Promises: a person is
//! warned before the server removes log that is needed, or its disk is full; a slot that stands still although the server
//! writes log is given a message of ours to move to; nothing in here can end the session.

pub mod forecast;

use std::time::{Duration, Instant};

use connect::Reporter;
use metrics::gauge;
use model::lsn::Lsn;
use tokio::{task::AbortHandle, time::timeout};

use self::forecast::{Forecast, Look, Outlook, said};
use crate::{
    postgres::{
        PgError,
        connection::{Connection, Target},
        quote_literal,
        slot::{self, HeldLog},
    },
    session::Run,
};

/// Prefix of the messages that move an idle slot. They are written to no topic.
pub const MESSAGE_PREFIX: &str = "cdc-relay";
/// Growth is taken over so long: longer than checkpoints are apart by default.
const WINDOW: Duration = Duration::from_secs(600);
/// A limit that will be met within this time is warned of.
const WARN_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// The same warning is logged again after this time.
const REPEAT: Duration = Duration::from_secs(600);
/// A statement of ours that takes longer has failed.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A slot may stand so far behind before it is moved by a message: one segment of log.
const IDLE_LAG_BYTES: u64 = 16 << 20;
/// Looks at which the slot stood still before it is moved.
const IDLE_LOOKS: u32 = 3;

/// How the slot is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchSettings {
    /// How often it is looked at; `None`: never.
    pub interval: Option<Duration>,
    /// What the log may take at most, such as the room on the disk; beside `max_slot_wal_keep_size`.
    pub limit_bytes: Option<u64>,
}

/// Ends the watch when it is dropped.
#[derive(Debug)]
pub struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches the slot until the answer is dropped.
#[must_use]
pub fn watch(run: &Run) -> Watch {
    let settings = &run.settings;
    let mut target = settings.target.clone();
    target.application_name.push_str("-slot");
    let watcher = Watcher {
        target,
        slot: settings.slot.clone(),
        connector: run.connector.clone(),
        report: run.report.clone(),
        begun: Instant::now(),
        forecast: Forecast::new(WINDOW, settings.watch.limit_bytes),
        warned: None,
        idle: Idle::default(),
    };
    let action = settings.heartbeat.interval.zip(settings.heartbeat.action_query.clone());
    Watch(tokio::spawn(watcher.run(settings.watch.interval, action)).abort_handle())
}

struct Watcher {
    target: Target,
    slot: String,
    connector: String,
    report: Reporter,
    begun: Instant,
    forecast: Forecast,
    /// When the warning was logged last.
    warned: Option<Instant>,
    idle: Idle,
}

impl Watcher {
    async fn run(mut self, look_every: Option<Duration>, action: Option<(Duration, String)>) {
        let (act_every, query) = action.map_or((None, String::new()), |(every, query)| (Some(every), query));
        let (mut look_at, mut act_at) = (Instant::now(), Instant::now());
        let mut connection = None;
        let mut failed = false;
        loop {
            let next = [look_every.map(|_| look_at), act_every.map(|_| act_at)].into_iter().flatten().min();
            let Some(next) = next else { return };
            tokio::time::sleep_until(next.into()).await;
            let mut outcome = Ok(());
            if let Some(every) = look_every.filter(|_| Instant::now() >= look_at) {
                look_at = Instant::now() + every;
                outcome = self.patiently(&mut connection, Statement::Look).await;
            }
            if let Some(every) = act_every.filter(|_| Instant::now() >= act_at) {
                act_at = Instant::now() + every;
                outcome = outcome.and(self.patiently(&mut connection, Statement::Act(&query)).await);
            }
            match outcome {
                Ok(()) => failed = false,
                // Said once: the session itself tells when the server is away.
                Err(error) if !failed => {
                    failed = true;
                    tracing::warn!(connector = self.connector, slot = self.slot, "the slot is not watched: {error}");
                }
                Err(_) => {}
            }
        }
    }

    async fn patiently(&mut self, connection: &mut Option<Connection>, what: Statement<'_>) -> Result<(), PgError> {
        let outcome = timeout(ANSWER_MAX, self.state(connection, what)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        // After a refusal a connection can be used again; after anything else its answers may be out of step.
        if outcome.as_ref().is_err_and(|error: &PgError| error.code().is_none()) {
            *connection = None;
        }
        outcome
    }

    async fn state(&mut self, connection: &mut Option<Connection>, what: Statement<'_>) -> Result<(), PgError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Connection::open(&self.target).await?),
        };
        match what {
            Statement::Act(query) => connection.query(query).await.map(|_| ()),
            Statement::Look => {
                let Some(held) = slot::held_log(connection, &self.slot).await? else { return Ok(()) };
                self.tell(&held);
                if self.idle.stands_still(&held) {
                    tracing::debug!(slot = self.slot, lag_bytes = held.lag_bytes, "the slot is moved by a message");
                    let prefix = quote_literal(MESSAGE_PREFIX);
                    connection.query(&format!("SELECT pg_logical_emit_message(false, {prefix}, '')")).await?;
                }
                Ok(())
            }
        }
    }

    fn tell(&mut self, held: &HeldLog) {
        let look = Look {
            at: self.begun.elapsed(),
            retained_bytes: held.retained_bytes,
            safe_bytes: held.safe_bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0)),
        };
        let outlook = self.forecast.look(look);
        let connector = || self.connector.clone();
        gauge!("cdc_relay_slot_retained_bytes", "connector" => connector()).set(held.retained_bytes as f64);
        gauge!("cdc_relay_slot_growth_bytes_per_second", "connector" => connector())
            .set(outlook.growth_bytes_per_second);
        // Without a limit these say "never": a gauge that is missing cannot be compared.
        let safe = held.safe_bytes.map_or(f64::INFINITY, |bytes| bytes as f64);
        gauge!("cdc_relay_slot_safe_wal_bytes", "connector" => connector()).set(safe);
        let limit = outlook.limit_in.map_or(f64::INFINITY, |limit| limit.as_secs_f64());
        gauge!("cdc_relay_slot_limit_seconds", "connector" => connector()).set(limit);
        for status in ["reserved", "extended", "unreserved", "lost"] {
            let is = if held.wal_status == status { 1.0 } else { 0.0 };
            gauge!("cdc_relay_slot_wal_status", "connector" => connector(), "status" => status).set(is);
        }
        self.report.progress("slot_retained_bytes", held.retained_bytes);
        self.report.progress("slot_growth_bytes_per_second", outlook.growth_bytes_per_second.round());
        self.report.progress("slot_wal_status", held.wal_status.clone());
        self.report.progress("slot_safe_wal_bytes", held.safe_bytes);
        let warning = warning(&self.slot, held, outlook);
        self.report.progress("slot_warning", warning.clone());
        self.log(warning);
    }

    fn log(&mut self, warning: Option<String>) {
        match warning {
            Some(warning) if self.warned.is_none_or(|at| at.elapsed() >= REPEAT) => {
                tracing::warn!(connector = self.connector, "{warning}");
                self.warned = Some(Instant::now());
            }
            Some(_) => {}
            None if self.warned.take().is_some() => {
                tracing::info!(connector = self.connector, slot = self.slot, "the slot is within its limits again");
            }
            None => {}
        }
    }
}

enum Statement<'a> {
    Look,
    Act(&'a str),
}

/// The sentence a person is warned by, if there is a reason to.
fn warning(slot: &str, held: &HeldLog, outlook: Outlook) -> Option<String> {
    let held_mb = held.retained_bytes >> 20;
    if held.wal_status == "unreserved" || held.wal_status == "lost" {
        let status = &held.wal_status;
        return Some(format!(
            "replication slot \"{slot}\" is {status}: it holds {held_mb} MiB of log, more than max_slot_wal_keep_size lets it, \
             and the next checkpoint may remove what is needed; raise that setting now"
        ));
    }
    let limit_in = outlook.limit_in.filter(|limit| *limit <= WARN_WITHIN)?;
    let rate_kb = outlook.growth_bytes_per_second.max(0.0) / 1024.0;
    Some(format!(
        "replication slot \"{slot}\" holds {held_mb} MiB of log, which grows by {rate_kb:.0} KiB/s: its limit is met {}; \
         see why the relay falls behind (lag, a long transaction, Kafka away), or raise max_slot_wal_keep_size or the disk",
        said(limit_in)
    ))
}

/// Notices a slot that stands still while log is written.
///
/// A server that decodes log tells how far it is, and that moves the slot too; this is for servers that do not (idle
/// databases on some managed ones, where nothing but their own heartbeats is written).
#[derive(Debug, Default)]
struct Idle {
    confirmed: Lsn,
    looks: u32,
}

impl Idle {
    fn stands_still(&mut self, held: &HeldLog) -> bool {
        if held.confirmed_flush != self.confirmed || held.lag_bytes < IDLE_LAG_BYTES || held.in_recovery {
            *self = Self { confirmed: held.confirmed_flush, looks: 0 };
            return false;
        }
        self.looks += 1;
        self.looks.is_multiple_of(IDLE_LOOKS)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn held(wal_status: &str, lag_bytes: u64) -> HeldLog {
        HeldLog {
            wal_status: wal_status.into(),
            safe_bytes: None,
            retained_bytes: 5 << 20,
            confirmed_flush: Lsn(7),
            lag_bytes,
            in_recovery: false,
        }
    }

    #[test]
    fn a_person_is_told_when_the_limit_will_be_met() {
        let outlook = Outlook { growth_bytes_per_second: 2048.0, limit_in: Some(Duration::from_secs(3_600)) };
        let text = warning("s", &held("reserved", 0), outlook).unwrap();
        assert!(text.contains("5 MiB") && text.contains("2 KiB/s") && text.contains("in 60 min"), "{text}");
        let far = Outlook { limit_in: Some(Duration::from_secs(90_000)), ..outlook };
        assert_eq!(warning("s", &held("reserved", 0), far), None);
        assert!(warning("s", &held("unreserved", 0), far).unwrap().contains("max_slot_wal_keep_size"));
    }

    #[test]
    fn a_slot_that_stands_still_far_behind_is_moved_now_and_then() {
        let mut idle = Idle::default();
        let far = held("reserved", IDLE_LAG_BYTES);
        let moved: Vec<_> = (0..7).map(|_| idle.stands_still(&far)).collect();
        assert_eq!(moved, [false, false, false, true, false, false, true]);
        assert!((0..7).all(|_| !idle.stands_still(&held("reserved", IDLE_LAG_BYTES - 1))));
        let standby = HeldLog { in_recovery: true, ..far };
        assert!((0..7).all(|_| !idle.stands_still(&standby)));
    }
}
