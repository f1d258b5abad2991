//! `haus seed` and `haus traffic`: the seeder's API from the command line.

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{api::Api, settings::Settings};

#[derive(Debug, Args)]
pub struct Seed {
    /// Customers; orders, items and payments follow from them.
    #[arg(long, default_value_t = 10_000)]
    pub count: u64,
    #[arg(long, default_value_t = 1_000)]
    pub batch_size: u64,
    /// The same seed gives the same rows.
    #[arg(long)]
    pub seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum TrafficCommand {
    /// Starts simulated traffic, or changes its rate.
    Start {
        /// Transactions a second.
        #[arg(long, default_value_t = 1.0)]
        rate: f64,
    },
    /// Stops it.
    Stop,
    /// What the seeder has written.
    Status,
}

fn api(settings: &Settings, timeout: Duration) -> anyhow::Result<Api> {
    Api::new("seeder", settings.seeder(), timeout)
}

/// Writes a full seed and follows its progress.
///
/// # Errors
/// When the seeder is away or refuses.
pub async fn full(settings: &Settings, seed: &Seed, quiet: bool) -> anyhow::Result<Value> {
    // The call answers when everything is written.
    let long = api(settings, Duration::from_secs(3600))?;
    let short = api(settings, Duration::from_secs(5))?;
    let mut path = format!("/seed/full?count={}&batch_size={}", seed.count, seed.batch_size);
    if let Some(number) = seed.seed {
        path.push_str(&format!("&seed={number}"));
    }
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.set_style(
        ProgressStyle::with_template("  seed {bar:40} {human_pos}/{human_len} rows")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let work = long.post(&path, None);
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                if let Ok(status) = short.get("/status").await {
                    bar.set_length(status["full"]["rows_total"].as_u64().unwrap_or(0));
                    bar.set_position(status["full"]["rows_written"].as_u64().unwrap_or(0));
                }
            }
        }
    };
    bar.finish_and_clear();
    done
}

/// Runs a traffic command and returns the seeder's answer.
///
/// # Errors
/// When the seeder is away or refuses.
pub async fn traffic(settings: &Settings, command: &TrafficCommand) -> anyhow::Result<Value> {
    let api = api(settings, Duration::from_secs(60))?;
    match command {
        TrafficCommand::Start { rate } => api.post(&format!("/seed/start?rate={rate}"), None).await,
        TrafficCommand::Stop => api.post("/seed/stop", None).await,
        TrafficCommand::Status => api.get("/status").await,
    }
}

/// The seeder's answer in a few lines.
#[must_use]
pub fn text(answer: &Value) -> String {
    let mut lines = Vec::new();
    if let Some(status) = answer["status"].as_str() {
        lines.push(status.to_owned());
    }
    if let Some(running) = answer["running"].as_bool() {
        lines.push(if running {
            format!("traffic runs at {} transactions/s", answer["rate"])
        } else {
            "no traffic".to_owned()
        });
        lines.push(format!("{} transactions, {} errors", answer["transactions"], answer["errors"]));
    }
    for (table, rows) in answer["rows"].as_object().into_iter().flatten() {
        lines.push(match rows.as_u64() {
            Some(rows) => format!("  {table:<12} {rows}"),
            None => format!(
                "  {table:<12} {} inserted, {} updated, {} deleted",
                rows["inserted"], rows["updated"], rows["deleted"]
            ),
        });
    }
    lines.join("\n")
}
