//! Whether a row was already there when the snapshot was taken, told from its `xmin`.
//!
//! When a snapshot is resumed, the rest of a table is read under a later view of it. A row whose `xmin` the recorded
//! `pg_snapshot` does not see was inserted or rewritten since: the stream brings it, so it must not be read here. Rows
//! deleted since are not seen and their deletes come by the stream. Both together: no repeat, no gap. Pure.

use std::str::FromStr;

/// A recorded `pg_snapshot` (manual, "Transaction ID and Snapshot Information Functions"): 64-bit transaction ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgSnapshot {
    /// Every transaction below this was over.
    xmin: u64,
    /// No transaction from here on had begun.
    xmax: u64,
    /// Those between that were not over, in ascending order.
    in_progress: Vec<u64>,
}

/// The text is not of the form `xmin:xmax:xip,xip,…`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a pg_snapshot")]
pub struct PgSnapshotParseError(String);

impl FromStr for PgSnapshot {
    type Err = PgSnapshotParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || PgSnapshotParseError(text.to_owned());
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(list), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let number = |part: &str| part.parse::<u64>().map_err(|_| bad());
        let mut in_progress = Vec::new();
        for part in list.split(',').filter(|part| !part.is_empty()) {
            in_progress.push(number(part)?);
        }
        in_progress.sort_unstable();
        let (xmin, xmax) = (number(xmin)?, number(xmax)?);
        if xmin > xmax { Err(bad()) } else { Ok(Self { xmin, xmax, in_progress }) }
    }
}

impl PgSnapshot {
    /// First transaction id that had not begun; stands for the snapshot's own transaction in `source.txId`.
    #[must_use]
    pub fn next_transaction(&self) -> u64 {
        self.xmax
    }

    /// Whether what this transaction wrote was visible. The transaction is known to have committed by now.
    #[must_use]
    pub fn sees(&self, transaction: u64) -> bool {
        transaction < self.xmin || (transaction < self.xmax && self.in_progress.binary_search(&transaction).is_err())
    }

    /// As [`Self::sees`], for the 32-bit id of a transaction of about the same time, before or after the snapshot.
    #[must_use]
    pub fn sees_xid(&self, xid: u32) -> bool {
        // The low half of the difference, with its sign, is the whole difference if that is less than half a turn.
        let apart = xid.wrapping_sub((self.xmax & 0xFFFF_FFFF) as u32).cast_signed();
        self.sees(self.xmax.saturating_add_signed(apart.into()))
    }

    /// Whether a row that a later reader sees was visible in this snapshot. `xmin` is the 32-bit system column,
    /// `next` the reader's own next transaction id, 64 bits.
    ///
    /// A frozen row keeps its old `xmin`; such an id, more than 2³² transactions old, can only be told from one of the
    /// last few if those few reach it, which needs an interruption as long as the counter's whole turn.
    #[must_use]
    pub fn sees_row(&self, xmin: u32, next: u64) -> bool {
        // 0 invalid, 1 bootstrap, 2 frozen (before Postgres 9.4): older than everything.
        xmin < FIRST_NORMAL || self.sees(widen(xmin, next))
    }
}

/// `FirstNormalTransactionId`.
const FIRST_NORMAL: u32 = 3;

/// The latest 64-bit transaction id before `next` that has these low 32 bits.
fn widen(xid: u32, next: u64) -> u64 {
    let candidate = (next & !0xFFFF_FFFF) | u64::from(xid);
    // Without an earlier epoch there is nothing to go back to.
    if candidate < next { candidate } else { candidate.checked_sub(1 << 32).unwrap_or(candidate) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_in_progress_or_had_not_begun_is_not_seen() {
        let snapshot: PgSnapshot = "100:105:101,103".parse().unwrap();
        let seen: Vec<u64> = (98..107).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [98, 99, 100, 102, 104]);
    }

    #[test]
    fn a_snapshot_without_running_transactions_parses() {
        assert_eq!("7:7:".parse::<PgSnapshot>().unwrap().next_transaction(), 7);
        for text in ["", "1:2", "2:1:", "a:b:", "1:2:3:4", "1:2:x"] {
            assert!(text.parse::<PgSnapshot>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_frozen_or_ancient_row_is_seen() {
        let epoch = 1 << 32;
        let snapshot: PgSnapshot = format!("{0}:{0}:", epoch + 50).parse().unwrap();
        assert!(snapshot.sees_row(2, epoch + 60));
        assert!(snapshot.sees_row(4_000_000_000, epoch + 60), "written before the counter turned over");
        assert!(snapshot.sees_row(49, epoch + 60));
        assert!(!snapshot.sees_row(55, epoch + 60));
    }

    #[test]
    fn ids_near_the_snapshot_are_told_apart_across_the_turn_of_the_counter() {
        let epoch = 1_u64 << 32;
        let snapshot: PgSnapshot = format!("{}:{}:{}", epoch - 5, epoch + 5, epoch + 1).parse().unwrap();
        let seen: Vec<bool> = [u32::MAX - 9, u32::MAX, 0, 1, 4, 5, 100].map(|xid| snapshot.sees_xid(xid)).into();
        assert_eq!(seen, [true, true, true, false, true, false, false]);
    }

    proptest! {
        #[test]
        fn widening_finds_every_id_of_the_last_turn(next in (1_u64 << 32)..(1 << 40), age in 1_u64..(1 << 32)) {
            let xid = next - age;
            prop_assert_eq!(widen((xid & 0xFFFF_FFFF) as u32, next), xid);
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in ".{0,60}") {
            let _ = text.parse::<PgSnapshot>();
        }
    }
}
