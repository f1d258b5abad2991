//! A lane against a broker that keeps Kafka's rules for sequence numbers and fails as it likes.
#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;

use super::*;
use crate::record::RecordOut;

fn batch(records: usize) -> Batch {
    let mut batch = Batch::new(Vec::new(), 0, Instant::now());
    for _ in 0..records {
        batch.append(&RecordOut::to("t").value(b"v"), 0);
    }
    batch
}

/// Sends the next fresh batch under this id.
fn send(lane: &mut Lane, id: u64) -> i32 {
    assert_eq!(lane.ready(Instant::now()), Ready::Fresh);
    let (batch, sequence) = lane.take_fresh().unwrap();
    lane.seal(id, &batch, Bytes::new());
    sequence
}

/// The broker took a batch of one record before those of the test.
fn known() -> Lane {
    let mut lane = Lane::default();
    lane.push(batch(1));
    send(&mut lane, 1_000);
    assert!(matches!(lane.answered(1_000, None, later(), ""), Verdict::Done(_)));
    lane
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn numbers_count_records_and_wrap() {
    let mut lane = known();
    for _ in 0..2 {
        lane.push(batch(3));
    }
    assert_eq!((send(&mut lane, 1), send(&mut lane, 2)), (1, 4));
    assert_eq!(after(i32::MAX, 1), 0);
    assert_eq!(after(i32::MAX - 1, 3), 1);
}

#[test]
fn no_more_than_five_are_under_way() {
    let mut lane = known();
    for _ in 0..6 {
        lane.push(batch(1));
    }
    for id in 0..5 {
        send(&mut lane, id);
    }
    assert_eq!(lane.ready(later()), Ready::Nothing);
    assert_eq!(lane.answered(0, None, later(), ""), Verdict::Done((1, batch(1).bytes())));
    assert_eq!(lane.ready(later()), Ready::Fresh);
}

#[test]
fn what_comes_back_is_sent_again_in_order_when_the_others_are_answered() {
    let mut lane = known();
    for _ in 0..4 {
        lane.push(batch(1));
    }
    for id in 0..3 {
        send(&mut lane, id);
    }
    let now = Instant::now();
    assert_eq!(lane.answered(0, Some(Code::NotLeaderOrFollower), now, ""), Verdict::Again { moved: true });
    assert_eq!(lane.ready(later()), Ready::Nothing, "two are under way");
    assert_eq!(lane.answered(1, Some(Code::OutOfOrderSequenceNumber), now, ""), Verdict::Again { moved: false });
    assert_eq!(lane.unanswered(2, now), (0, 0));
    assert_eq!(lane.ready(now), Ready::Nothing, "not at once");
    for id in 0..3 {
        assert!(matches!(lane.ready(later()), Ready::Again(again, _) if again == id), "{id}");
        lane.sent_again(id);
        // The last of them may be followed by what is new.
        assert_eq!(lane.ready(later()), if id < 2 { Ready::Nothing } else { Ready::Fresh });
        let code = (id == 2).then_some(Code::DuplicateSequenceNumber);
        assert!(matches!(lane.answered(id, code, now, ""), Verdict::Done(_)));
    }
    assert_eq!(send(&mut lane, 3), 4);
}

#[test]
fn the_first_of_a_transaction_goes_alone() {
    let mut lane = known();
    lane.transaction_ended(false);
    lane.push(batch(1));
    lane.push(batch(1));
    assert_eq!(send(&mut lane, 0), 1);
    assert_eq!(lane.ready(later()), Ready::Nothing);
    assert!(matches!(lane.answered(0, None, later(), ""), Verdict::Done(_)));
    assert_eq!(lane.ready(later()), Ready::Fresh);
}

#[test]
fn out_of_order_without_one_before_it_is_lost() {
    let mut lane = Lane::default();
    lane.push(batch(1));
    send(&mut lane, 0);
    let verdict = lane.answered(0, Some(Code::OutOfOrderSequenceNumber), later(), "send");
    assert!(matches!(verdict, Verdict::Lost(_, Failure { next: Next::Abort, .. })), "{verdict:?}");
}

#[test]
fn a_duplicate_that_was_sent_once_is_not_taken_for_ours() {
    let mut lane = Lane::default();
    lane.push(batch(1));
    send(&mut lane, 0);
    assert!(matches!(lane.answered(0, Some(Code::DuplicateSequenceNumber), later(), ""), Verdict::Lost(..)));
}

#[test]
fn behind_a_lost_batch_nothing_is_sent_again() {
    let mut lane = known();
    for _ in 0..3 {
        lane.push(batch(1));
    }
    for id in 0..3 {
        send(&mut lane, id);
    }
    assert!(matches!(lane.answered(0, Some(Code::MessageTooLarge), later(), ""), Verdict::Lost(..)));
    assert!(matches!(lane.answered(1, Some(Code::OutOfOrderSequenceNumber), later(), ""), Verdict::Done(_)));
    assert_eq!(lane.unanswered(2, later()), (1, batch(1).bytes()));
    assert!(lane.is_idle() && lane.is_lost());
    lane.transaction_ended(true);
    lane.push(batch(1));
    assert_eq!(send(&mut lane, 9), 0);
}

/// What the broker does with a batch it gets.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Answered,
    /// It took effect; the answer is lost, and all behind it on the connection.
    AnswerLost,
    RequestLost,
    /// Refused for now.
    Refused(i16),
    /// It took effect and the broker says that it may not have.
    Doubtful,
}

/// A partition with Kafka's rules: the last five batches are known again, the others are to follow without a gap; the
/// first may have any number.
#[derive(Default)]
struct Broker {
    log: Vec<i32>,
    last: VecDeque<(i32, i32)>,
}

impl Broker {
    fn take(&mut self, sequence: i32, count: i32) -> Option<Code> {
        if self.last.contains(&(sequence, count)) {
            return None;
        }
        let next = self.last.back().map_or(sequence, |(sequence, count)| after(*sequence, *count));
        if sequence < next {
            return Some(Code::DuplicateSequenceNumber);
        }
        if sequence > next {
            return Some(Code::OutOfOrderSequenceNumber);
        }
        self.log.extend(sequence..sequence + count);
        self.last.push_back((sequence, count));
        if self.last.len() > UNDER_WAY_MAX {
            self.last.pop_front();
        }
        None
    }
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Answered),
        1 => Just(Luck::AnswerLost),
        1 => Just(Luck::RequestLost),
        1 => prop::sample::select(vec![6_i16, 7, 19, 51]).prop_map(Luck::Refused),
        1 => Just(Luck::Doubtful),
    ]
}

proptest! {
    #[test]
    fn every_record_is_in_the_log_once_and_in_order(
        sizes in prop::collection::vec(1_usize..4, 1..30),
        lucks in prop::collection::vec(luck(), 0..200),
        depths in prop::collection::vec(1_usize..6, 1..20),
    ) {
        let mut lane = Lane::default();
        let mut broker = Broker::default();
        let total: usize = sizes.iter().sum();
        for size in sizes {
            lane.push(batch(size));
        }
        let (mut lucks, mut depths) = (lucks.into_iter(), depths.into_iter().cycle());
        // Of each batch: number, count.
        let mut sealed: Vec<(i32, i32)> = Vec::new();
        let mut under_way: VecDeque<u64> = VecDeque::new();
        for _round in 0..10_000 {
            if lane.is_idle() {
                break;
            }
            let depth = depths.next().unwrap();
            while under_way.len() < depth {
                match lane.ready(later()) {
                    Ready::Nothing => break,
                    Ready::Fresh => {
                        let (batch, sequence) = lane.take_fresh().unwrap();
                        under_way.push_back(sealed.len() as u64);
                        lane.seal(sealed.len() as u64, &batch, Bytes::new());
                        sealed.push((sequence, batch.count()));
                    }
                    Ready::Again(id, _) => {
                        lane.sent_again(id);
                        under_way.push_back(id);
                    }
                }
            }
            // One connection, so the broker takes them in order.
            while let Some(id) = under_way.pop_front() {
                let (sequence, count) = sealed[usize::try_from(id).unwrap()];
                let code = match lucks.next().unwrap_or(Luck::Answered) {
                    Luck::Answered => broker.take(sequence, count),
                    Luck::Refused(code) => Code::try_from_code(code),
                    Luck::Doubtful => broker.take(sequence, count).or(Some(Code::NotEnoughReplicasAfterAppend)),
                    luck @ (Luck::AnswerLost | Luck::RequestLost) => {
                        if matches!(luck, Luck::AnswerLost) {
                            broker.take(sequence, count);
                        }
                        lane.unanswered(id, Instant::now());
                        for id in under_way.drain(..) {
                            lane.unanswered(id, Instant::now());
                        }
                        break;
                    }
                };
                let verdict = lane.answered(id, code, Instant::now(), "");
                prop_assert!(!matches!(verdict, Verdict::Lost(..) | Verdict::Stale), "{verdict:?}");
            }
        }
        prop_assert!(lane.is_idle());
        prop_assert_eq!(broker.log, (0..i32::try_from(total).unwrap()).collect::<Vec<_>>());
    }
}
