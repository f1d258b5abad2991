//! What to do at the start, from what is stored, what the slot says and what the settings want. Pure.

use std::collections::BTreeMap;

use model::lsn::Lsn;

use crate::{
    adhoc::{signal::SnapshotRequest, state::AdHocState},
    offsets::{MainOffset, Stored, StreamOffset},
    position::Position,
    postgres::slot::SlotState,
    settings::SnapshotMode,
    snapshot::{
        SnapshotStart,
        plan::{ChunkId, Plan, Progress},
    },
};

/// How to begin.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// Go on where the stored position says.
    Stream(StreamOffset),
    /// Finish a blocking snapshot, then as above.
    Blocking {
        plan: Plan,
        progress: BTreeMap<ChunkId, Progress>,
        offset: StreamOffset,
    },
    /// Nothing is stored and no snapshot is wanted: take what the slot holds.
    StreamFromSlot(Lsn),
    /// As above, but there is no slot yet.
    StreamFromNewSlot,
    Snapshot(SnapshotStart),
    /// `initial_only`, and it is done.
    Nothing,
}

/// What is known when the slot is taken and the offsets are read.
#[derive(Debug)]
pub struct Known<'a> {
    pub mode: SnapshotMode,
    /// False when this run of the task began before and only reconnects.
    pub first_session: bool,
    pub stored: Stored,
    pub slot_name: &'a str,
    pub slot: Option<&'a SlotState>,
    /// Identity of the server now; unknown when there is no slot to ask through.
    pub system_id: Option<&'a str>,
}

/// Decides.
///
/// # Errors
/// When going on would lose changes silently: the text says what is wrong and what to do.
pub fn decide(known: Known<'_>) -> Result<Start, String> {
    let stale = known.stored.progress.keys().copied().collect();
    let anew = Start::Snapshot(SnapshotStart::New { stale });
    let lost = |expected: Lsn| lost_changes(known.slot_name, known.slot, expected);
    match (known.stored.main, known.mode) {
        (None | Some(MainOffset::Snapshotting), SnapshotMode::NoData) => {
            Ok(known.slot.map_or(Start::StreamFromNewSlot, |slot| Start::StreamFromSlot(slot.confirmed_flush)))
        }
        (None, _) => Ok(anew),
        (Some(MainOffset::Snapshotting), mode) => {
            // Without a plan it was Debezium that was interrupted; it would begin anew as well.
            let Some(plan) = known.stored.plan else { return Ok(anew) };
            match lost(Lsn(plan.consistent_lsn)) {
                None => Ok(Start::Snapshot(SnapshotStart::Resume { plan, progress: known.stored.progress })),
                Some(_) if mode == SnapshotMode::WhenNeeded => Ok(anew),
                Some(reason) => Err(reason),
            }
        }
        (Some(MainOffset::Streaming(_)), SnapshotMode::InitialOnly) => Ok(Start::Nothing),
        (Some(MainOffset::Streaming(mut offset)), mode) => {
            let foreign = match (&offset.system_id, known.system_id) {
                (Some(stored), Some(now)) if stored != now => Some(format!(
                    "the stored position belongs to another database cluster (system identifier {stored}, this one is {now}); \
                     {RESET}"
                )),
                _ => None,
            };
            let lost = foreign.or_else(|| lost(offset.slot_limit()));
            match (lost, known.stored.plan.filter(|plan| plan.blocking)) {
                (None, Some(plan)) => Ok(Start::Blocking { plan, progress: known.stored.progress, offset }),
                (None, None) => {
                    let whole = SnapshotRequest::default();
                    if mode == SnapshotMode::Always && known.first_session && !offset.ad_hoc.blocking.contains(&whole) {
                        offset.ad_hoc.blocking.insert(0, whole);
                    }
                    Ok(Start::Stream(offset))
                }
                (Some(_), _) if mode == SnapshotMode::WhenNeeded => Ok(anew),
                // It reads everything anyway.
                (Some(_), _) if mode == SnapshotMode::Always && known.first_session => Ok(anew),
                (Some(reason), _) => Err(reason),
            }
        }
    }
}

const RESET: &str = "stop the connector, delete its offsets (DELETE /connectors/{name}/offsets) and resume it to take a new \
                     snapshot, or set snapshot.mode=when_needed to have that done by itself";

/// Why the slot cannot bring everything after `expected`, if it cannot.
fn lost_changes(name: &str, slot: Option<&SlotState>, expected: Lsn) -> Option<String> {
    let Some(slot) = slot else {
        return Some(format!(
            "replication slot \"{name}\" does not exist any more, so changes after {expected} are lost; {RESET}"
        ));
    };
    if slot.wal_status == "lost" {
        return Some(format!(
            "replication slot \"{name}\" is lost: the server removed log it needed (max_slot_wal_keep_size), so changes after \
             {expected} are gone; drop the slot, then {RESET}"
        ));
    }
    (slot.confirmed_flush > expected).then(|| {
        format!(
            "replication slot \"{name}\" stands at {}, beyond the stored position {expected}: the slot was made anew or \
             moved by somebody else, and the changes between are lost; {RESET}",
            slot.confirmed_flush
        )
    })
}

/// The offset of a stream that starts at the slot's own position.
#[must_use]
pub fn offset_at(lsn: Lsn, system_id: Option<String>, ts_us: i64) -> StreamOffset {
    let last = crate::offsets::LastEvent { lsn, tx_id: None, ts_us, kind: "COMMIT" };
    StreamOffset { position: Position::at(lsn), last, system_id, ad_hoc: AdHocState::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn slot(confirmed: u64) -> SlotState {
        SlotState {
            plugin: "pgoutput".into(),
            database: "storefront".into(),
            confirmed_flush: Lsn(confirmed),
            wal_status: "reserved".into(),
            active_pid: None,
            lag_bytes: 0,
        }
    }

    fn streaming(commit_end: u64) -> Stored {
        let offset = offset_at(Lsn(commit_end), Some("42".into()), 0);
        Stored { main: Some(MainOffset::Streaming(offset)), ..Stored::default() }
    }

    fn snapshotting() -> Stored {
        let plan = Plan {
            consistent_lsn: 100,
            pg_snapshot: "1:1:".into(),
            ts_us: 0,
            chunk_pages: 1,
            tables: vec![],
            blocking: false,
        };
        let progress = BTreeMap::from([(ChunkId { table: 0, chunk: 0 }, Progress::Done)]);
        Stored { main: Some(MainOffset::Snapshotting), plan: Some(plan), progress }
    }

    fn decided(mode: SnapshotMode, stored: Stored, slot: Option<&SlotState>) -> Result<Start, String> {
        decide(Known { mode, first_session: true, stored, slot_name: "s", slot, system_id: Some("42") })
    }

    #[test]
    fn nothing_stored_means_a_snapshot_unless_none_is_wanted() {
        let new = Start::Snapshot(SnapshotStart::New { stale: vec![] });
        assert_eq!(decided(SnapshotMode::Initial, Stored::default(), None), Ok(new.clone()));
        assert_eq!(decided(SnapshotMode::Initial, Stored::default(), Some(&slot(7))), Ok(new));
        assert_eq!(decided(SnapshotMode::NoData, Stored::default(), None), Ok(Start::StreamFromNewSlot));
        assert_eq!(decided(SnapshotMode::NoData, Stored::default(), Some(&slot(7))), Ok(Start::StreamFromSlot(Lsn(7))));
    }

    #[test]
    fn a_stored_position_is_gone_on_from() {
        assert!(matches!(decided(SnapshotMode::Initial, streaming(100), Some(&slot(100))), Ok(Start::Stream(_))));
        assert_eq!(decided(SnapshotMode::InitialOnly, streaming(100), Some(&slot(100))), Ok(Start::Nothing));
    }

    #[test]
    fn a_missing_lost_or_moved_slot_is_an_error_that_names_the_cure() {
        let lost = SlotState { wal_status: "lost".into(), ..slot(50) };
        for slot in [None, Some(&lost), Some(&slot(101))] {
            let reason = decided(SnapshotMode::Initial, streaming(100), slot).unwrap_err();
            assert!(reason.contains("\"s\"") && reason.contains("delete its offsets"), "{reason}");
            let again = decided(SnapshotMode::WhenNeeded, streaming(100), slot);
            assert!(matches!(again, Ok(Start::Snapshot(SnapshotStart::New { .. }))));
        }
    }

    #[test]
    fn another_cluster_is_not_gone_on_with() {
        let known = Known {
            mode: SnapshotMode::Initial,
            first_session: true,
            stored: streaming(100),
            slot_name: "s",
            slot: Some(&slot(1)),
            system_id: Some("43"),
        };
        assert!(decide(known).unwrap_err().contains("another database cluster"));
    }

    #[test]
    fn an_interrupted_snapshot_is_resumed_with_its_slot_only() {
        let resumed = decided(SnapshotMode::Initial, snapshotting(), Some(&slot(100)));
        assert!(matches!(resumed, Ok(Start::Snapshot(SnapshotStart::Resume { .. }))));
        assert!(decided(SnapshotMode::Initial, snapshotting(), None).is_err());
        let stale = vec![ChunkId { table: 0, chunk: 0 }];
        assert_eq!(
            decided(SnapshotMode::WhenNeeded, snapshotting(), None),
            Ok(Start::Snapshot(SnapshotStart::New { stale })),
            "entries of the old snapshot are known, so that they are deleted"
        );
    }

    #[test]
    fn always_takes_one_snapshot_per_run_of_the_task() {
        let again = |first_session| {
            let slot = slot(1);
            decide(Known {
                mode: SnapshotMode::Always,
                first_session,
                stored: streaming(100),
                slot_name: "s",
                slot: Some(&slot),
                system_id: None,
            })
        };
        let asked = |start| match start {
            Ok(Start::Stream(offset)) => offset.ad_hoc.blocking.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(asked(again(true)), 1, "changes since the stored position come first");
        assert_eq!(asked(again(false)), 0);
        let known = |slot| decided(SnapshotMode::Always, streaming(100), slot);
        assert!(matches!(known(None), Ok(Start::Snapshot(SnapshotStart::New { .. }))));
    }

    #[test]
    fn an_interrupted_blocking_snapshot_is_finished_before_the_stream_goes_on() {
        let plan = Plan { blocking: true, ..snapshotting().plan.unwrap() };
        let stored = Stored { plan: Some(plan), ..streaming(100) };
        assert!(matches!(decided(SnapshotMode::Initial, stored.clone(), Some(&slot(100))), Ok(Start::Blocking { .. })));
        assert!(matches!(
            decided(SnapshotMode::WhenNeeded, stored, None),
            Ok(Start::Snapshot(SnapshotStart::New { .. }))
        ));
    }
}
