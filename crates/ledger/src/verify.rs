//! The verification from end to end.
//!
//! 1. One transaction of Postgres: snapshot, rows, marts, and the log's position.
//! 2. Wait until the relay has confirmed that position; then the ends of the topics hold all of the snapshot.
//! 3. Per table: read the topic below its ends, wait until the lake has passed its last record there, read the raw
//!    objects, the current state, and stage; rebuild and compare.
//! 4. The marts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use objects::{Store, StoreSettings};
use tokio::task::JoinSet;

use crate::error::{LedgerError, Result, broken};
use crate::lake::{Lake, Progress, StageContent, behind};
use crate::marts::MARTS;
use crate::offsets::Positions;
use crate::raw::{LandingZone, RawContent};
use crate::report::{Report, TableReport};
use crate::rows::{Row, Table};
use crate::source::{Moment, Nudge, Slot, Source, SourceSettings};
use crate::state::{KeyDifferences, Rebuilt, RowsByKey, digest};
use crate::topic::{Ends, TopicContent, Topics};
use crate::visibility::Snapshot;

/// A connector registered a moment ago has not made its slot yet; one that does not in this time is not there.
const SLOT_WAIT: Duration = Duration::from_secs(30);

/// A relay that stands still gets another empty message after this time, then after twice as long, and so on: Debezium
/// confirms no more than the transaction before the last one that it saw, so that one message does not move it.
const NUDGE_AGAIN: Duration = Duration::from_secs(1);

/// Pause between two looks at where a hop stands.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Reads of a current state that a commit of the lake came in between of, until a verification gives up.
const SHAPE_READS_MAX: u32 = 50;

/// Where everything is.
#[derive(Debug, Clone)]
pub struct VerifySettings {
    pub source: SourceSettings,
    pub bootstrap: String,
    pub registry_url: String,
    pub store: StoreSettings,
    /// First part of the raw objects' keys.
    pub topics_dir: String,
    pub lake_url: String,
    /// Topics of the captured tables.
    pub topics: Vec<String>,
    /// How long a hop may take to catch up.
    pub patience: Duration,
}

/// Everything but Postgres.
#[derive(Clone)]
struct Hops {
    topics: Topics,
    zone: LandingZone,
    lake: Arc<Lake>,
    patience: Duration,
}

/// A table to verify, as Postgres showed it.
struct Subject {
    topic: String,
    table: Arc<Table>,
    expected: RowsByKey,
    ends: Ends,
}

/// Verifies all tables and marts. Never fails: what stands in the way is the report's `error`.
pub async fn verify(settings: &VerifySettings) -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    if let Err(error) = fill(settings, &mut report).await {
        report.error = Some(error.to_string());
    }
    report.seconds = start.elapsed().as_secs_f64();
    report.judge();
    report
}

async fn fill(settings: &VerifySettings, report: &mut Report) -> Result<()> {
    let hops = Hops {
        topics: Topics::new(&settings.bootstrap, &settings.registry_url)?,
        zone: LandingZone::new(
            Store::open(&settings.store).map_err(|error| broken(error.to_string()))?,
            &settings.store.endpoint,
            &settings.topics_dir,
        ),
        lake: Arc::new(Lake::new(&settings.lake_url)),
        patience: settings.patience,
    };
    let source = Source::connect(&settings.source).await?;
    let (moment, mut subjects, marts) = read_source(&source, &settings.topics).await?;
    report.snapshot = Some(moment.snapshot_text.clone());
    report.lsn = Some(moment.lsn.to_string());
    wait_for_relay(&source, settings).await?;
    for subject in &mut subjects {
        let may_be_missing = subject.expected.is_empty();
        subject.ends = hops.topics.settled_ends(&subject.topic, may_be_missing, hops.patience).await?;
    }
    let ends: Vec<(String, Ends)> =
        subjects.iter().map(|subject| (subject.topic.clone(), subject.ends.clone())).collect();

    let mut tasks = JoinSet::new();
    for (place, subject) in subjects.into_iter().enumerate() {
        let (hops, snapshot) = (hops.clone(), moment.snapshot.clone());
        tasks.spawn(async move { (place, verify_table(&hops, subject, &snapshot).await) });
    }
    let mut tables = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (place, table) = done.map_err(|error| broken(format!("a part of the verification broke: {error}")))?;
        tables.push((place, table?));
    }
    tables.sort_by_key(|(place, _)| *place);
    report.tables = tables.into_iter().map(|(_, table)| table).collect();

    let deadline = Instant::now() + settings.patience;
    let moved_on = async || moved_on(&hops, &ends).await;
    for (mart, expected) in MARTS.iter().zip(marts) {
        report.marts.push(mart.verify(&hops.lake, &expected, deadline, moved_on).await?);
    }
    Ok(())
}

/// Everything that is asked of Postgres, in one transaction.
async fn read_source(source: &Source, topics: &[String]) -> Result<(Moment, Vec<Subject>, Vec<Vec<Row>>)> {
    let mut tables = Vec::new();
    for topic in topics {
        let parts = model::names::topic_parts(topic);
        let (_, schema, table) =
            parts.ok_or_else(|| broken(format!("{topic:?} in STOREFRONT_TOPICS is no topic of a table")))?;
        tables.push((topic.clone(), source.table(schema, table).await?));
    }
    let moment = source.begin().await?;
    let mut subjects = Vec::new();
    for (topic, table) in tables {
        let expected = source.rows(&table).await?;
        subjects.push(Subject { topic, table, expected, ends: Ends::default() });
    }
    let mut marts = Vec::new();
    for mart in &MARTS {
        marts.push(source.query(mart.postgres_query(), &mart.kinds()).await?);
    }
    source.end().await?;
    Ok((moment, subjects, marts))
}

/// Waits until the relay has confirmed a message written now, hence everything before it. A slot of the first snapshot
/// is beyond the moment from its first instant on, while the rows are still being read; the message lies behind that.
async fn wait_for_relay(source: &Source, settings: &VerifySettings) -> Result<()> {
    let start = Instant::now();
    let slot = &settings.source.slot;
    while source.slot().await?.is_none() {
        if start.elapsed() > SLOT_WAIT.min(settings.patience) {
            return Err(broken(format!("Postgres has no replication slot {slot}: apply the source connector")));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let wanted = source.nudge(Nudge::LeftOut).await?;
    let mut nudge_at = Instant::now() + NUDGE_AGAIN;
    loop {
        let state = source.slot().await?;
        if state.is_some_and(|state| state.confirmed >= wanted) {
            return Ok(());
        }
        if Instant::now() >= nudge_at {
            let debezium = state.is_some_and(|state| state.debezium);
            source.nudge(if debezium { Nudge::Captured } else { Nudge::LeftOut }).await?;
            nudge_at = Instant::now() + start.elapsed();
        }
        if start.elapsed() > settings.patience {
            let detail = match state {
                None => format!("slot {slot} is gone"),
                Some(Slot { confirmed, active, .. }) => format!(
                    "slot {slot} is {} and confirmed up to {confirmed}, Postgres' log was at {wanted}",
                    if active { "streamed from" } else { "read by nobody" },
                ),
            };
            return Err(LedgerError::Behind { hop: "cdc-relay", waited_seconds: settings.patience.as_secs(), detail });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether records have come into a topic since its ends were taken.
async fn moved_on(hops: &Hops, ends: &[(String, Ends)]) -> Result<bool> {
    for (topic, then) in ends {
        if hops.topics.ends(topic, true).await?.end != then.end {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn verify_table(hops: &Hops, subject: Subject, snapshot: &Snapshot) -> Result<TableReport> {
    let Subject { topic, table, expected, ends } = subject;
    if ends.end.is_empty() {
        // No row, no topic: the relay makes it for the first one.
        let note = Some("the table never had a row, so it has no topic yet".to_owned());
        let mut report = TableReport { table: table.full_name(), note, ..TableReport::default() };
        report.judge();
        return Ok(report);
    }
    let content = hops.topics.read(&topic, &table, &ends, snapshot).await?;
    wait_for_lake(hops, &topic, &table, &content.offsets.next()).await?;
    let raw = hops.zone.read(&topic, &table, &ends.end, snapshot).await?;
    // The current state before stage: whatever it holds, stage holds as well by the time it is read.
    let (shape, shape_next) = read_shape(hops, &topic, &table).await?;
    let (stage, states) = read_stage(hops, &topic, &table, &ends.end, &shape_next, snapshot).await?;

    let postgres = digest(&expected);
    let mut report = TableReport {
        table: table.full_name(),
        postgres_rows: postgres.rows,
        postgres_digest: format!("{:032x}", postgres.sum),
        kafka_records: content.records,
        raw_objects: raw.objects,
        raw_records: raw.content.records,
        stage_rows: stage.rows,
        shape_rows: shape.len() as u64,
        ..TableReport::default()
    };
    if ends.trimmed() {
        report.note =
            Some("Kafka has removed old records of the topic (retention); its state was not rebuilt".to_owned());
    }
    compare_offsets(&mut report, &content, &ends, &raw, &stage);
    if !ends.trimmed() {
        compare(&mut report, "topic", &expected, &content.state.rows());
    }
    compare(&mut report, "raw", &expected, &raw.content.state.rows());
    compare(&mut report, "stage", &expected, &states.at_snapshot.rows());
    compare(&mut report, "shape", &states.at_shape.rows(), &shape);
    report.judge();
    Ok(report)
}

fn compare(report: &mut TableReport, hop: &'static str, expected: &RowsByKey, found: &RowsByKey) {
    // Count and digest decide; keys are looked at only to name what differs.
    if digest(expected) != digest(found) {
        report.keys(hop, &KeyDifferences::between(expected, found));
    }
}

fn compare_offsets(
    report: &mut TableReport,
    topic: &TopicContent,
    ends: &Ends,
    raw: &RawContent,
    stage: &StageContent,
) {
    let raw_offsets = &raw.content.offsets;
    report.objects(&raw.broken);
    report.offsets("topic", "offsets twice", &topic.offsets.twice());
    report.offsets("raw", "missing offsets", &topic.offsets.missing_in(raw_offsets, &ends.low));
    report.offsets("raw", "extra offsets", &raw_offsets.missing_in(&topic.offsets, &ends.low));
    report.offsets("raw", "offsets twice", &raw_offsets.twice());
    report.offsets("stage", "missing offsets", &raw_offsets.missing_in(&stage.offsets, &Positions::new()));
    report.offsets("stage", "extra offsets", &stage.offsets.missing_in(raw_offsets, &Positions::new()));
    report.offsets("stage", "offsets twice", &stage.offsets.twice());
}

async fn wait_for_lake(hops: &Hops, topic: &str, table: &Table, wanted: &Positions) -> Result<()> {
    let start = Instant::now();
    loop {
        let progress = hops.lake.progress(topic, &table.name).await?;
        let lag = behind(progress.stage.as_ref(), topic, wanted).map(|lag| ("stage", lag));
        let lag = lag.or_else(|| behind(progress.shape.as_ref(), topic, wanted).map(|lag| ("shape", lag)));
        let Some((layer, lag)) = lag else { return Ok(()) };
        if start.elapsed() > hops.patience {
            return Err(who_lags(hops, topic, layer, lag, &progress).await);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Says whether the sink or the lake is the one that lags.
async fn who_lags(
    hops: &Hops,
    topic: &str,
    layer: &str,
    (partition, stands, wanted): (i32, i64, i64),
    progress: &Progress,
) -> LedgerError {
    let raw = hops.zone.next_of(topic, partition).await.ok().flatten().unwrap_or_default();
    let hop = if raw < wanted { "s3-sink" } else { "lake" };
    let problems = match progress.problems.as_slice() {
        [] => String::new(),
        problems => format!("; the lake reports {}", problems.join(", ")),
    };
    LedgerError::Behind {
        hop,
        waited_seconds: hops.patience.as_secs(),
        detail: format!(
            "partition {partition} of {topic}: the topic's last record ends at {wanted}, raw stands at {raw}, {layer} at {stands}{problems}"
        ),
    }
}

/// The current state, and the offsets up to which it holds the events.
async fn read_shape(hops: &Hops, topic: &str, table: &Table) -> Result<(RowsByKey, Positions)> {
    for _ in 0..SHAPE_READS_MAX {
        let before = hops.lake.progress(topic, &table.name).await?.shape;
        let Some(before) = before else { break };
        let rows = hops.lake.rows(&before.name, table).await?;
        let after = hops.lake.progress(topic, &table.name).await?.shape;
        // Rows and offsets change by one commit; without a commit in between they belong together.
        if after.is_some_and(|after| after.snapshot_id == before.snapshot_id) {
            return Ok((rows, before.next(topic)));
        }
    }
    Err(broken(format!("the current state of {topic} changed under every read: let the traffic run slower")))
}

/// The states that stage's events amount to.
#[derive(Default)]
struct StageStates {
    at_snapshot: Rebuilt,
    /// Up to the offsets that the current state holds.
    at_shape: Rebuilt,
}

async fn read_stage(
    hops: &Hops,
    topic: &str,
    table: &Table,
    ends: &Positions,
    shape_next: &Positions,
    snapshot: &Snapshot,
) -> Result<(StageContent, StageStates)> {
    let (mut content, mut states) = (StageContent::default(), StageStates::default());
    let Some(stage) = hops.lake.progress(topic, &table.name).await?.stage else {
        // No record was to be waited for.
        return Ok((content, states));
    };
    let below =
        |positions: &Positions, partition: i32, offset: i64| positions.get(&partition).is_some_and(|end| offset < *end);
    hops.lake
        .events(&stage.name, table, &mut |event| {
            if below(ends, event.partition, event.offset) {
                content.rows += 1;
                content.offsets.add(event.partition, event.offset);
                if event.shown_by(snapshot) {
                    states.at_snapshot.apply(&event);
                }
            }
            if below(shape_next, event.partition, event.offset) {
                states.at_shape.apply(&event);
            }
            Ok(())
        })
        .await?;
    Ok((content, states))
}
