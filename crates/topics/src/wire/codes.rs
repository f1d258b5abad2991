//! What to do about the error codes in brokers' answers.

use kafka_protocol::error::ResponseError as Code;

use crate::error::{Next, ProduceError};

/// Why the open transaction, or the producer, is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub next: Next,
    pub reason: String,
}

impl Failure {
    pub(super) fn new(next: Next, reason: impl Into<String>) -> Self {
        Self { next, reason: reason.into() }
    }

    /// `doing`: what was refused, with its object.
    pub(super) fn of(code: Code, doing: &str) -> Self {
        Self::new(next(code), format!("{code} ({}) to {doing}", code.code()))
    }

    /// Nothing can be done with the producer any more.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self.next, Next::Fenced | Next::Rebuild)
    }

    pub(super) fn to_error(&self, transactional_id: &str) -> ProduceError {
        ProduceError::from_next(self.next, transactional_id, self.reason.clone())
    }
}

/// [`Next::Again`]: the same request may be sent again, where metadata or the coordinator may have to be asked for first.
pub(super) fn next(code: Code) -> Next {
    match code {
        Code::InvalidProducerEpoch | Code::ProducerFenced | Code::FencedInstanceId => Next::Fenced,
        // In the answer to a commit these do not tell what became of it; the record of the position does.
        Code::UnknownServerError | Code::UnknownProducerId | Code::InvalidProducerIdMapping | Code::InvalidTxnState => {
            Next::Rebuild
        }
        Code::TransactionAbortable | Code::OutOfOrderSequenceNumber | Code::OperationNotAttempted => Next::Abort,
        // It came damaged: sent again, it is whole.
        Code::CorruptMessage
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::InconsistentTopicId
        | Code::LeaderNotAvailable
        | Code::NotLeaderOrFollower
        | Code::RequestTimedOut
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NetworkException
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::ConcurrentTransactions
        | Code::TransactionCoordinatorFenced
        | Code::NotController
        | Code::KafkaStorageError
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::ListenerNotFound
        | Code::PreferredLeaderNotAvailable
        | Code::ThrottlingQuotaExceeded => Next::Again,
        _ => Next::GiveUp,
    }
}

/// Whether another broker has to be asked for before the request is sent again.
pub(super) fn has_moved(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::LeaderNotAvailable
            | Code::NotLeaderOrFollower
            | Code::ReplicaNotAvailable
            | Code::BrokerNotAvailable
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::TransactionCoordinatorFenced
            | Code::UnknownTopicId
            | Code::InconsistentTopicId
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_leader_is_asked_for_and_a_fenced_producer_ends() {
        assert_eq!((next(Code::NotLeaderOrFollower), has_moved(Code::NotLeaderOrFollower)), (Next::Again, true));
        assert_eq!((next(Code::ConcurrentTransactions), has_moved(Code::ConcurrentTransactions)), (Next::Again, false));
        assert_eq!(next(Code::InvalidProducerEpoch), Next::Fenced);
        assert_eq!(next(Code::ProducerFenced), Next::Fenced);
        assert_eq!(next(Code::InvalidTxnState), Next::Rebuild);
        assert_eq!(next(Code::MessageTooLarge), Next::GiveUp);
        assert_eq!(next(Code::TopicAuthorizationFailed), Next::GiveUp);
    }

    #[test]
    fn the_text_names_the_code_and_the_object() {
        let failure = Failure::of(Code::MessageTooLarge, "send to orders-0");
        assert_eq!(failure.reason, "MessageTooLarge (10) to send to orders-0");
        assert!(matches!(failure.to_error("t"), ProduceError::Refused { .. }));
    }
}
