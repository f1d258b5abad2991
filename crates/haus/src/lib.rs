//! `haus`: the command line of haus-am-see. Parses arguments and settings, calls the command, prints its result.

#[macro_use]
mod render;

mod api;
#[cfg(test)]
mod compose_tests;
mod connector;
mod databases;
mod demo;
mod group;
mod lake;
mod logs;
mod ports;
mod seed;
mod settings;
mod stack;
mod state;
mod status;
mod supervisor;
mod topic;
mod up;

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::{
    group::GroupCommand,
    seed::{Seed, TrafficCommand},
    settings::Settings,
    topic::TopicCommand,
    up::UpOptions,
};

/// A data platform that starts with one command: web shop → Postgres → Kafka → S3 → Iceberg, proven row by row.
#[derive(Parser)]
#[command(name = "haus", version)]
struct Haus {
    #[command(flatten)]
    settings: Settings,
    /// Prints facts as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts the embedded stack and registers the connectors.
    Up(UpOptions),
    /// Stops the stack; its data stays.
    Down,
    /// Processes, ports, health, memory and lag per hop; live on a terminal.
    Status {
        /// Prints once, also on a terminal.
        #[arg(long)]
        once: bool,
        /// How many seconds back the time from commit to serve looks; ten minutes by default.
        #[arg(long)]
        freshness_seconds: Option<u64>,
    },
    /// Writes a full seed of customers, products, orders and payments.
    Seed(Seed),
    /// Simulated traffic.
    #[command(subcommand)]
    Traffic(TrafficCommand),
    /// Connectors of Kafka Connect.
    #[command(subcommand)]
    Connector(ConnectorCommand),
    /// Topics and their records.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Consumer groups.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Runs SQL over the lake: stage.orders, shape.orders, serve.daily_revenue, …
    Sql(lake::Sql),
    /// Proves that no row was lost or doubled from Postgres to the lake.
    Verify,
    /// Shows the logs of one process or of all.
    Logs {
        name: Option<String>,
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        #[arg(short, long)]
        follow: bool,
    },
    /// From nothing to a verified lake: up, seed, traffic, proof.
    Demo,
    /// Runs the migrations on the storefront database.
    Migrate,
    /// Asks a health URL once: exit code 0 when it answers 2xx. The health check of our containers.
    #[command(hide = true)]
    Probe { url: String },
    /// Keeps the stack running; started by `haus up`.
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        external: bool,
    },
}

#[derive(Subcommand)]
enum ConnectorCommand {
    /// Registers the templates of `connectors/`, or these files, with the values of .env.
    Apply {
        files: Vec<PathBuf>,
        /// Seconds to wait for Kafka Connect to come up.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        wait: u64,
    },
    /// All connectors and their states.
    List,
    /// State of one connector.
    Status { name: String },
    /// Deletes a connector; its offsets stay.
    Delete { name: String },
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("supervise") {
        return service::run("haus", async |context| match Haus::parse() {
            Haus { settings, command: Command::Supervise { external }, .. } => {
                supervisor::supervise(settings, external, &context).await
            }
            _ => Ok(()),
        });
    }
    let mut answer = true;
    let ran = service::run_command("haus", async |context| {
        let haus = Haus::parse();
        tokio::select! {
            result = run(haus, &context) => answer = result?,
            // Ctrl-C ends a command at once: none holds state that has to be saved.
            () = context.stop.cancelled() => {}
        }
        Ok(())
    });
    if ran == ExitCode::SUCCESS && !answer { ExitCode::from(2) } else { ran }
}

/// Runs a command. `false` when it ran but its answer is no (not verified, not up).
async fn run(haus: Haus, context: &service::Context) -> anyhow::Result<bool> {
    let Haus { settings, json: as_json, command } = haus;
    let show = |text: String, facts: Value| {
        if as_json { say!("{facts:#}") } else { say!("{text}") }
    };
    match command {
        Command::Up(options) => {
            let report = up::up(&settings, options, as_json).await?;
            let connectors: Vec<_> =
                report.connectors.iter().map(|applied| format!("{} {}", applied.name, applied.outcome)).collect();
            let how = if report.already_running { "was up already" } else { "is up" };
            show(
                format!("the stack {how} ({:.1} s); connectors: {}", report.seconds, connectors.join(", ")),
                serde_json::to_value(&report)?,
            );
        }
        Command::Down => {
            let stopped = up::down(&settings).await?;
            show(
                if stopped {
                    format!("the stack is down; its data stays in {}", settings.haus_dir.display())
                } else {
                    "the stack was not up".into()
                },
                json!({"stopped": stopped}),
            );
        }
        Command::Status { once, freshness_seconds } => {
            return show_status(&settings, as_json, once, freshness_seconds, context).await;
        }
        Command::Seed(seed) => {
            let answer = seed::full(&settings, &seed, as_json).await?;
            show(seed::text(&answer), answer);
        }
        Command::Traffic(command) => {
            let answer = seed::traffic(&settings, &command).await?;
            show(seed::text(&answer), answer);
        }
        Command::Connector(command) => run_connector(&settings, command, show).await?,
        Command::Topic(TopicCommand::List) => {
            let (text, facts) = topic::list(&settings).await?;
            show(text, facts);
        }
        Command::Topic(TopicCommand::Tail(tail)) => topic::tail(&settings, &tail, &context.stop).await?,
        Command::Group(command) => {
            let (text, facts) = group::run(&settings, command).await?;
            show(text, facts);
        }
        Command::Sql(command) => lake::sql(&settings, &command, as_json).await?,
        Command::Verify => {
            let report = lake::verify(&settings).await?;
            let ok = report["ok"] == json!(true);
            show(lake::verify_text(&report), report);
            return Ok(ok);
        }
        Command::Logs { name, lines, follow } => {
            logs::run(&settings.haus_dir, name.as_deref(), lines, follow, &context.stop).await?
        }
        Command::Probe { url } => {
            // A failed probe is this command's answer, not its failure: the reason goes to the container's health log.
            return match probe(&url).await {
                Ok(()) => Ok(true),
                Err(reason) => {
                    say!("{url}: {reason:#}");
                    Ok(false)
                }
            };
        }
        Command::Demo => return demo::run(&settings).await,
        Command::Migrate => {
            let report = databases::migrate(&settings).await?;
            let applied: Vec<_> = report.applied.iter().map(|applied| applied.script.clone()).collect();
            let text = if applied.is_empty() {
                "nothing to migrate".to_owned()
            } else {
                format!("applied {}", applied.join(", "))
            };
            show(text, json!({"applied": applied}));
        }
        Command::Supervise { .. } => anyhow::bail!("`haus supervise` is started by `haus up`"),
    }
    Ok(true)
}

/// Asks a health URL; an answer that is no 2xx is an error with its body.
async fn probe(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
    let response = client.get(url).send().await?;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "{status} {}", response.text().await.unwrap_or_default());
    Ok(())
}

async fn run_connector(
    settings: &Settings,
    command: ConnectorCommand,
    show: impl Fn(String, Value),
) -> anyhow::Result<()> {
    let api = connector::api(settings)?;
    match command {
        ConnectorCommand::Apply { files, wait } => {
            connector::reachable(settings, Duration::from_secs(wait)).await?;
            let applied = connector::apply(settings, &files).await?;
            let lines: Vec<_> = applied.iter().map(connector::Applied::line).collect();
            show(lines.join("\n"), serde_json::to_value(&applied)?);
        }
        ConnectorCommand::List => {
            let connectors = connector::list(settings).await?;
            show(connector::status_table(&connectors), connectors);
        }
        ConnectorCommand::Status { name } => {
            let status = api.get(&format!("/connectors/{name}/status")).await?;
            let one = json!({ name: { "status": status } });
            show(connector::status_table(&one), status);
        }
        ConnectorCommand::Delete { name } => {
            let answer = api.call(reqwest::Method::DELETE, &format!("/connectors/{name}"), None).await?;
            api.expect_success(answer)?;
            show(format!("{name} deleted"), json!({"deleted": name}));
        }
    }
    Ok(())
}

/// Prints the status once, or again and again on a terminal until Ctrl-C. `false` when the stack is not up.
async fn show_status(
    settings: &Settings,
    as_json: bool,
    once: bool,
    freshness: Option<u64>,
    context: &service::Context,
) -> anyhow::Result<bool> {
    let live = !once && !as_json && std::io::stdout().is_terminal();
    loop {
        let status = status::gather(settings, freshness).await?;
        if as_json {
            say!("{:#}", serde_json::to_value(&status)?);
        } else if live {
            // Clears the screen and goes to its top (ECMA-48).
            say!("\x1b[2J\x1b[H{}\n\nCtrl-C ends this view.", status::text(&status));
        } else {
            say!("{}", status::text(&status));
        }
        if !live {
            return Ok(status.up);
        }
        tokio::select! {
            () = context.stop.cancelled() => return Ok(true),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
