//! The sending end of a producer: takes what the caller put in, and carries it to the brokers.
//!
//! One task on a thread of its own. Produce requests are several at a time; whatever concerns the transaction as a whole
//! (taking over, adding partitions, ending) and metadata is asked for one after the other, and the rest waits meanwhile.
//!
//! ```text
//!   Intake ──batches──▶ Lane per partition ──▶ produce requests, one connection per leader
//!                            ▲                          │
//!                            └────────── answers ───────┘      then, when nothing is under way: EndTxn
//! ```

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kafka_protocol::messages::ProduceResponse;
use tokio::sync::mpsc;

use super::Shared;
use super::batch::Batch;
use super::brokers::{Address, Brokers};
use super::codes::Failure;
use super::connection::Fault;
use super::intake::{Phase, Target};
use super::lane::{Freed, Lane, UNDER_WAY_MAX};
use super::metadata::Stale;
use crate::cluster::Cluster;
use crate::error::{Next, ProduceError};

/// How often it is looked whether something can go on that no answer will tell of.
const TICK: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_secs(60);

/// What the caller asks for, and waits for.
pub(super) struct Command {
    pub ask: Ask,
    pub reply: Reply,
}

pub(super) type Reply = std::sync::mpsc::SyncSender<Result<(), ProduceError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Init,
    Commit,
    Abort,
}

/// Whom the coordinator takes us for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub producer_id: i64,
    pub epoch: i16,
}

/// The answer to a produce request.
pub(super) struct Posted {
    pub address: Address,
    pub sent: Vec<(Target, u64)>,
    pub answer: Result<ProduceResponse, Fault>,
}

/// See the module documentation.
pub(super) struct Sender {
    pub shared: Arc<Shared>,
    pub commands: mpsc::Receiver<Command>,
    pub brokers: Brokers,
    pub coordinator: Option<Address>,
    pub identity: Option<Identity>,
    /// See [`super::connection::Abilities::implicit_transactions`]; the same for the whole of a transaction.
    pub implicit: bool,
    pub lanes: HashMap<Target, Lane>,
    /// Lanes with something in them.
    pub active: BTreeSet<Target>,
    pub leaders: HashMap<Target, i32>,
    pub stale: Stale,
    pub posts: FuturesUnordered<Pin<Box<dyn Future<Output = Posted>>>>,
    pub under_way: HashMap<Address, usize>,
    pub next_id: u64,
    /// The coordinator may know of the open transaction.
    pub begun: bool,
    ending: Option<(Ask, Reply)>,
    taken: Vec<(Target, Batch)>,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Receiver<Command>, cluster: Cluster, turn: usize) -> Self {
        Self {
            shared,
            commands,
            brokers: Brokers::new(cluster, turn),
            coordinator: None,
            identity: None,
            implicit: false,
            lanes: HashMap::new(),
            active: BTreeSet::new(),
            leaders: HashMap::new(),
            stale: Stale::default(),
            posts: FuturesUnordered::new(),
            under_way: HashMap::new(),
            next_id: 0,
            begun: false,
            ending: None,
            taken: Vec::new(),
        }
    }

    /// Until the caller's end is dropped.
    pub(super) async fn run(mut self) {
        loop {
            self.advance().await;
            let timer = tokio::time::sleep_until(self.next_look().into());
            tokio::select! {
                Some(posted) = self.posts.next(), if !self.posts.is_empty() => self.answered(posted),
                command = self.commands.recv() => match command {
                    Some(command) => self.carry_out(command).await,
                    None => return,
                },
                () = self.shared.wake.notified() => {}
                () = timer => {}
            }
        }
    }

    /// All that can be done without another answer.
    async fn advance(&mut self) {
        loop {
            self.collect();
            self.ask_for_metadata().await;
            if !self.implicit {
                self.add_partitions().await;
            }
            if !self.send().await {
                break;
            }
        }
        if self.active.is_empty() {
            self.end_if_asked().await;
        }
    }

    async fn carry_out(&mut self, Command { ask, reply }: Command) {
        if ask == Ask::Init {
            let outcome = self.take_over().await;
            self.reply(&reply, outcome);
            return;
        }
        let (failure, phase) = {
            let intake = self.shared.intake();
            (intake.failure.clone(), intake.phase)
        };
        match failure {
            Some(failure) if failure.is_fatal() || ask == Ask::Commit => return self.reply(&reply, Err(failure)),
            _ => {}
        }
        if phase != Phase::Ending {
            // Nobody waited for its end, and it went through meanwhile.
            let reason = "the transaction has ended already, it is not known how";
            return self.reply(&reply, Err(Failure::new(Next::Rebuild, reason)));
        }
        if ask == Ask::Abort {
            self.drop_fresh();
        }
        self.ending = Some((ask, reply));
    }

    async fn end_if_asked(&mut self) {
        let Some((ask, reply)) = self.ending.take() else { return };
        let outcome = self.end(ask == Ask::Commit).await;
        match &outcome {
            Ok(()) => {
                let mut intake = self.shared.intake();
                intake.phase = Phase::Idle;
                intake.failure = None;
            }
            Err(failure) => self.fail(failure.clone()),
        }
        self.reply(&reply, outcome);
    }

    /// Takes batches that are full or due from the caller's side.
    fn collect(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        let linger = Duration::from_millis(self.shared.settings.linger_ms);
        {
            let mut intake = self.shared.intake();
            if self.ending.is_some() {
                intake.take(None, &mut taken);
            } else if self.posts.len() < UNDER_WAY_MAX {
                intake.take(Some(linger), &mut taken);
            } else {
                // What cannot be sent yet had better grow.
                intake.take_full(&mut taken);
            }
            if intake.failure.is_some() {
                for (_, batch) in taken.drain(..) {
                    release(&mut intake, (count(&batch), batch.bytes()));
                }
            }
        }
        for (target, batch) in taken.drain(..) {
            self.lanes.entry(target).or_default().push(batch);
            self.active.insert(target);
        }
        self.taken = taken;
    }

    /// When [`Self::advance`] is worth another try, even if nothing happens.
    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let mut look = now + if self.active.is_empty() && self.stale.is_empty() { IDLE } else { TICK };
        if self.posts.len() < UNDER_WAY_MAX
            && let Some(oldest) = self.shared.intake().oldest()
        {
            look = look.min(oldest + Duration::from_millis(self.shared.settings.linger_ms));
        }
        let waiting = self.active.iter().filter_map(|target| self.lanes.get(target)?.not_before());
        waiting.chain(self.stale.not_before()).filter(|then| *then > now).fold(look, Instant::min)
    }

    /// The open transaction, or the producer, is lost.
    pub(super) fn fail(&mut self, failure: Failure) {
        let fatal = failure.is_fatal();
        tracing::debug!(target: "kafka", id = self.shared.settings.transactional_id, "failed: {}", failure.reason);
        {
            let mut intake = self.shared.intake();
            // The first cause is kept: what falls with it must not hide it. One that ends everything wins.
            if intake.failure.as_ref().is_none_or(|known| fatal && !known.is_fatal()) {
                intake.failure = Some(failure.clone());
            }
            if intake.phase == Phase::Ending {
                intake.phase = Phase::Open;
            }
        }
        if fatal {
            let lost = |lane: &mut Lane| lane.give_up();
            self.each_active(lost);
        } else {
            self.drop_fresh();
        }
        if let Some((ask, reply)) = self.ending.take() {
            if ask == Ask::Commit || fatal {
                self.reply(&reply, Err(failure));
            } else {
                // It is thrown away as was asked, whatever else goes wrong with it.
                self.shared.intake().phase = Phase::Ending;
                self.ending = Some((ask, reply));
            }
        }
    }

    fn drop_fresh(&mut self) {
        self.each_active(Lane::drop_fresh);
        let mut intake = self.shared.intake();
        let mut taken = std::mem::take(&mut self.taken);
        intake.take(None, &mut taken);
        for (_, batch) in taken.drain(..) {
            release(&mut intake, (count(&batch), batch.bytes()));
        }
        drop(intake);
        self.taken = taken;
    }

    fn each_active(&mut self, what: impl Fn(&mut Lane) -> Freed) {
        let mut intake = self.shared.intake();
        let lanes = &mut self.lanes;
        self.active.retain(|target| {
            let Some(lane) = lanes.get_mut(target) else { return false };
            release(&mut intake, what(lane));
            !lane.is_idle()
        });
    }

    fn reply(&self, reply: &Reply, outcome: Result<(), Failure>) {
        let id = &self.shared.settings.transactional_id;
        // Who asked may have been stopped.
        let _ = reply.try_send(outcome.map_err(|failure| failure.to_error(id)));
    }
}

pub(super) fn release(intake: &mut super::intake::Intake, (records, bytes): Freed) {
    if records > 0 {
        intake.release(records, bytes);
    }
}

fn count(batch: &Batch) -> usize {
    usize::try_from(batch.count()).unwrap_or(0)
}
