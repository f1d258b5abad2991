//! One life of the relay: take the slot, fence the predecessor, learn the position, then snapshot and stream until
//! something breaks.
//!
//! The order at the start keeps a standby from disturbing a healthy leader, and a zombie from writing after its successor
//! has read the position: first the slot (with a lock in the database that stands for it while nobody streams), then the
//! transactional ids, then the offsets.

use std::{collections::HashSet, sync::Arc, time::Duration};

use connect::{Reporter, TaskMessage};
use model::lsn::Lsn;
use service::retry::Backoff;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use topics::{Admin, Cluster, ConnectOffset, RegistryClient, read_to_end};

use crate::{
    adhoc::Channels,
    error::RelayError,
    failpoint, fence,
    offsets::{OffsetKeys, Stored, StreamOffset},
    outbox::{NoLifeline, Outbox},
    pipeline::Pipeline,
    postgres::{
        PgError,
        connection::Connection,
        frames::FrameReader,
        publication,
        replication::{self, StatusWriter},
        slot::{self, SlotKind, SlotState},
    },
    progress::Progress,
    records::RecordRules,
    settings::{RelaySettings, SnapshotMode},
    slot_care, snapshot,
    start::{Known, Start, decide, offset_at},
    stream,
    tables::TableDesk,
};

/// How often a standby looks whether the slot is free.
const STANDBY_WAIT: Duration = Duration::from_secs(1);
/// How long a slot may stay busy after its connection was closed.
const SLOT_RELEASE_MAX: Duration = Duration::from_secs(5);

/// A stopped task is waited for a little longer than this.
const SLOT_DROP_MAX: Duration = Duration::from_secs(2);

/// What a task's sessions have in common.
pub struct Run {
    pub settings: Arc<RelaySettings>,
    pub connector: String,
    pub cluster: Cluster,
    pub registry: RegistryClient,
    pub offset_topic: String,
    /// `group.id` of the Connect workers that the connector may have run in before.
    pub group: Option<String>,
    pub rules: Arc<RecordRules>,
    pub report: Reporter,
    pub stop: CancellationToken,
    /// Signals by the REST API; whoever streams listens.
    pub messages: Arc<Mutex<mpsc::Receiver<TaskMessage>>>,
}

/// Everything one session holds. Dropping it gives the slot and its lock free.
pub struct Session {
    pub settings: Arc<RelaySettings>,
    pub stop: CancellationToken,
    /// Holds the slot's lock; also used for questions to the catalog.
    pub control: Connection,
    pub outbox: Outbox,
    pub desk: TableDesk,
    pub pipeline: Option<Pipeline>,
    pub rules: Arc<RecordRules>,
    pub keys: OffsetKeys,
    pub progress: Progress,
    /// Identity of the database cluster, once known.
    pub system_id: Option<String>,
}

type Stream = (FrameReader, StatusWriter);

/// Runs one session until the task stops or something breaks.
///
/// # Errors
/// Always, but for `initial_only`: also when the task stops.
pub async fn run(run: &Run, first_session: bool) -> Result<(), RelayError> {
    let (mut session, stream) = open(run, first_session).await?;
    let watch = slot_care::watch(run);
    let outcome = live(run, &mut session, stream, first_session).await;
    drop(watch);
    session.outbox.abort().await;
    if run.stop.is_cancelled() && session.settings.slot_drop_on_stop {
        drop_slot(&mut session).await;
    }
    outcome
}

/// Drops the slot, as `slot.drop.on.stop` asks. Its stream was closed a moment ago, so it may be busy yet.
async fn drop_slot(session: &mut Session) {
    let name = session.settings.slot.clone();
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < SLOT_DROP_MAX {
        match slot::drop_idle(&mut session.control, &name).await {
            Ok(true) => {
                tracing::info!(slot = name, "slot dropped (slot.drop.on.stop)");
                return;
            }
            Ok(false) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => {
                tracing::warn!(slot = name, "the slot could not be dropped: {error}");
                return;
            }
        }
    }
    tracing::warn!(slot = name, "the slot could not be dropped: it is in use");
}

/// Takes lock and slot, then fences the predecessor.
async fn open(run: &Run, first_session: bool) -> Result<(Session, Option<Stream>), RelayError> {
    let settings = &run.settings;
    let target = &settings.target;
    let postgres = |error: PgError| RelayError::postgres(target, "connect", &error);
    let mut control = Connection::open(target).await.map_err(postgres)?;
    wait_for_lock(run, &mut control).await?;
    failpoint::hit(failpoint::LOCK_TAKEN);
    let (name, mode) = (&settings.publication, settings.publication_mode);
    publication::ensure(&mut control, name, mode, &settings.tables, settings.via_partition_root)
        .await
        .map_err(|error| RelayError::publication(target, &error))?;
    let mut system_id = None;
    let stream = match slot_state(run, &mut control).await? {
        Some(state) if state.wal_status != "lost" => {
            let (stream, id) = take_slot(run).await?;
            system_id = Some(id);
            failpoint::hit(failpoint::SLOT_TAKEN);
            Some(stream)
        }
        Some(_) | None => None,
    };
    run.report.leading();
    let role = format!("cdc-relay-{}", run.connector);
    let outbox =
        Outbox::new(&run.cluster, &role, settings.batch_bytes_max, run.offset_topic.clone(), run.stop.clone())?;
    outbox.take_over().await?;
    failpoint::hit(failpoint::FENCED);
    if first_session {
        fence::connect_task(run).await?;
    }
    let desk = TableDesk::new(settings, Admin::new(&run.cluster)?, run.registry.clone(), run.report.clone());
    let session = Session {
        settings: Arc::clone(settings),
        stop: run.stop.clone(),
        control,
        outbox,
        desk,
        pipeline: settings.pipeline.clone().map(Pipeline::new),
        rules: Arc::clone(&run.rules),
        keys: OffsetKeys { connector: run.connector.clone(), topic_prefix: settings.topic_prefix.clone() },
        progress: Progress::new(run.connector.clone(), run.report.clone(), &settings.topic_prefix),
        system_id,
    };
    Ok((session, stream))
}

/// Decides how to begin, takes the snapshot if one is due, and streams.
async fn live(run: &Run, session: &mut Session, stream: Option<Stream>, first_session: bool) -> Result<(), RelayError> {
    let stored = read_offsets(run, session).await?;
    failpoint::hit(failpoint::OFFSETS_READ);
    // Asked again: only now nobody else can move it.
    let slot = slot_state(run, &mut session.control).await?;
    let start = decide(Known {
        mode: session.settings.snapshot_mode,
        first_session,
        stored,
        slot_name: &session.settings.slot,
        slot: slot.as_ref(),
        system_id: session.system_id.as_deref(),
    })
    .map_err(RelayError::Definite)?;
    let offset = match start {
        Start::Stream(offset) => offset,
        Start::StreamFromSlot(lsn) => store_start(session, lsn).await?,
        Start::StreamFromNewSlot => {
            let created = create_slot(session).await?;
            store_start(session, created).await?
        }
        Start::Blocking { plan, progress, offset } => {
            drop(stream);
            let offset = snapshot::blocking::resume(session, plan, progress, offset).await?;
            return stream_on(run, session, None, offset).await;
        }
        Start::Nothing => return rest(session).await,
        Start::Snapshot(start) => {
            // The slot is not streamed meanwhile: the lock stands for it.
            drop(stream);
            let offset = snapshot::run(session, start).await?;
            if session.settings.snapshot_mode == SnapshotMode::InitialOnly {
                return rest(session).await;
            }
            return stream_on(run, session, None, offset).await;
        }
    };
    stream_on(run, session, stream, offset).await
}

/// Streams, and takes the snapshots that signals ask for in between.
async fn stream_on(
    run: &Run,
    session: &mut Session,
    mut stream: Option<Stream>,
    mut offset: StreamOffset,
) -> Result<(), RelayError> {
    loop {
        offset = stream_to(run, session, stream.take(), offset, None).await?;
        let Some(request) = offset.ad_hoc.blocking.first().cloned() else { continue };
        let opened = snapshot::blocking::open(session, request).await?;
        offset = stream_to(run, session, None, offset, Some(opened.consistent_point())).await?;
        offset = snapshot::blocking::run(session, opened, offset).await?;
    }
}

async fn stream_to(
    run: &Run,
    session: &mut Session,
    stream: Option<Stream>,
    mut offset: StreamOffset,
    until: Option<Lsn>,
) -> Result<StreamOffset, RelayError> {
    let stream = match stream {
        Some(stream) => stream,
        None => {
            let (stream, id) = take_slot(run).await?;
            session.system_id = Some(id);
            stream
        }
    };
    offset.system_id.clone_from(&session.system_id);
    let messages = Arc::clone(&run.messages).lock_owned().await;
    let topic = session.settings.signals.topic.clone().map(|topic| {
        let cluster = match &topic.bootstrap {
            Some(bootstrap) if bootstrap != run.cluster.bootstrap() => Cluster::new(bootstrap, "cdc-relay"),
            _ => run.cluster.clone(),
        };
        (topic, cluster)
    });
    let prefix = &session.settings.topic_prefix;
    let channels = Channels::open(messages, topic, prefix, offset.ad_hoc.topic_next, &session.stop);
    stream::run(session, stream, offset, channels, until).await
}

/// Nothing more to do: hold the lock and wait.
async fn rest(session: &Session) -> Result<(), RelayError> {
    tracing::info!("the snapshot is complete and snapshot.mode=initial_only: nothing more to do");
    session.stop.cancelled().await;
    Err(RelayError::Stopped)
}

async fn wait_for_lock(run: &Run, control: &mut Connection) -> Result<(), RelayError> {
    let mut told = false;
    loop {
        let taken = slot::try_lock(control, &run.settings.slot).await;
        if taken.map_err(|error| RelayError::postgres(&run.settings.target, "lock the slot", &error))? {
            return Ok(());
        }
        let reason = format!("another relay holds slot \"{}\"; standing by", run.settings.slot);
        run.report.standing_by(&reason);
        if !told {
            tracing::info!("{reason}");
            told = true;
        }
        tokio::select! {
            () = run.stop.cancelled() => return Err(RelayError::Stopped),
            () = tokio::time::sleep(STANDBY_WAIT) => {}
        }
    }
}

/// The slot, checked to be one this connector can use.
async fn slot_state(run: &Run, control: &mut Connection) -> Result<Option<SlotState>, RelayError> {
    let (target, name) = (&run.settings.target, &run.settings.slot);
    let state = slot::state(control, name).await;
    let state = state.map_err(|error| RelayError::postgres(target, "look at the slot", &error))?;
    match state {
        Some(state) if state.plugin != "pgoutput" || state.database != target.database => {
            Err(RelayError::Definite(format!(
                "replication slot \"{name}\" is of plugin {} in database {}, this connector needs pgoutput in {}; \
                 choose another slot.name or drop the slot",
                state.plugin, state.database, target.database
            )))
        }
        state => Ok(state),
    }
}

/// Starts to stream the slot, which takes it.
async fn take_slot(run: &Run) -> Result<(Stream, String), RelayError> {
    let settings = &run.settings;
    let postgres = |error: PgError| RelayError::postgres(&settings.target, "stream the slot", &error);
    let begun = tokio::time::Instant::now();
    loop {
        let mut connection = Connection::open_replication(&settings.target).await.map_err(postgres)?;
        let system_id = slot::system_id(&mut connection).await.map_err(postgres)?;
        // From zero: the server starts at what the slot confirms, which is never beyond the stored position.
        match replication::start(connection, &settings.slot, &settings.publication, Lsn::ZERO).await {
            Ok(stream) => return Ok((stream, system_id)),
            // Our own former connection may not be cleared away yet.
            Err(error) if error.code() == Some(SLOT_BUSY) && begun.elapsed() < SLOT_RELEASE_MAX => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) if error.code() == Some(SLOT_BUSY) => return Err(RelayError::Standby(error.to_string())),
            Err(error) => return Err(postgres(error)),
        }
    }
}

/// SQLSTATE `object_in_use`.
const SLOT_BUSY: &str = "55006";

async fn create_slot(session: &mut Session) -> Result<Lsn, RelayError> {
    let settings = &session.settings;
    let postgres = |error: PgError| RelayError::postgres(&settings.target, "make the slot", &error);
    let mut connection = Connection::open_replication(&settings.target).await.map_err(postgres)?;
    session.system_id = Some(slot::system_id(&mut connection).await.map_err(postgres)?);
    tokio::select! {
        created = slot::create(&mut connection, &settings.slot, SlotKind::lasting(settings.slot_failover)) => Ok(created.map_err(postgres)?.consistent_point),
        () = session.stop.cancelled() => Err(RelayError::Stopped),
    }
}

/// Records where a stream without snapshot begins, so that a lost slot is noticed from now on.
async fn store_start(session: &mut Session, lsn: Lsn) -> Result<StreamOffset, RelayError> {
    let ts_us = i64::try_from(snapshot::clock_ns() / 1000).unwrap_or_default();
    let offset = offset_at(lsn, session.system_id.clone(), ts_us);
    let entry = session.keys.streaming(&offset);
    session.outbox.commit(&[entry], &mut NoLifeline).await?;
    Ok(offset)
}

/// Everything stored for this connector. Only valid after the predecessor was fenced.
///
/// Committed records are readable only up to the first transaction still open in their partition, and that may be another
/// connector's. So a mark is committed to every partition, and the topic is read until all of them came back.
async fn read_offsets(run: &Run, session: &mut Session) -> Result<Stored, RelayError> {
    let topic = Admin::new(&run.cluster)?.topic(&run.offset_topic).await?;
    let partitions = topic.map_or(0, |topic| topic.partitions);
    let start = uuid::Uuid::new_v4().to_string();
    let fences: Vec<Vec<u8>> = (0..partitions).map(|partition| session.keys.fence(&start, partition)).collect();
    session.outbox.fence(&fences).await?;
    let mut backoff = Backoff::default();
    loop {
        let mut stored = Stored::default();
        let mut missing: HashSet<&[u8]> = fences.iter().map(Vec::as_slice).collect();
        for record in read_to_end(&run.cluster, &run.offset_topic).await? {
            let Some(key) = &record.key else { continue };
            missing.remove(key.as_slice());
            // Records of other programs in a shared topic are not ours to judge.
            let Ok(entry) = ConnectOffset::parse(key, record.value.as_deref()) else { continue };
            session.keys.read(&entry, &mut stored)?;
        }
        if missing.is_empty() {
            return Ok(stored);
        }
        tracing::debug!(partitions = missing.len(), "an open transaction hides a part of the offsets");
        if !backoff.wait(&run.stop).await {
            return Err(RelayError::Stopped);
        }
    }
}
