//! Where the relay stands in the history of the database, and what of the stream it has already written.
//!
//! The stream of a slot is a sequence of whole transactions in commit order; inside one transaction the events have an
//! order but no position of their own (rows of a `COPY` share one LSN, and LSNs of concurrent transactions interleave).
//! So the position is: everything that committed before [`Position::commit_end`], and of the transaction after that the
//! first so many events. Pure: no I/O, compared and advanced only here.

use model::lsn::Lsn;

/// What is durable in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// End of the last commit record whose transaction is written completely: transactions whose commit record starts
    /// before this are done. Debezium's `lsn_commit`, and what the slot may confirm.
    pub commit_end: Lsn,
    /// A transaction that is written in part, because it is larger than one Kafka transaction.
    pub partial: Option<Partial>,
}

/// How much of the first transaction after `commit_end` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partial {
    /// Our own record: the first `events` row events of the transaction whose commit record starts at `commit_start`.
    Events { commit_start: Lsn, events: u64 },
    /// Debezium's record: it has no event index, only the LSN of the last event it wrote, and since 3.7 how many of those
    /// that share it. Before, at least one: others at that LSN (rows of a `COPY`) are written again rather than lost.
    UpToLsn { lsn: Lsn, at_lsn: u64 },
}

impl Position {
    /// Everything before `commit_end`, nothing after.
    #[must_use]
    pub fn at(commit_end: Lsn) -> Self {
        Self { commit_end, partial: None }
    }
}

/// Walks along the stream and tells of each event whether it is new. Fed with every message the server sends, also with
/// those that are not written, so that the index of an event is the same after a restart with other settings.
#[derive(Debug, Clone)]
pub struct Cursor {
    position: Position,
    /// The transaction the stream is in.
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    commit_start: Lsn,
    /// Row events seen so far.
    events: u64,
    skip: Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    Nothing,
    Everything,
    Events(u64),
    /// Everything before `lsn`, and so many more of the events at it.
    UpToLsn {
        lsn: Lsn,
        at_lsn: u64,
    },
}

impl Cursor {
    /// Starts from a stored position.
    #[must_use]
    pub fn new(position: Position) -> Self {
        Self { position, open: None }
    }

    /// A transaction begins. `commit_start`: where its commit record starts (`final_lsn` of pgoutput's Begin).
    /// Returns whether anything of it may be new.
    pub fn begin(&mut self, commit_start: Lsn) -> bool {
        let skip = if commit_start < self.position.commit_end {
            Skip::Everything
        } else {
            match self.position.partial {
                Some(Partial::Events { commit_start: at, events }) if at == commit_start => Skip::Events(events),
                // A transaction before the partial one cannot come: those end at or before `commit_end`.
                Some(Partial::Events { .. }) | None => Skip::Nothing,
                Some(Partial::UpToLsn { lsn, at_lsn }) => Skip::UpToLsn { lsn, at_lsn },
            }
        };
        self.open = Some(Open { commit_start, events: 0, skip });
        skip != Skip::Everything
    }

    /// A row event of the open transaction. Returns whether it is new, and counts it.
    pub fn event(&mut self, lsn: Lsn) -> bool {
        let Some(open) = &mut self.open else { return true };
        open.events += 1;
        match &mut open.skip {
            Skip::Nothing => true,
            Skip::Everything => false,
            Skip::Events(done) => open.events > *done,
            Skip::UpToLsn { lsn: done, at_lsn } if lsn == *done => {
                let new = *at_lsn == 0;
                *at_lsn = at_lsn.saturating_sub(1);
                new
            }
            Skip::UpToLsn { lsn: done, .. } => lsn > *done,
        }
    }

    /// A logical message outside of any transaction, whose log record ends at `lsn`: for messages, unlike rows, the server
    /// names the end (`logicalmsg_decode` in its `decode.c`), which may be where the next record starts. Returns whether it
    /// is new. The server sends it when it gets there, so everything before it in the stream is before it in the log.
    pub fn message(&mut self, lsn: Lsn) -> bool {
        let done = match self.position.partial {
            Some(Partial::Events { commit_start, .. }) => lsn <= commit_start,
            Some(Partial::UpToLsn { lsn: last, .. }) => lsn <= last,
            None => false,
        };
        let new = !done && lsn > self.position.commit_end;
        if new {
            self.idle(lsn);
        }
        new
    }

    /// The open transaction is complete; `commit_end` is where its commit record ends.
    pub fn commit(&mut self, commit_end: Lsn) {
        if commit_end > self.position.commit_end {
            self.position = Position::at(commit_end);
        }
        self.open = None;
    }

    /// The server has nothing before `wal_end` that was not sent. Takes effect between transactions only.
    pub fn idle(&mut self, wal_end: Lsn) {
        if self.open.is_none() && self.position.partial.is_none() && wal_end > self.position.commit_end {
            self.position.commit_end = wal_end;
        }
    }

    /// The position behind everything that was fed in.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.open {
            Some(Open { commit_start, events, skip }) if skip != Skip::Everything => {
                // Having skipped some, the count may still be below what the stored position says.
                let done = match skip {
                    Skip::Events(done) => done,
                    Skip::Nothing | Skip::Everything | Skip::UpToLsn { .. } => 0,
                };
                let events = events.max(done);
                let partial =
                    if events == 0 { self.position.partial } else { Some(Partial::Events { commit_start, events }) };
                Position { partial, ..self.position }
            }
            Some(_) | None => self.position,
        }
    }

    /// Whether the stream stands between two transactions.
    #[must_use]
    pub fn between_transactions(&self) -> bool {
        self.open.is_none()
    }

    /// Where the last complete transaction ended; `source.sequence` names it.
    #[must_use]
    pub fn last_commit(&self) -> Lsn {
        self.position.commit_end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A history: transactions in commit order with their number of events. Commit records are 10 long.
    fn replay(cursor: &mut Cursor, history: &[u64], seen: &mut Vec<(usize, u64)>, events_max: usize) {
        let mut count = 0;
        for (index, events) in history.iter().enumerate() {
            let commit_start = Lsn(100 * (index as u64 + 1));
            cursor.begin(commit_start);
            for event in 0..*events {
                if count == events_max {
                    return;
                }
                // All rows of a transaction share one LSN, as those of a COPY do.
                if cursor.event(Lsn(100 * index as u64 + 1)) {
                    seen.push((index, event));
                }
                count += 1;
            }
            cursor.commit(Lsn(commit_start.0 + 10));
        }
    }

    #[test]
    fn a_transaction_whose_commit_starts_before_the_position_is_done() {
        let mut cursor = Cursor::new(Position::at(Lsn(110)));
        assert!(!cursor.begin(Lsn(100)));
        assert!(!cursor.event(Lsn(90)));
        cursor.commit(Lsn(110));
        assert!(cursor.begin(Lsn(110)));
        assert!(cursor.event(Lsn(105)), "its rows may have been written before the earlier commit");
    }

    #[test]
    fn an_idle_server_moves_the_position_only_between_transactions() {
        let mut cursor = Cursor::new(Position::at(Lsn(10)));
        cursor.begin(Lsn(100));
        cursor.idle(Lsn(50));
        assert_eq!(cursor.position(), Position::at(Lsn(10)));
        cursor.commit(Lsn(110));
        cursor.idle(Lsn(500));
        assert_eq!(cursor.position(), Position::at(Lsn(500)));
        cursor.idle(Lsn(400));
        assert_eq!(cursor.position(), Position::at(Lsn(500)));
    }

    #[test]
    fn debeziums_position_inside_a_transaction_is_taken_over_by_lsn() {
        let partial = Some(Partial::UpToLsn { lsn: Lsn(21), at_lsn: 1 });
        let mut cursor = Cursor::new(Position { commit_end: Lsn(10), partial });
        cursor.begin(Lsn(100));
        assert!(!cursor.event(Lsn(20)));
        assert!(!cursor.event(Lsn(21)));
        assert!(cursor.event(Lsn(22)));
        cursor.commit(Lsn(110));
        cursor.begin(Lsn(200));
        assert!(cursor.event(Lsn(15)), "the next transaction is wholly new");
    }

    #[test]
    fn of_rows_that_share_debeziums_lsn_none_is_lost() {
        for (at_lsn, new) in [(1, [false, true, true]), (2, [false, false, true]), (3, [false, false, false])] {
            let partial = Some(Partial::UpToLsn { lsn: Lsn(21), at_lsn });
            let mut cursor = Cursor::new(Position { commit_end: Lsn(10), partial });
            cursor.begin(Lsn(100));
            assert!(!cursor.event(Lsn(20)));
            assert_eq!([21, 21, 21].map(|lsn| cursor.event(Lsn(lsn))), new);
            assert!(cursor.event(Lsn(22)));
        }
    }

    #[test]
    fn a_message_outside_of_transactions_is_new_once() {
        let mut cursor = Cursor::new(Position::at(Lsn(100)));
        assert!(!cursor.message(Lsn(100)), "it ends where we go on");
        assert!(cursor.message(Lsn(140)));
        assert_eq!(cursor.position(), Position::at(Lsn(140)), "the next record may start here");
        let mut again = Cursor::new(cursor.position());
        assert!(!again.message(Lsn(140)));
        assert!(again.message(Lsn(180)));
        let partial = Some(Partial::Events { commit_start: Lsn(200), events: 3 });
        let mut inside = Cursor::new(Position { commit_end: Lsn(100), partial });
        assert!(!inside.message(Lsn(150)), "it came before the transaction that is written in part");
        assert!(!inside.message(Lsn(200)), "it ends where the commit starts");
        assert!(inside.begin(Lsn(200)) && !inside.event(Lsn(150)));
    }

    proptest! {
        /// Stop anywhere, go on from the position reached: every event is seen exactly once, in order.
        #[test]
        fn a_restart_at_any_event_neither_loses_nor_doubles(
            history in prop::collection::vec(0_u64..6, 1..8),
            stops in prop::collection::vec(0_usize..50, 0..6),
        ) {
            let mut seen = Vec::new();
            let mut position = Position::default();
            for stop in stops {
                let mut cursor = Cursor::new(position);
                replay(&mut cursor, &history, &mut seen, stop);
                position = cursor.position();
            }
            replay(&mut Cursor::new(position), &history, &mut seen, usize::MAX);
            let all: Vec<_> =
                history.iter().enumerate().flat_map(|(index, events)| (0..*events).map(move |event| (index, event))).collect();
            prop_assert_eq!(seen, all);
        }
    }
}
