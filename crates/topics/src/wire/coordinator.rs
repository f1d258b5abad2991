//! What is asked of the transaction's coordinator: an identity, partitions for a transaction, its end.
//!
//! Each question is repeated until it is answered, for ever: the coordinator knows by identity and state what it has
//! carried out already. A commit that was carried out and is asked for again is answered with success, also where the
//! first one has raised the epoch (KIP-890): the coordinator accepts the epoch before, as long as nothing has begun since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey, EndTxnRequest, EndTxnResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId,
    TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::brokers::address;
use super::codes::{self, Failure};
use super::connection::{Connection, Fault};
use super::intake::{Target, TopicIndex};
use super::lane::Lane;
use super::sender::{Identity, Sender};
use crate::error::Next;

/// Wait before the same question is put again; the transaction before may be being completed, which takes milliseconds.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// A topic that the coordinator does not know may be new; for so long.
const UNKNOWN_MAX: Duration = Duration::from_secs(30);
const TRANSACTION: i8 = 1;
const FIND: (i16, i16) = (1, 5);
/// From here on, several keys in one request.
const FIND_SEVERAL: i16 = 4;
const INIT: (i16, i16) = (0, 5);
/// From here on, an identity can be renewed by whoever has it, and by nobody else.
const RENEW: (i16, i16) = (3, 5);
/// Later versions are for brokers.
const ADD: (i16, i16) = (0, 3);
const END: (i16, i16) = (0, 4);
const END_AND_RENEW: (i16, i16) = (5, 5);
const NOBODY: Identity = Identity { producer_id: -1, epoch: -1 };

struct Question<Q> {
    api: ApiKey,
    versions: (i16, i16),
    request: Q,
    /// For texts: what it is asked to do.
    doing: &'static str,
}

impl Sender {
    /// Takes over the transactional id and forgets whatever was not committed.
    pub(super) async fn take_over(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.shared.intake().failure.clone().filter(Failure::is_fatal) {
            return Err(failure);
        }
        let outcome = self.identify(NOBODY, INIT).await;
        match outcome {
            Ok(identity) => {
                self.identity = Some(identity);
                self.begun = false;
                self.lanes.clear();
                self.active.clear();
                self.shared.intake().start_anew();
                tracing::debug!(
                    target: "kafka",
                    id = self.shared.settings.transactional_id,
                    producer_id = identity.producer_id,
                    epoch = identity.epoch,
                    implicit = self.implicit,
                    "took over"
                );
                Ok(())
            }
            Err(failure) => {
                if failure.is_fatal() {
                    self.fail(failure.clone());
                }
                Err(failure)
            }
        }
    }

    /// A new epoch for `now`, or whatever comes next for nobody.
    async fn identify(&mut self, now: Identity, versions: (i16, i16)) -> Result<Identity, Failure> {
        let timeout = self.shared.settings.transaction_timeout.as_millis();
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_transaction_timeout_ms(i32::try_from(timeout).unwrap_or(i32::MAX))
            .with_producer_id(ProducerId(now.producer_id))
            .with_producer_epoch(now.epoch);
        let question =
            Question { api: ApiKey::InitProducerId, versions, request, doing: "take over the transactional id" };
        let code = |answer: &InitProducerIdResponse| Code::try_from_code(answer.error_code);
        let answer: InitProducerIdResponse = self.ask(question, code).await?;
        Ok(Identity { producer_id: answer.producer_id.0, epoch: answer.producer_epoch })
    }

    /// Commits or aborts; nothing of the transaction is under way.
    pub(super) async fn end(&mut self, commit: bool) -> Result<(), Failure> {
        let Some(identity) = self.identity.filter(|_| self.begun) else {
            self.forget_transaction(false);
            return Ok(());
        };
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(identity.producer_id))
            .with_producer_epoch(identity.epoch)
            .with_committed(commit);
        let (versions, renewed) = if self.implicit { (END_AND_RENEW, true) } else { (END, false) };
        let doing = if commit { "commit the transaction" } else { "abort the transaction" };
        let question = Question { api: ApiKey::EndTxn, versions, request, doing };
        let code = |answer: &EndTxnResponse| Code::try_from_code(answer.error_code);
        let answer: EndTxnResponse = self.ask(question, code).await?;
        self.begun = false;
        if renewed {
            let next = Identity { producer_id: answer.producer_id.0, epoch: answer.producer_epoch };
            if next.producer_id < 0 || next.epoch < 0 || next == identity {
                let reason = format!("asked to {doing}, the coordinator gave no new epoch");
                return Err(Failure::new(Next::Rebuild, reason));
            }
            self.identity = Some(next);
        } else if self.lanes.values().any(Lane::is_lost) {
            // The brokers' sequence numbers are not ours any more. Under another epoch they begin anew.
            self.identity = Some(self.identify(identity, RENEW).await?);
            self.forget_transaction(true);
            return Ok(());
        }
        self.forget_transaction(renewed);
        Ok(())
    }

    fn forget_transaction(&mut self, renumber: bool) {
        for lane in self.lanes.values_mut() {
            lane.transaction_ended(renumber);
        }
    }

    /// Tells the coordinator of partitions that get their first records in this transaction.
    pub(super) async fn add_partitions(&mut self) {
        let Some(identity) = self.identity else { return };
        let new = |target: &&Target| self.lanes.get(target).is_some_and(|lane| lane.has_fresh() && !lane.added);
        let targets: Vec<Target> = self.active.iter().filter(new).copied().collect();
        if targets.is_empty() {
            return;
        }
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(ProducerId(identity.producer_id))
            .with_v3_and_below_producer_epoch(identity.epoch)
            .with_v3_and_below_topics(self.by_topic(&targets));
        let doing = "add partitions to the transaction";
        let question = Question { api: ApiKey::AddPartitionsToTxn, versions: ADD, request, doing };
        // From here on the coordinator may know of it.
        match self.ask(question, first_code).await {
            Ok(AddPartitionsToTxnResponse { .. }) => {
                self.begun = true;
                for target in targets {
                    self.lanes.entry(target).or_default().added = true;
                }
            }
            Err(failure) => self.fail(failure),
        }
    }

    fn by_topic(&self, targets: &[Target]) -> Vec<AddPartitionsToTxnTopic> {
        let intake = self.shared.intake();
        let mut topics: Vec<(TopicIndex, AddPartitionsToTxnTopic)> = Vec::new();
        for target in targets {
            if topics.last().is_none_or(|(topic, _)| *topic != target.topic) {
                let name = TopicName(StrBytes::from_string(intake.name(target.topic).to_string()));
                topics.push((target.topic, AddPartitionsToTxnTopic::default().with_name(name)));
            }
            if let Some((_, topic)) = topics.last_mut() {
                topic.partitions.push(target.partition);
            }
        }
        topics.into_iter().map(|(_, topic)| topic).collect()
    }

    /// Asks until there is an answer that says what to do.
    async fn ask<Q: Encodable, A: Decodable>(
        &mut self,
        question: Question<Q>,
        code: impl Fn(&A) -> Option<Code>,
    ) -> Result<A, Failure> {
        let Question { api, versions, request, doing } = question;
        let (begun, mut wait) = (Instant::now(), BACKOFF.0);
        loop {
            match self.ask_once(api, versions, &request).await {
                Ok(answer) => match code(&answer) {
                    None => return Ok(answer),
                    Some(code) => {
                        let unknown = code == Code::UnknownTopicOrPartition && begun.elapsed() > UNKNOWN_MAX;
                        if unknown {
                            return Err(Failure { next: Next::GiveUp, ..Failure::of(code, doing) });
                        }
                        if codes::next(code) != Next::Again {
                            return Err(Failure::of(code, doing));
                        }
                        tracing::debug!(target: "kafka", "{code}, asked to {doing}");
                        if codes::has_moved(code) {
                            self.coordinator = None;
                        }
                    }
                },
                Err(Fault::Lost(reason)) => {
                    tracing::debug!(target: "kafka", "asked to {doing}: {reason}");
                    self.coordinator = None;
                }
                // What became of it is not known.
                Err(Fault::Garbled(reason)) => {
                    return Err(Failure::new(Next::Rebuild, format!("{reason}, to {doing}")));
                }
                Err(Fault::TooOld(reason)) => return Err(Failure::new(Next::GiveUp, reason)),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    async fn ask_once<A: Decodable>(
        &mut self,
        api: ApiKey,
        versions: (i16, i16),
        request: &impl Encodable,
    ) -> Result<A, Fault> {
        let connection = self.coordinator().await?;
        let version = connection.abilities.pick(api, versions)?;
        let answer = connection.ask(api, version, request).await?;
        self.brokers.answered();
        // Only between transactions: within one, it stays what it was.
        if matches!(api, ApiKey::InitProducerId | ApiKey::EndTxn) {
            self.implicit = connection.abilities.implicit_transactions;
        }
        Ok(answer)
    }

    async fn coordinator(&mut self) -> Result<Arc<Connection>, Fault> {
        if let Some(address) = &self.coordinator {
            return self.brokers.reach(address).await;
        }
        let connection = self.brokers.any().await?;
        let version = connection.abilities.pick(ApiKey::FindCoordinator, FIND)?;
        let id = self.transactional_id().0;
        let request = match version {
            FIND_SEVERAL.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![id]),
            _ => FindCoordinatorRequest::default().with_key(id),
        };
        let request = request.with_key_type(TRANSACTION);
        let answer: FindCoordinatorResponse = connection.ask(ApiKey::FindCoordinator, version, &request).await?;
        self.brokers.answered();
        let (code, host, port) = match answer.coordinators.first() {
            Some(found) => (found.error_code, &found.host, found.port),
            None => (answer.error_code, &answer.host, answer.port),
        };
        if let Some(code) = Code::try_from_code(code) {
            let text = format!("{code}, asked for the coordinator");
            let retry = codes::next(code) == Next::Again;
            return Err(if retry { Fault::Lost(text) } else { Fault::TooOld(text) });
        }
        let address = address(host, port);
        self.coordinator = Some(Arc::clone(&address));
        self.brokers.reach(&address).await
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(StrBytes::from_string(self.shared.settings.transactional_id.clone()))
    }
}

/// When one partition is refused, the others are told that they were not attempted.
fn first_code(answer: &AddPartitionsToTxnResponse) -> Option<Code> {
    let topics = answer.results_by_topic_v3_and_below.iter();
    let codes = topics.flat_map(|topic| &topic.results_by_partition).map(|partition| partition.partition_error_code);
    let refused: Vec<Code> = codes.filter_map(Code::try_from_code).collect();
    refused.iter().find(|code| **code != Code::OperationNotAttempted).or(refused.first()).copied()
}
