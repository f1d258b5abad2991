//! One partition's batches on their way to the broker: which may be sent now, and what an answer means for them.
//!
//! Pure. Promise: a batch keeps its sequence number until it is answered; batches are in the log in the order in which they
//! were sealed, each once. The broker knows the last five batches of a producer again, so no more than five are under way.
//!
//! A broker that knows nothing of a producer takes any number from it as the first one. So the first batch of a transaction
//! goes alone: if it were refused because the leader is only just becoming one, the second would be taken in its place.
//!
//! After a batch came back, nothing new is sent and what came back is sent again one at a time, and only when nothing of the
//! partition is under way any more: those behind it were refused as out of order, or stand in the log already.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;

use super::batch::Batch;
use super::codes::{self, Failure};
use crate::error::Next;

pub(super) const UNDER_WAY_MAX: usize = 5;
/// Wait before a refused batch is sent again; doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));

/// A sealed batch.
#[derive(Debug)]
struct Flight {
    id: u64,
    sealed: Bytes,
    records: usize,
    bytes: usize,
    times_sent: u32,
    under_way: bool,
}

/// What is to be sent now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Nothing,
    /// The next batch that was not sent before.
    Fresh,
    /// This one once more.
    Again(u64, Bytes),
}

/// Room that became free, as records and bytes.
pub(super) type Freed = (usize, usize);

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done(Freed),
    /// It is sent again. `moved`: after the partition's leader is asked for.
    Again {
        moved: bool,
    },
    /// It will not be in the log, nor what comes after it.
    Lost(Freed, Failure),
    /// Nobody waits for it any more.
    Stale,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: VecDeque<Batch>,
    sent: VecDeque<Flight>,
    next_sequence: i32,
    /// In this transaction, as far as the coordinator knows.
    pub added: bool,
    not_before: Option<Instant>,
    backoff: Option<Duration>,
    /// The broker has taken a batch of this transaction, so it knows our numbers.
    known: bool,
    /// A batch was lost: the numbers of those behind it do not fit any more.
    lost: bool,
}

impl Lane {
    pub(super) fn push(&mut self, batch: Batch) {
        self.waiting.push_back(batch);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    pub(super) fn has_fresh(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When something is to be sent that must wait until then.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    pub(super) fn ready(&self, now: Instant) -> Ready {
        if self.not_before.is_some_and(|then| now < then) {
            return Ready::Nothing;
        }
        match self.sent.iter().find(|flight| !flight.under_way) {
            Some(flight) if self.sent.iter().all(|flight| !flight.under_way) => {
                Ready::Again(flight.id, flight.sealed.clone())
            }
            Some(_) => Ready::Nothing,
            None if self.waiting.is_empty() || self.sent.len() >= self.under_way_max() => Ready::Nothing,
            None => Ready::Fresh,
        }
    }

    fn under_way_max(&self) -> usize {
        if self.known { UNDER_WAY_MAX } else { 1 }
    }

    /// The next fresh batch and its first sequence number; to be handed to [`Self::seal`].
    pub(super) fn take_fresh(&mut self) -> Option<(Batch, i32)> {
        self.waiting.pop_front().map(|batch| (batch, self.next_sequence))
    }

    /// The fresh batch is sealed and about to be sent.
    pub(super) fn seal(&mut self, id: u64, batch: &Batch, sealed: Bytes) {
        self.next_sequence = after(self.next_sequence, batch.count());
        let (records, bytes) = (usize::try_from(batch.count()).unwrap_or(0), batch.bytes());
        self.sent.push_back(Flight { id, sealed, records, bytes, times_sent: 1, under_way: true });
    }

    pub(super) fn sent_again(&mut self, id: u64) {
        if let Some(flight) = self.sent.iter_mut().find(|flight| flight.id == id) {
            flight.times_sent += 1;
            flight.under_way = true;
        }
    }

    /// No answer will come.
    pub(super) fn unanswered(&mut self, id: u64, now: Instant) -> Freed {
        let Some(at) = self.sent.iter().position(|flight| flight.id == id) else { return (0, 0) };
        if self.lost {
            return self.remove(at);
        }
        self.sent[at].under_way = false;
        self.wait(now);
        (0, 0)
    }

    /// `doing`: for the text of a failure.
    pub(super) fn answered(&mut self, id: u64, code: Option<Code>, now: Instant, doing: &str) -> Verdict {
        let Some(at) = self.sent.iter().position(|flight| flight.id == id) else { return Verdict::Stale };
        if self.lost {
            return Verdict::Done(self.remove(at));
        }
        let repeated = self.sent[at].times_sent > 1;
        match code {
            // Or it was in the log already when it was sent again, further back than the broker tells offsets of.
            None | Some(Code::DuplicateSequenceNumber) if code.is_none() || repeated => {
                (self.backoff, self.not_before, self.known) = (None, None, true);
                Verdict::Done(self.remove(at))
            }
            // One before it is missing, and comes again.
            Some(Code::OutOfOrderSequenceNumber) if at > 0 => self.again(at, now, false),
            Some(code) if codes::next(code) == Next::Again => self.again(at, now, codes::has_moved(code)),
            code => {
                self.lost = true;
                let (one, more) = (self.remove(at), self.drop_returned());
                let failure = Failure::of(code.unwrap_or(Code::UnknownServerError), doing);
                Verdict::Lost((one.0 + more.0, one.1 + more.1), failure)
            }
        }
    }

    /// Throws away what was not sent yet.
    pub(super) fn drop_fresh(&mut self) -> Freed {
        self.waiting.drain(..).fold((0, 0), |(records, bytes), batch| {
            (records + usize::try_from(batch.count()).unwrap_or(0), bytes + batch.bytes())
        })
    }

    /// Gives up what would have to be sent again; what is under way is not waited for when it comes back. The numbers of this
    /// lane do not fit the broker's any more.
    pub(super) fn give_up(&mut self) -> Freed {
        self.lost |= !self.sent.is_empty();
        let (fresh, returned) = (self.drop_fresh(), self.drop_returned());
        (fresh.0 + returned.0, fresh.1 + returned.1)
    }

    /// A transaction ended. `renumber`: with another epoch, under which numbers begin at zero.
    pub(super) fn transaction_ended(&mut self, renumber: bool) {
        (self.added, self.known) = (false, false);
        (self.backoff, self.not_before) = (None, None);
        if renumber {
            (self.next_sequence, self.lost) = (0, false);
        }
    }

    /// The broker's numbers are not ours any more; only another epoch makes them so.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    fn again(&mut self, at: usize, now: Instant, moved: bool) -> Verdict {
        self.sent[at].under_way = false;
        self.wait(now);
        Verdict::Again { moved }
    }

    fn wait(&mut self, now: Instant) {
        // Those that come back together wait together.
        if self.not_before.is_some_and(|then| then > now) {
            return;
        }
        let backoff = self.backoff.map_or(BACKOFF.0, |last| (last * 2).min(BACKOFF.1));
        self.backoff = Some(backoff);
        self.not_before = Some(now + backoff);
    }

    fn drop_returned(&mut self) -> Freed {
        let mut freed = (0, 0);
        self.sent.retain(|flight| {
            if !flight.under_way {
                freed = (freed.0 + flight.records, freed.1 + flight.bytes);
            }
            flight.under_way
        });
        freed
    }

    fn remove(&mut self, at: usize) -> Freed {
        self.sent.remove(at).map_or((0, 0), |flight| (flight.records, flight.bytes))
    }
}

/// Numbers wrap to zero behind the largest INT32.
fn after(sequence: i32, count: i32) -> i32 {
    (sequence.cast_unsigned().wrapping_add(count.cast_unsigned()) & i32::MAX.cast_unsigned()).cast_signed()
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
