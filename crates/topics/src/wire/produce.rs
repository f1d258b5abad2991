//! Produce requests, and what their answers mean for the partitions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use super::batch::Stamp;
use super::brokers::Address;
use super::codes::Failure;
use super::connection::{Connection, Fault};
use super::intake::Target;
use super::lane::{Ready, UNDER_WAY_MAX, Verdict};
use super::sender::{Identity, Posted, Sender, release};
use crate::error::Next;

/// Every in-sync replica has it.
const ACKS_ALL: i16 = -1;
/// How long the leader may wait for them.
const REPLICAS_WAIT_MS: i32 = 20_000;
/// A request is not made longer than this by another partition.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Produce requests that know transactions, and the last that does not add partitions to them.
const EXPLICIT: (i16, i16) = (3, 11);
/// The first that does, and the last that names topics by their names.
const IMPLICIT: (i16, i16) = (12, 12);

type Body = BTreeMap<Target, (u64, bytes::Bytes)>;

impl Sender {
    /// Sends a request to each broker that has room. True when another round may send more.
    pub(super) async fn send(&mut self) -> bool {
        let Some(identity) = self.identity else { return false };
        let mut sent = false;
        for (leader, targets) in self.ready_by_leader() {
            let Some(address) = self.brokers.node(leader) else {
                self.leader_lost(&targets);
                continue;
            };
            if self.under_way.get(&address).is_some_and(|count| *count >= UNDER_WAY_MAX) {
                continue;
            }
            match self.brokers.reach(&address).await {
                Ok(connection) => sent |= self.post(&address, &connection, identity, &targets),
                Err(_fault) => self.leader_lost(&targets),
            }
        }
        sent
    }

    fn ready_by_leader(&mut self) -> BTreeMap<i32, Vec<Target>> {
        let now = Instant::now();
        let mut by_leader: BTreeMap<i32, Vec<Target>> = BTreeMap::new();
        for target in &self.active {
            let Some(lane) = self.lanes.get(target) else { continue };
            if lane.ready(now) == Ready::Nothing || !(self.implicit || lane.added) {
                continue;
            }
            match self.leaders.get(target) {
                Some(leader) => by_leader.entry(*leader).or_default().push(*target),
                None => self.stale.add(target.topic),
            }
        }
        by_leader
    }

    fn leader_lost(&mut self, targets: &[Target]) {
        for target in targets {
            self.stale.add(target.topic);
        }
    }

    fn post(
        &mut self,
        address: &Address,
        connection: &Arc<Connection>,
        identity: Identity,
        targets: &[Target],
    ) -> bool {
        let versions = if self.implicit { IMPLICIT } else { EXPLICIT };
        let version = match connection.abilities.pick(ApiKey::Produce, versions) {
            Ok(version) => version,
            Err(fault) => {
                self.fail(Failure::new(Next::GiveUp, fault.to_string()));
                return false;
            }
        };
        let body = self.seal(targets, identity);
        if body.is_empty() {
            return false;
        }
        self.begun = true;
        let request = self.request(&body);
        let sent = body.iter().map(|(target, (id, _))| (*target, *id)).collect();
        match connection.post(ApiKey::Produce, version, &request) {
            Ok(pending) => {
                *self.under_way.entry(Arc::clone(address)).or_default() += 1;
                let address = Arc::clone(address);
                self.posts.push(Box::pin(async move { Posted { address, sent, answer: pending.answer().await } }));
                true
            }
            Err(fault) => {
                self.unanswered(sent, &fault);
                false
            }
        }
    }

    /// The next batch of each of these, ready for the wire.
    fn seal(&mut self, targets: &[Target], identity: Identity) -> Body {
        let now = Instant::now();
        let (mut body, mut bytes) = (Body::new(), 0);
        for target in targets {
            let Some(lane) = self.lanes.get_mut(target) else { continue };
            let (id, sealed) = match lane.ready(now) {
                Ready::Nothing => continue,
                Ready::Again(id, sealed) => {
                    lane.sent_again(id);
                    (id, sealed)
                }
                Ready::Fresh => {
                    let Some((batch, sequence)) = lane.take_fresh() else { continue };
                    let Identity { producer_id, epoch } = identity;
                    let stamp = Stamp { producer_id, epoch, sequence };
                    let sealed = batch.seal(stamp, self.shared.settings.compression);
                    self.next_id += 1;
                    lane.seal(self.next_id, &batch, sealed.clone());
                    self.shared.intake().give_back(batch.into_room());
                    (self.next_id, sealed)
                }
            };
            bytes += sealed.len();
            body.insert(*target, (id, sealed));
            if bytes >= REQUEST_BYTES_MAX {
                break;
            }
        }
        body
    }

    fn request(&self, body: &Body) -> ProduceRequest {
        let id = StrBytes::from_string(self.shared.settings.transactional_id.clone());
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let mut last = None;
        let intake = self.shared.intake();
        for (target, (_, sealed)) in body {
            if last.replace(target.topic) != Some(target.topic) {
                let name = TopicName(StrBytes::from_string(intake.name(target.topic).to_string()));
                topics.push(TopicProduceData::default().with_name(name));
            }
            let data = PartitionProduceData::default().with_index(target.partition).with_records(Some(sealed.clone()));
            if let Some(topic) = topics.last_mut() {
                topic.partition_data.push(data);
            }
        }
        ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(id)))
            .with_acks(ACKS_ALL)
            .with_timeout_ms(REPLICAS_WAIT_MS)
            .with_topic_data(topics)
    }

    pub(super) fn answered(&mut self, Posted { address, sent, answer }: Posted) {
        if let Some(count) = self.under_way.get_mut(&address) {
            *count = count.saturating_sub(1);
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.unanswered(sent, &fault),
        };
        self.brokers.answered();
        let codes = codes(&answer);
        for (target, id) in sent {
            let name = self.shared.intake().name(target.topic);
            match codes.get(&(&*name, target.partition)) {
                Some((code, said)) => self.judge(target, id, *code, said, &name),
                None => self.unanswered(vec![(target, id)], &Fault::Lost("a partition is not in the answer".into())),
            }
        }
    }

    fn judge(&mut self, target: Target, id: u64, code: Option<Code>, said: &str, name: &str) {
        let Some(lane) = self.lanes.get_mut(&target) else { return };
        let doing = match code {
            Some(_) => format!("send to {name}-{}{said}", target.partition),
            None => String::new(),
        };
        if let Some(code) = code {
            tracing::debug!(target: "kafka", "{code} to {doing}");
        }
        let verdict = lane.answered(id, code, Instant::now(), &doing);
        if lane.is_idle() {
            self.active.remove(&target);
        }
        match verdict {
            Verdict::Done(freed) => release(&mut self.shared.intake(), freed),
            Verdict::Again { moved: true } => self.stale.add(target.topic),
            Verdict::Again { moved: false } | Verdict::Stale => {}
            Verdict::Lost(freed, failure) => {
                release(&mut self.shared.intake(), freed);
                self.fail(failure);
            }
        }
    }

    /// No answer will come; it may be in the log or not, and is sent again.
    fn unanswered(&mut self, sent: Vec<(Target, u64)>, fault: &Fault) {
        tracing::debug!(target: "kafka", "no answer to a produce request: {fault}");
        let now = Instant::now();
        for (target, id) in sent {
            if let Some(lane) = self.lanes.get_mut(&target) {
                release(&mut self.shared.intake(), lane.unanswered(id, now));
                if lane.is_idle() {
                    self.active.remove(&target);
                }
                self.stale.add(target.topic);
            }
        }
        if let Fault::Garbled(reason) = fault {
            self.fail(Failure::new(Next::Rebuild, format!("an answer to a produce request is not one: {reason}")));
        }
    }
}

type Told<'a> = HashMap<(&'a str, i32), (Option<Code>, String)>;

/// What is said of each partition.
fn codes(answer: &ProduceResponse) -> Told<'_> {
    let mut codes = HashMap::new();
    for topic in &answer.responses {
        for partition in &topic.partition_responses {
            let said = partition.error_message.as_ref().map(|said| format!(": {}", said.as_str())).unwrap_or_default();
            let code = Code::try_from_code(partition.error_code);
            codes.insert((topic.name.as_str(), partition.index), (code, said));
        }
    }
    codes
}
