//! `haus demo`: the main job from nothing to a verified lake, as `make demo` runs it.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{
    lake, render,
    seed::{self, Seed, TrafficCommand},
    settings::Settings,
    status, up,
};

/// Customers of the first seed.
const CUSTOMERS: u64 = 10_000;
const TRAFFIC_SECONDS: u64 = 20;
const TRAFFIC_RATE: f64 = 200.0;
const CHART_WIDTH: u32 = 40;

/// Runs the demo and prints what came of it. `true` when everything was verified.
///
/// # Errors
/// When a part of the stack does not do its job.
pub async fn run(settings: &Settings) -> anyhow::Result<bool> {
    let begin = Instant::now();
    say!("haus-am-see: starting the stack");
    let report = up::up(settings, up::UpOptions::default(), false).await?;
    let how = if report.already_running { "was up" } else { "is up" };
    say!("the stack {how} after {:.1} s", report.seconds);
    if is_empty(settings).await? {
        let answer = seed::full(settings, &Seed { count: CUSTOMERS, batch_size: 1_000, seed: None }, false).await?;
        say!(
            "seeded {} customers' worth of data in {:.1} s",
            render::count(10_000),
            answer["seconds"].as_f64().unwrap_or(0.0)
        );
    } else {
        say!("the shop has data already; going on with it");
    }
    let traffic_begin = Instant::now();
    run_traffic(settings).await?;
    let spinner = spinner("proving that nothing was lost or doubled");
    let verified = lake::verify(settings).await?;
    spinner.finish_and_clear();
    say!("\n{}", lake::verify_text(&verified));
    print_marts(settings).await?;
    print_places(settings);
    say!("\n{}", status::text(&status::gather(settings, Some(traffic_begin.elapsed().as_secs())).await?));
    say!(
        "\ndone in {:.1} s. The stack stays up: `make down` stops it, `make clean-data` forgets it.",
        begin.elapsed().as_secs_f64()
    );
    Ok(verified["ok"] == Value::Bool(true))
}

async fn is_empty(settings: &Settings) -> anyhow::Result<bool> {
    let client = crate::databases::connect(settings, &settings.storefront_db).await?;
    let row = client.query_one("SELECT NOT EXISTS (SELECT 1 FROM public.customers)", &[]).await?;
    Ok(row.get(0))
}

async fn run_traffic(settings: &Settings) -> anyhow::Result<()> {
    seed::traffic(settings, &TrafficCommand::Start { rate: TRAFFIC_RATE }).await?;
    let bar = ProgressBar::new(TRAFFIC_SECONDS);
    bar.set_style(
        ProgressStyle::with_template("  traffic {bar:40} {pos}/{len} s")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    for _ in 0..TRAFFIC_SECONDS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let before = seed::traffic(settings, &TrafficCommand::Status).await?;
    seed::traffic(settings, &TrafficCommand::Stop).await?;
    say!(
        "ran traffic for {TRAFFIC_SECONDS} s: {} transactions so far, {} errors",
        before["transactions"],
        before["errors"]
    );
    Ok(())
}

fn spinner(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

async fn print_marts(settings: &Settings) -> anyhow::Result<()> {
    let daily =
        lake::query(settings, "SELECT day, orders, revenue FROM serve.daily_revenue ORDER BY day DESC LIMIT 14", None)
            .await?;
    let mut days: Vec<_> = daily["rows"].as_array().cloned().unwrap_or_default();
    days.reverse();
    let revenue = |row: &Value| {
        row[2].as_str().and_then(|text| text.parse::<f64>().ok()).or_else(|| row[2].as_f64()).unwrap_or(0.0)
    };
    let max = days.iter().map(revenue).fold(0.0, f64::max);
    say!("\nrevenue per day (serve.daily_revenue, last 14 days)");
    for row in &days {
        let day = row[0].as_str().unwrap_or("?");
        say!("  {day} {:<40} {:>12.2}", render::bar(revenue(row), max, CHART_WIDTH), revenue(row));
    }
    say!("\ntop products (serve.product_sales)");
    let top = lake::query(
        settings,
        "SELECT name, category, units, revenue FROM serve.product_sales ORDER BY revenue DESC, name LIMIT 5",
        None,
    )
    .await?;
    say!("{}", lake::result_table(&top));
    say!("\norder funnel (serve.order_funnel)");
    let funnel =
        lake::query(settings, "SELECT status, orders, total FROM serve.order_funnel ORDER BY orders DESC", None)
            .await?;
    say!("{}", lake::result_table(&funnel));
    Ok(())
}

fn print_places(settings: &Settings) {
    let mut table = render::table(&["what", "where", "credentials"], &[]);
    let local = |port: u16, path: &str| format!("{}{path}", settings.local(port));
    let keys = format!("{} / {}", settings.aws_access_key_id, settings.aws_secret_access_key.expose());
    let postgres =
        format!("postgresql://{}:{}/{}", settings.postgres_host, settings.postgres_port, settings.storefront_db);
    // The playground's own defaults, on loopback, shown so that a person can log in.
    let login = format!("{} / {}", settings.postgres_user, settings.postgres_password.expose());
    let rows = [
        ("Postgres", postgres, login),
        ("seeder", local(settings.seeder_port, "/docs"), "-".into()),
        ("Kafka", settings.kafka_bootstrap_servers.clone(), "-".into()),
        ("schema registry", local(settings.registry_port, "/subjects"), "-".into()),
        ("Connect (source)", local(settings.cdc_relay_port, "/connectors"), "-".into()),
        ("Connect (sink)", local(settings.s3_sink_port, "/connectors"), "-".into()),
        ("S3", settings.s3_endpoint.clone(), keys),
        ("Iceberg REST catalog", settings.catalog_url.clone(), "-".into()),
        ("lake (SQL, status)", format!("{}/status", settings.lake_url), "-".into()),
    ];
    for (what, place, credentials) in rows {
        table.add_row([what.to_owned(), place, credentials]);
    }
    say!("\n{table}");
}
