//! Writes a whole population: a thread generates and encodes batches, a connection copies them in.
//!
//! Each batch of customers goes in with everything that is theirs in one transaction, so the database is whole after
//! every commit. When the server goes away in the middle, the seed goes on where it was: a batch whose commit was not
//! answered is looked up by its first customer before it is written again.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::SinkExt as _;
use service::Backoff;
use tokio::sync::mpsc;
use tokio_postgres::{Client, CopyInSink, Statement};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::copy_text::{CopyRow, append};
use super::id_blocks::{reserve, reserve_block};
use super::{Database, StorefrontError};
use crate::simulation::population::{Batch, Counts, FirstIds, Population};
use crate::simulation::rows::{Customer, Order, OrderItem, Payment, Product};

/// Batches that may wait between generator and writer.
const BATCHES_WAITING_MAX: usize = 2;

/// How long the server may be away in the middle of a seed.
const AWAY_MAX: Duration = Duration::from_secs(120);

/// A batch as COPY text.
struct EncodedBatch {
    counts: Counts,
    first_customer: i32,
    customers: Bytes,
    orders: Bytes,
    order_items: Bytes,
    payments: Bytes,
}

/// Writes the population. Progress goes to `activity`, batch by batch.
pub async fn write_population(
    database: &Database,
    population: Population,
    batch_customers: usize,
    activity: &Activity,
    stop: &CancellationToken,
) -> Result<Counts, StorefrontError> {
    let mut writer = Writer::connect(database).await?;
    let counts = blocking(database, move || population.counts()).await?;
    activity.full_sized(counts.total());
    let first = reserve(database, &writer.client, &counts).await?;

    let products = write_products(database, &writer.client, population, first.products).await?;
    activity.full_wrote(&Counts { products: products.len(), ..Counts::default() });
    let mut batches = generate(population, first, products, batch_customers);
    while let Some(batch) = batches.recv().await {
        if stop.is_cancelled() {
            return Err(StorefrontError::Refused {
                address: database.address.clone(),
                reason: "the seeder was stopped before the end of the seed".to_owned(),
            });
        }
        writer.write_surely(&batch, stop).await?;
        activity.full_wrote(&batch.counts);
    }
    writer.analyze().await?;
    Ok(counts)
}

/// Makes the least a shop needs to sell: products. For traffic in an empty database.
pub(super) async fn write_first_products(
    database: &Database,
    client: &Client,
    population: Population,
) -> Result<Counts, StorefrontError> {
    let count = population.products(1).len();
    let first_id = reserve_block(database, client, "products", count).await?;
    let products = write_products(database, client, population, first_id).await?;
    Ok(Counts { products: products.len(), ..Counts::default() })
}

async fn write_products(
    database: &Database,
    client: &Client,
    population: Population,
    first_id: i32,
) -> Result<Vec<Product>, StorefrontError> {
    let (products, text) = blocking(database, move || {
        let products = population.products(first_id);
        let text = encode(&products);
        (products, text)
    })
    .await?;
    let copied = async {
        let statement = client.prepare(Product::COPY).await?;
        copy(client, &statement, text).await
    };
    copied.await.map_err(|error| database.error(&error))?;
    Ok(products)
}

/// Generates in a thread of its own, as drawing and encoding would keep the writer waiting.
fn generate(
    population: Population,
    first: FirstIds,
    products: Vec<Product>,
    batch_customers: usize,
) -> mpsc::Receiver<EncodedBatch> {
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
    // Ends by itself: after the last batch, or when the receiver is gone.
    tokio::task::spawn_blocking(move || {
        for batch in population.batches(first, &products, batch_customers) {
            if sender.blocking_send(encode_batch(&batch)).is_err() {
                return;
            }
        }
    });
    receiver
}

fn encode_batch(batch: &Batch) -> EncodedBatch {
    EncodedBatch {
        counts: batch.counts(),
        first_customer: batch.customers.first().map_or(0, |customer| customer.id),
        customers: encode(&batch.customers),
        orders: encode(&batch.orders),
        order_items: encode(&batch.order_items),
        payments: encode(&batch.payments),
    }
}

fn encode<R: CopyRow>(rows: &[R]) -> Bytes {
    let mut text = BytesMut::with_capacity(rows.len() * 80);
    append(rows, &mut text);
    text.freeze()
}

/// A connection with its COPY statements.
struct Writer<'a> {
    database: &'a Database,
    client: Client,
    /// Customers, orders, order items, payments: parents before children.
    copies: [Statement; 4],
}

impl<'a> Writer<'a> {
    async fn connect(database: &'a Database) -> Result<Self, StorefrontError> {
        let client = database.connect().await?;
        let prepared = futures::future::try_join4(
            client.prepare(Customer::COPY),
            client.prepare(Order::COPY),
            client.prepare(OrderItem::COPY),
            client.prepare(Payment::COPY),
        );
        let (customers, orders, order_items, payments) = prepared.await.map_err(|error| database.error(&error))?;
        Ok(Self { database, client, copies: [customers, orders, order_items, payments] })
    }

    /// Writes a batch exactly once, though the server may go away at any moment.
    async fn write_surely(&mut self, batch: &EncodedBatch, stop: &CancellationToken) -> Result<(), StorefrontError> {
        let mut outcome = self.write(batch).await;
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        while let Err(error @ StorefrontError::Away { .. }) = &outcome {
            tracing::warn!("{error}; the seed goes on when it is back");
            if start.elapsed() > AWAY_MAX || !backoff.wait(stop).await {
                break;
            }
            outcome = self.resume(batch).await;
        }
        outcome
    }

    async fn resume(&mut self, batch: &EncodedBatch) -> Result<(), StorefrontError> {
        *self = Self::connect(self.database).await?;
        let present = "SELECT EXISTS (SELECT FROM customers WHERE id = $1)";
        let row = self.client.query_one(present, &[&batch.first_customer]).await;
        if row.map_err(|error| self.database.error(&error))?.get(0) {
            return Ok(());
        }
        self.write(batch).await
    }

    async fn write(&self, batch: &EncodedBatch) -> Result<(), StorefrontError> {
        let texts = [&batch.customers, &batch.orders, &batch.order_items, &batch.payments];
        let written = async {
            self.client.batch_execute("BEGIN").await?;
            for (statement, text) in self.copies.iter().zip(texts) {
                copy(&self.client, statement, text.clone()).await?;
            }
            self.client.batch_execute("COMMIT").await
        };
        let written = written.await;
        if written.is_err() {
            // When the connection is gone, so is the transaction.
            let _ = self.client.batch_execute("ROLLBACK").await;
        }
        written.map_err(|error| self.database.error(&error))
    }

    /// The planner must know of the rows before traffic starts, or its first statements read whole tables.
    async fn analyze(&self) -> Result<(), StorefrontError> {
        let tables = "ANALYZE customers, products, orders, order_items, payments";
        self.client.batch_execute(tables).await.map_err(|error| self.database.error(&error))
    }
}

async fn copy(client: &Client, statement: &Statement, text: Bytes) -> Result<(), tokio_postgres::Error> {
    let sink: CopyInSink<Bytes> = client.copy_in(statement).await?;
    futures::pin_mut!(sink);
    sink.send(text).await?;
    sink.finish().await?;
    Ok(())
}

/// Runs work for the processor away from the threads that serve HTTP.
async fn blocking<T: Send + 'static>(
    database: &Database,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StorefrontError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StorefrontError::Refused {
        address: database.address.clone(),
        reason: format!("the generator stopped: {error}"),
    })
}
