//! Which transactions a snapshot of Postgres shows.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::error::{LedgerError, broken};

/// A `pg_snapshot` (`xmin:xmax:xip,…`, 64-bit transaction ids), as `pg_current_snapshot()` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Every transaction below has ended.
    xmin: u64,
    /// No transaction from here on had ended.
    xmax: u64,
    /// Between them, those that were still running.
    running: BTreeSet<u64>,
}

impl Snapshot {
    /// Whether the snapshot shows what the transaction with this 32-bit id wrote, given that it was committed.
    #[must_use]
    pub fn shows(&self, xid: u32) -> bool {
        let xid = self.widened(xid);
        xid < self.xmin || (xid < self.xmax && !self.running.contains(&xid))
    }

    /// The 64-bit id: of all with these low bits the one nearest to the snapshot. Ids that are two billion
    /// transactions apart are never both in use.
    fn widened(&self, xid: u32) -> u64 {
        let distance = xid.wrapping_sub(self.xmax as u32).cast_signed();
        self.xmax.wrapping_add_signed(i64::from(distance))
    }
}

impl FromStr for Snapshot {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let refused = || broken(format!("{text:?} is no pg_snapshot"));
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(running), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refused());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| refused());
        let running = running.split(',').filter(|id| !id.is_empty()).map(number).collect::<Result<_, _>>()?;
        Ok(Self { xmin: number(xmin)?, xmax: number(xmax)?, running })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_snapshot_shows_what_had_ended() {
        let snapshot: Snapshot = "10:20:12,15".parse().unwrap();
        let shown: Vec<u32> = (8..22).filter(|xid| snapshot.shows(*xid)).collect();
        assert_eq!(shown, [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]);
        assert!("7:7:".parse::<Snapshot>().unwrap().shows(6));
        assert!(!"7:7:".parse::<Snapshot>().unwrap().shows(7));
    }

    #[test]
    fn ids_are_widened_across_the_wrap_around() {
        let epoch = 3u64 << 32;
        let snapshot: Snapshot = format!("{}:{}:{}", epoch - 5, epoch + 5, epoch - 2).parse().unwrap();
        assert!(snapshot.shows(u32::MAX - 9));
        assert!(snapshot.shows(u32::MAX));
        assert!(!snapshot.shows(u32::MAX - 1), "still running");
        assert!(snapshot.shows(4));
        assert!(!snapshot.shows(5));
        assert!(!snapshot.shows(1_000_000));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "1", "1:2", "1:2:3:4", "a:2:", "1:2:x", "-1:2:"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn widening_finds_every_id_within_two_billion(xmax in 1u64 << 32..1 << 60, distance in -2_000_000_000i64..2_000_000_000) {
            let snapshot = Snapshot { xmin: xmax, xmax, running: BTreeSet::new() };
            let full = xmax.wrapping_add_signed(distance);
            prop_assert_eq!(snapshot.widened(full as u32), full);
        }
    }
}
