//! Runs the traffic: one director on an absolute schedule, several connections that carry its actions out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service::Backoff;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::full_seed::write_first_products;
use super::statements::Statements;
use super::{Database, StorefrontError};
use crate::simulation::pace::Pace;
use crate::simulation::population::Population;
use crate::simulation::traffic::{Action, Director, REMEMBERED_MAX, Shop};

/// A connection carries so many transactions a second even where each waits for a busy disk; a higher rate gets more
/// connections, whose commits Postgres then flushes together.
const RATE_PER_CONNECTION: f64 = 40.0;
const CONNECTIONS_MAX: usize = 16;

/// Actions that may wait for a connection.
const ACTIONS_WAITING_MAX: usize = 256;

type SharedDirector = Arc<Mutex<Director>>;
type SharedActions = Arc<tokio::sync::Mutex<mpsc::Receiver<Action>>>;

/// Runs traffic at `rate` transactions a second until `stop`. Waits for the database as long as it takes, at the start
/// and whenever it goes away.
pub async fn run_traffic(database: Database, rate: f64, seed: u64, activity: Arc<Activity>, stop: CancellationToken) {
    let Some(shop) = open_shop(&database, seed, &activity, &stop).await else { return };
    let director = Arc::new(Mutex::new(Director::new(seed, shop)));
    let (sender, receiver) = mpsc::channel(ACTIONS_WAITING_MAX);
    let actions = Arc::new(tokio::sync::Mutex::new(receiver));
    let mut workers = JoinSet::new();
    for _ in 0..connections(rate) {
        let worker = Worker {
            database: database.clone(),
            director: Arc::clone(&director),
            actions: Arc::clone(&actions),
            activity: Arc::clone(&activity),
            stop: stop.clone(),
        };
        workers.spawn(worker.run());
    }
    direct(rate, &director, &sender, &activity, &stop).await;
    // Without a sender the workers end after what they have in hand.
    drop(sender);
    while workers.join_next().await.is_some() {}
}

fn connections(rate: f64) -> usize {
    ((rate / RATE_PER_CONNECTION).ceil() as usize).clamp(1, CONNECTIONS_MAX)
}

/// Hands out actions as they are due.
async fn direct(
    rate: f64,
    director: &SharedDirector,
    actions: &mpsc::Sender<Action>,
    activity: &Activity,
    stop: &CancellationToken,
) {
    let mut pace = Pace::new(rate);
    let start = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(start + pace.next_due()) => {}
        }
        let given_up_before = pace.given_up();
        for _ in 0..pace.take_due(start.elapsed(), ACTIONS_WAITING_MAX as u64) {
            let action = lock(director).next_action();
            let sent = tokio::select! {
                () = stop.cancelled() => return,
                sent = actions.send(action) => sent,
            };
            if sent.is_err() {
                return;
            }
        }
        if pace.given_up() > given_up_before {
            activity.left_out(pace.given_up() - given_up_before);
        }
    }
}

/// One connection.
struct Worker {
    database: Database,
    director: SharedDirector,
    actions: SharedActions,
    activity: Arc<Activity>,
    stop: CancellationToken,
}

impl Worker {
    async fn run(self) {
        let mut backoff = Backoff::default();
        while !self.stop.is_cancelled() {
            match self.carry_out(&mut backoff).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!("{error}");
                    self.activity.failed(error.to_string());
                }
            }
            if !backoff.wait(&self.stop).await {
                return;
            }
        }
    }

    /// Carries out actions until there are no more, or the connection is of no use any more.
    async fn carry_out(&self, backoff: &mut Backoff) -> Result<(), StorefrontError> {
        let client = self.database.connect().await?;
        let statements = Statements::prepare(&client).await.map_err(|error| self.database.error(&error))?;
        loop {
            let action = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                action = async { self.actions.lock().await.recv().await } => action,
            };
            let Some(action) = action else { return Ok(()) };
            match statements.execute(&client, &action).await.map_err(|error| self.database.error(&error)) {
                Ok((outcome, rows)) => {
                    lock(&self.director).learn(outcome);
                    self.activity.committed(&rows);
                    backoff.reset();
                }
                Err(StorefrontError::Conflict(reason)) => {
                    tracing::debug!(reason, "an action gave way");
                    lock(&self.director).give_back(&action);
                    self.activity.conflicted();
                }
                Err(error) => {
                    lock(&self.director).give_back(&action);
                    return Err(error);
                }
            }
        }
    }
}

/// Reads what the director must know, after making a few products in an empty shop. `None` when stopped before.
async fn open_shop(database: &Database, seed: u64, activity: &Activity, stop: &CancellationToken) -> Option<Shop> {
    let mut backoff = Backoff::default();
    loop {
        match read_shop(database, seed, activity).await {
            Ok(shop) => return Some(shop),
            Err(error) => {
                tracing::warn!("traffic waits: {error}");
                activity.failed(error.to_string());
            }
        }
        if !backoff.wait(stop).await {
            return None;
        }
    }
}

async fn read_shop(database: &Database, seed: u64, activity: &Activity) -> Result<Shop, StorefrontError> {
    let client = database.connect().await?;
    let read = || async {
        let maxima = "SELECT (SELECT coalesce(max(id), 0) FROM customers), (SELECT coalesce(max(id), 0) FROM products)";
        let maxima = client.query_one(maxima, &[]).await?;
        Ok(Shop {
            customer_max: maxima.get(0),
            product_max: maxima.get(1),
            open_orders: ids(&client, "SELECT id FROM orders WHERE status IN ('pending', 'shipped')").await?,
            unpaid_orders: ids(&client, "SELECT order_id AS id FROM payments WHERE status = 'pending'").await?,
            cancelled_orders: ids(&client, "SELECT id FROM orders WHERE status = 'cancelled'").await?,
        })
    };
    let mut shop = read().await.map_err(|error: tokio_postgres::Error| database.error(&error))?;
    if shop.product_max == 0 {
        let day = today();
        let made = write_first_products(database, &client, Population { seed, customers: 1, day }).await?;
        activity.full_wrote(&made);
        shop = read().await.map_err(|error| database.error(&error))?;
    }
    Ok(shop)
}

async fn ids(client: &Client, query: &str) -> Result<std::collections::VecDeque<i32>, tokio_postgres::Error> {
    let newest = format!("SELECT id FROM ({query} ORDER BY id DESC LIMIT {REMEMBERED_MAX}) AS newest ORDER BY id");
    Ok(client.query(&newest, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Days since the Unix epoch, UTC.
#[must_use]
pub fn today() -> i64 {
    chrono::Utc::now().timestamp().div_euclid(Duration::from_secs(86_400).as_secs() as i64)
}

/// The director's state is whole after every call, so a panic elsewhere does not matter.
fn lock(director: &SharedDirector) -> MutexGuard<'_, Director> {
    director.lock().unwrap_or_else(PoisonError::into_inner)
}
