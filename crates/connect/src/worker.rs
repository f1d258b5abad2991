//! What REST handlers and the supervisor share: the picture of the topics, and the way to write to them.
//!
//! A change is written to its topic first and answered once this worker has read it back, so that a client's
//! next request sees what it did, here and (a moment later) on every other worker.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::TaskMessage;
use crate::classes::Classes;
use crate::echo::Echoes;
use crate::forward;
use crate::providers;
use crate::records::{self, OffsetRecord, Record, Status, StatusRecord};
use crate::settings::WorkerSettings;
use crate::state::State;
use crate::store::{StoreError, Writer};

/// Statuses waiting to be written while Kafka is slow or away; more than any worker has tasks.
const STATUS_QUEUE_LEN_MAX: usize = 1024;

/// Messages waiting for one task; they are rare.
const MAILBOX_LEN_MAX: usize = 16;

/// What the running tasks told of themselves, by connector and number of the task.
type ProgressByTask = BTreeMap<(String, u32), BTreeMap<&'static str, Value>>;

/// One worker process.
pub struct Worker {
    /// Servers and topics.
    pub settings: WorkerSettings,
    /// Classes it knows.
    pub classes: Classes,
    /// Wakes the supervisor after the picture changed.
    pub changed: Notify,
    /// Where `${env:…}` and `${file:…}` are looked up.
    pub providers: providers::Process,
    /// For questions to other workers.
    pub http: reqwest::Client,
    writer: Writer,
    state: RwLock<State>,
    statuses: mpsc::Sender<Record>,
    echoes: Mutex<Echoes>,
    /// What this worker says of its connectors and tasks, by record key, published or held back.
    own: Mutex<BTreeMap<String, Status>>,
    progress: Mutex<ProgressByTask>,
    mailboxes: Mutex<BTreeMap<(String, u32), mpsc::Sender<TaskMessage>>>,
}

impl Worker {
    /// A worker and the queue of status records its status task writes out.
    pub fn new(settings: WorkerSettings, classes: Classes, writer: Writer) -> (Self, mpsc::Receiver<Record>) {
        let providers = settings.providers.clone();
        let (statuses, queue) = mpsc::channel(STATUS_QUEUE_LEN_MAX);
        let worker = Self {
            settings,
            classes,
            changed: Notify::new(),
            providers,
            http: forward::client(),
            writer,
            state: RwLock::default(),
            statuses,
            echoes: Mutex::default(),
            own: Mutex::default(),
            progress: Mutex::default(),
            mailboxes: Mutex::default(),
        };
        (worker, queue)
    }

    /// The picture, to look at.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        // A panic while folding in a record leaves at most that record out.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The picture, to fold records in.
    pub fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write config records in order and wait until they are read back.
    ///
    /// # Errors
    /// When Kafka refuses or does not answer in time; some of the records may be written.
    pub async fn write_configs(&self, records: impl IntoIterator<Item = Record>) -> Result<(), StoreError> {
        self.writer.write_configs(records).await
    }

    /// Write source offsets and wait until they are read back.
    ///
    /// # Errors
    /// As [`Self::write_configs`].
    pub async fn write_offsets(&self, records: impl IntoIterator<Item = OffsetRecord>) -> Result<(), StoreError> {
        self.writer.write_offsets(records.into_iter().map(|record| record.record())).await
    }

    /// Publish a connector's state; `None` forgets it. Queued: Kafka being away must not hold up the caller.
    pub fn publish_connector(&self, name: &str, status: Option<Status>) {
        self.note_own(&records::connector_status_record(name, None).0, status.as_ref());
        self.publish(records::connector_status_record(name, status.as_ref()));
    }

    /// Publish a task's state; `None` forgets it.
    pub fn publish_task(&self, name: &str, task: u32, status: Option<Status>) {
        self.note_own(&records::task_status_record(name, task, None).0, status.as_ref());
        self.publish(records::task_status_record(name, task, status.as_ref()));
    }

    /// Publish that a task runs here, unless another worker that is alive says that it runs there.
    pub async fn claim_task(&self, name: &str, task: u32, status: Status) {
        let other = self.state().task_status(name, task).cloned();
        let other = other.filter(|other| other.state == "RUNNING" && other.worker_id != self.settings.worker_id);
        match other {
            Some(other) if forward::answers(self, &other.worker_id).await => {
                self.note_own(&records::task_status_record(name, task, None).0, Some(&status));
            }
            _ => self.publish_task(name, task, Some(status)),
        }
    }

    /// Say nothing more of a task: another process does its work.
    pub fn leave_task(&self, name: &str, task: u32) {
        self.note_own(&records::task_status_record(name, task, None).0, None);
    }

    /// Say nothing more of a connector.
    pub fn leave_connector(&self, name: &str) {
        self.note_own(&records::connector_status_record(name, None).0, None);
    }

    fn note_own(&self, key: &str, status: Option<&Status>) {
        match status {
            Some(status) => self.own().insert(key.to_owned(), status.clone()),
            None => self.own().remove(key),
        };
    }

    /// What this worker runs while another's word stands about it: record key and the other worker.
    pub fn over_ours(&self) -> Vec<(String, String)> {
        let own: Vec<String> = self.own().keys().cloned().collect();
        let state = self.state();
        let other = |key: &String| match records::parse_status(key, None) {
            StatusRecord::Connector(name, _) => state.connector_status(&name).map(|status| status.worker_id.clone()),
            StatusRecord::Task(name, task, _) => state.task_status(&name, task).map(|status| status.worker_id.clone()),
            StatusRecord::Topic(..) | StatusRecord::Unknown => None,
        };
        let others = own.into_iter().filter_map(|key| Some((other(&key)?, key)));
        others.filter(|(id, _)| *id != self.settings.worker_id).map(|(id, key)| (key, id)).collect()
    }

    /// Publish what this worker says under a key.
    pub fn say_again(&self, key: &str) {
        let Some(status) = self.own().get(key).cloned() else { return };
        match records::parse_status(key, None) {
            StatusRecord::Connector(name, _) => self.publish_connector(&name, Some(status)),
            StatusRecord::Task(name, task, _) => self.publish_task(&name, task, Some(status)),
            StatusRecord::Topic(..) | StatusRecord::Unknown => {}
        }
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<String, Status>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publish that a connector uses a topic; `None` forgets it.
    pub fn publish_topic(&self, connector: &str, topic: &str, found: Option<(u32, i64)>) {
        self.publish(records::topic_record(connector, topic, found));
    }

    fn publish(&self, record: Record) {
        // Applied here at once, so that this worker's answers do not lag behind its own tasks; the topic
        // brings it again. Both under one lock, so that no echo comes between.
        let mut echoes = self.echoes();
        self.state_mut().apply_status(records::parse_status(&record.0, record.1.as_ref().map(String::as_bytes)));
        let (key, value) = record.clone();
        match self.statuses.try_send(record) {
            Ok(()) => echoes.published(&key, value.as_deref()),
            Err(error) => {
                tracing::warn!(%error, "a status was not published; the next one of the same task replaces it");
            }
        }
    }

    /// Folds in a status that the topic brought, unless this worker has said something newer.
    pub fn heard_status(&self, key: &str, value: Option<&[u8]>) {
        let record = records::parse_status(key, value);
        if let StatusRecord::Connector(_, Some(status)) | StatusRecord::Task(_, _, Some(status)) = &record
            && status.lacks_class()
        {
            self.contradict(&record);
            return;
        }
        let mut echoes = self.echoes();
        if echoes.heard(key, value.map(String::from_utf8_lossy).as_deref()) {
            self.state_mut().apply_status(record);
        }
    }

    /// Says again what this worker said last of a connector or task that it runs: a worker without its class has called it
    /// failed, and whoever reads the topic would believe that. Such a worker says so once per assignment, so there is no
    /// to and fro.
    fn contradict(&self, record: &StatusRecord) {
        let mine = |status: &&Status| status.worker_id == self.settings.worker_id;
        match record {
            StatusRecord::Connector(name, _) => {
                let said = self.state().connector_status(name).filter(mine).cloned();
                said.into_iter().for_each(|status| self.publish_connector(name, Some(status)));
            }
            StatusRecord::Task(name, task, _) => {
                let said = self.state().task_status(name, *task).filter(mine).cloned();
                said.into_iter().for_each(|status| self.publish_task(name, *task, Some(status)));
            }
            StatusRecord::Topic(..) | StatusRecord::Unknown => {}
        }
    }

    fn echoes(&self) -> MutexGuard<'_, Echoes> {
        self.echoes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remember a fact a task told about itself.
    pub fn note_progress(&self, connector: &str, task: u32, name: &'static str, value: Value) {
        self.progress().entry((connector.to_owned(), task)).or_default().insert(name, value);
    }

    /// What a task of this worker told about itself.
    pub fn progress_of(&self, connector: &str, task: u32) -> Option<BTreeMap<&'static str, Value>> {
        self.progress().get(&(connector.to_owned(), task)).cloned()
    }

    /// Forget what a task told; it does not run here any more.
    pub fn forget_progress(&self, connector: &str, task: u32) {
        self.progress().remove(&(connector.to_owned(), task));
    }

    /// A task begins to run here; what is asked of it comes out of this. The one of its former run is closed.
    pub fn open_mailbox(&self, connector: &str, task: u32) -> mpsc::Receiver<TaskMessage> {
        let (sender, receiver) = mpsc::channel(MAILBOX_LEN_MAX);
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.insert((connector.to_owned(), task), sender);
        receiver
    }

    /// The way to a task that runs here and takes messages.
    pub fn mailbox(&self, connector: &str, task: u32) -> Option<mpsc::Sender<TaskMessage>> {
        let mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.get(&(connector.to_owned(), task)).filter(|sender| !sender.is_closed()).cloned()
    }

    fn progress(&self) -> MutexGuard<'_, ProgressByTask> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Groups and their offsets; see [`Writer`].
    pub fn writer(&self) -> &Writer {
        &self.writer
    }
}
