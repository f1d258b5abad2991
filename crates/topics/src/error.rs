//! Errors by what the caller does next, and the one place that maps librdkafka's codes to them.
//!
//! Lost brokers are waited for inside this crate; what comes out asks for a decision.

use rdkafka::error::{KafkaError, RDKafkaError};
use rdkafka::types::RDKafkaErrorCode as Code;

/// Outcome of a producer call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Another producer with the same transactional.id took over. Stop this task: its successor goes on.
    #[error("producer {transactional_id} was fenced: another one with the same transactional.id took over")]
    Fenced { transactional_id: String },
    /// The open transaction cannot be committed. Call `abort`, then repeat its records.
    #[error("the kafka transaction must be aborted: {reason}")]
    AbortRequired { reason: String },
    /// A record sent outside a transaction was not acknowledged in time. It may be in the log. Send it again.
    #[error("kafka did not acknowledge the record: {reason}")]
    NotAcknowledged { reason: String },
    /// The producer is beyond use. Drop it, make a new one, and start again from the last committed position.
    #[error("the kafka producer must be made anew: {reason}")]
    Broken { reason: String },
    /// The broker will never take this record or request (too large, not authorised, unknown topic). Repeating
    /// it does not help.
    #[error("kafka refuses it: {reason}")]
    Refused { reason: String },
    /// The stop token fired while waiting for the broker.
    #[error("stopped while waiting for kafka")]
    Stopped,
}

/// Outcome of a consumer call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The broker is away or moving; the consumer reconnects by itself. Poll again.
    #[error("kafka is not answering: {reason}")]
    Retry { reason: String },
    /// The stored position is not in the log any more (expired or truncated): records were lost to this reader.
    #[error("the position asked for is not in the log any more: {reason}")]
    PositionLost { reason: String },
    /// Commit came too late: the group moved on without this member. Its successor reads those records again.
    #[error("offset commit refused, the group was rebalanced: {reason}")]
    CommitRefused { reason: String },
    /// A static member of the same instance id took over, or the client is in a fatal state. Make a new one.
    #[error("the kafka consumer must be made anew: {reason}")]
    Broken { reason: String },
    /// Unknown topic, not authorised, wrong settings. A person must act.
    #[error("kafka refuses it: {reason}")]
    Refused { reason: String },
}

/// Outcome of an administrative call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The broker is away; try again.
    #[error("kafka at {bootstrap} is not answering: {reason}")]
    Retry { bootstrap: String, reason: String },
    #[error("topic {topic} does not exist")]
    UnknownTopic { topic: String },
    /// A topic stands with other properties than asked for. Nothing was changed.
    #[error("topic {topic} exists with {found}, wanted {wanted}")]
    TopicDiffers { topic: String, found: String, wanted: String },
    /// Offsets are changed only while nobody reads with them.
    #[error("group {group} has {members} active member(s); stop its consumers first")]
    GroupActive { group: String, members: usize },
    #[error("kafka refuses it: {reason}")]
    Refused { reason: String },
}

/// Outcome of a registry call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry is away or busy; try again.
    #[error("schema registry at {url} is not answering: {reason}")]
    Retry { url: String, reason: String },
    /// The registry will not take or does not have it. `code` is Confluent's error code (409, 42201, 40403 ...).
    #[error("schema registry refuses {subject}: {reason} (code {code})")]
    Refused { subject: String, reason: String, code: i64 },
    /// Not found: the subject, version or id.
    #[error("schema registry does not have {what}: {reason} (code {code})")]
    NotFound { what: String, reason: String, code: i64 },
}

/// What to do about an error inside this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same call may be made again.
    Again,
    Abort,
    Fenced,
    Rebuild,
    GiveUp,
}

/// Decides for the transactional API, whose errors carry their own flags.
pub(crate) fn next_for_transaction(error: &RDKafkaError) -> Next {
    if is_fencing(error.code()) {
        Next::Fenced
    } else if error.is_fatal() {
        Next::Rebuild
    } else if error.txn_requires_abort() {
        Next::Abort
    } else if error.is_retriable() {
        Next::Again
    } else {
        next_for_code(error.code())
    }
}

pub(crate) fn next_for_error(error: &KafkaError) -> Next {
    match error {
        KafkaError::Transaction(error) => next_for_transaction(error),
        KafkaError::MessageConsumptionFatal(_) | KafkaError::Canceled => Next::Rebuild,
        KafkaError::AdminOp(code) => next_for_code(*code),
        other => other.rdkafka_error_code().map_or(Next::GiveUp, next_for_code),
    }
}

fn is_fencing(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::FencedInstanceId)
}

pub(crate) fn next_for_code(code: Code) -> Next {
    match code {
        code if is_fencing(code) => Next::Fenced,
        Code::Fatal | Code::UnknownProducerId | Code::InvalidProducerIdMapping => Next::Rebuild,
        Code::AllBrokersDown
        | Code::BrokerTransportFailure
        | Code::OperationTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::RequestTimedOut
        | Code::Resolve
        | Code::NodeUpdate
        | Code::WaitingForCoordinator
        | Code::WaitCache
        | Code::Interrupted
        | Code::Retry
        | Code::BrokerDestroy
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NetworkException
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::ConcurrentTransactions
        | Code::NotController
        | Code::KafkaStorageError
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::PreferredLeaderNotAvailable
        | Code::ThrottlingQuotaExceeded => Next::Again,
        _ => Next::GiveUp,
    }
}

impl ProduceError {
    pub(crate) fn from_next(next: Next, transactional_id: &str, reason: String) -> Self {
        match next {
            Next::Fenced => Self::Fenced { transactional_id: transactional_id.to_owned() },
            Next::Abort | Next::Again => Self::AbortRequired { reason },
            Next::Rebuild => Self::Broken { reason },
            Next::GiveUp => Self::Refused { reason },
        }
    }
}

impl ConsumeError {
    pub(crate) fn from_kafka(error: &KafkaError) -> Self {
        let reason = error.to_string();
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => return Self::PositionLost { reason },
            Some(
                Code::IllegalGeneration | Code::RebalanceInProgress | Code::UnknownMemberId | Code::AssignmentLost,
            ) => return Self::CommitRefused { reason },
            // The broker forgets a member that did not poll; the client joins again with the next poll.
            Some(Code::PollExceeded) => return Self::Retry { reason },
            _ => {}
        }
        match next_for_error(error) {
            Next::Again | Next::Abort => Self::Retry { reason },
            Next::Fenced | Next::Rebuild => Self::Broken { reason },
            Next::GiveUp => Self::Refused { reason },
        }
    }
}

impl AdminError {
    pub(crate) fn from_kafka(bootstrap: &str, error: &KafkaError) -> Self {
        let reason = error.to_string();
        match next_for_error(error) {
            Next::Again | Next::Abort | Next::Rebuild | Next::Fenced => {
                Self::Retry { bootstrap: bootstrap.to_owned(), reason }
            }
            Next::GiveUp => Self::Refused { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_lost_broker_is_retried_and_a_fenced_producer_is_not() {
        assert_eq!(next_for_code(Code::BrokerTransportFailure), Next::Again);
        assert_eq!(next_for_code(Code::ProducerFenced), Next::Fenced);
        assert_eq!(next_for_code(Code::InvalidProducerEpoch), Next::Fenced);
        assert_eq!(next_for_code(Code::MessageSizeTooLarge), Next::GiveUp);
    }

    #[test]
    fn a_commit_after_a_rebalance_is_its_own_error() {
        let error = ConsumeError::from_kafka(&KafkaError::ConsumerCommit(Code::IllegalGeneration));
        assert!(matches!(error, ConsumeError::CommitRefused { .. }));
    }

    #[test]
    fn an_expired_position_is_told_as_lost() {
        let error = ConsumeError::from_kafka(&KafkaError::MessageConsumption(Code::AutoOffsetReset));
        assert!(matches!(error, ConsumeError::PositionLost { .. }));
    }
}
