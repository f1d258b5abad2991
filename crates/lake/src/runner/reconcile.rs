//! Tests that a run does not look at before it publishes, because they depend on the clock or on the source: freshness, and
//! numbers on which the lake and the source database must agree.

use std::time::{Duration, Instant};

use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use model::secret::Secret;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::{
    error::{LakeError, Result},
    models::header::{FreshnessTest, Reconcile},
    models::unit,
    sql::{Engine, Pinned, format},
    tables::commit::now_ms,
};

/// How long is looked before a difference counts.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// What the lake may take to come to what the source says.
    pub of_all: Duration,
    /// Pause between two looks.
    pub look_again: Duration,
    /// A source that has said the same for so long stands still.
    pub stands_still: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            of_all: Duration::from_secs(30),
            look_again: Duration::from_millis(500),
            stands_still: Duration::from_secs(10),
        }
    }
}

/// What became of such a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Holds(String),
    Fails(String),
    /// It could not be decided, for this reason.
    Open(String),
}

type Numbers = Vec<Option<String>>;

/// Compares one row of numbers of the lake with the source's, until they agree or the time is up.
///
/// # Errors
/// When the lake's query cannot run or the source is away.
pub async fn reconcile(
    test: &Reconcile,
    engine: &Engine,
    source: Option<&Secret>,
    patience: Patience,
) -> Result<Finding> {
    let Some(url) = source.filter(|url| !url.expose().is_empty()) else {
        return Ok(Finding::Open("LAKE_SOURCE_URL is not set".into()));
    };
    let away = |error: tokio_postgres::Error| LakeError::away("the source database", error);
    let (client, connection) = tokio_postgres::connect(url.expose(), NoTls).await.map_err(away)?;
    let connection = tokio::spawn(connection);
    let ended = compare(test, engine, &client, patience).await;
    connection.abort();
    ended
}

async fn compare(
    test: &Reconcile,
    engine: &Engine,
    client: &tokio_postgres::Client,
    patience: Patience,
) -> Result<Finding> {
    let started = Instant::now();
    let mut last: Option<(Numbers, Instant)> = None;
    loop {
        let source = of_source(client, &test.source).await?;
        let lake = first_row(engine.query(&test.lake).await?).await?;
        if lake == source {
            return Ok(Finding::Holds(words(&lake)));
        }
        if last.as_ref().is_none_or(|(known, _)| *known != source) {
            last = Some((source.clone(), Instant::now()));
        }
        if started.elapsed() >= patience.of_all {
            let text = format!("the lake has {}, the source {}", words(&lake), words(&source));
            let still = last.is_some_and(|(_, since)| since.elapsed() >= patience.stands_still);
            return Ok(if still {
                Finding::Fails(text)
            } else {
                Finding::Open(format!("{text}; the source does not stand still"))
            });
        }
        tokio::time::sleep(patience.look_again).await;
    }
}

async fn of_source(client: &tokio_postgres::Client, sql: &str) -> Result<Numbers> {
    let answered = client.simple_query(sql).await;
    let messages = answered.map_err(|error| match error.as_db_error() {
        Some(refused) => LakeError::definite(format!("the source database: {refused}")),
        None => LakeError::away("the source database", error),
    })?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect()),
        _ => None,
    });
    Ok(row.unwrap_or_default())
}

async fn first_row(mut stream: SendableRecordBatchStream) -> Result<Numbers> {
    while let Some(batch) = stream.try_next().await? {
        if let Some(row) = format::rows(&batch)?.first() {
            return Ok(row.as_array().into_iter().flatten().map(unit::text).collect());
        }
    }
    Ok(Numbers::new())
}

fn words(numbers: &Numbers) -> String {
    numbers.iter().map(|number| number.as_deref().unwrap_or("null")).collect::<Vec<_>>().join(", ")
}

/// Whether the newest value of a column is new enough, at the snapshot of `table` that is looked at.
///
/// # Errors
/// When the query cannot run.
pub async fn freshness(test: &FreshnessTest, table: &str, pinned: &Pinned, engine: &Engine) -> Result<Finding> {
    let sql = format!(
        "SELECT CAST(date_part('epoch', CAST(MAX(\"{}\") AS TIMESTAMP)) AS BIGINT) AS newest FROM {table}",
        test.column
    );
    let newest = first_row(engine.query_pinned(&sql, pinned).await?).await?.into_iter().flatten().next();
    let Some(newest) = newest.and_then(|text| text.parse::<i64>().ok()) else {
        return Ok(Finding::Fails(format!("{} has no value", test.column)));
    };
    let age_s = now_ms() / 1000 - newest;
    let text = format!("the newest {} is {} h old", test.column, age_s / 3600);
    Ok(if age_s <= i64::from(test.within_hours) * 3600 { Finding::Holds(text) } else { Finding::Fails(text) })
}
