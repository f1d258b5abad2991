//! `haus group`: what the seed does with `kafka-consumer-groups`.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use topics::{Admin, Cluster, Offset, ResetTo, TopicPartition};

use crate::{render, settings::Settings};

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// All consumer groups with state and number of members.
    List,
    /// State, members and lag per partition of one group.
    Describe { group: String },
    /// Sets a group's offsets; the group must be without members. Shows the plan unless --execute is given.
    Reset(Reset),
}

#[derive(Debug, Args)]
pub struct Reset {
    pub group: String,
    /// Topics to reset.
    #[arg(long = "topic", required_unless_present = "all_topics")]
    pub topics: Vec<String>,
    /// Every topic in which the group has committed.
    #[arg(long, conflicts_with = "topics")]
    pub all_topics: bool,
    #[arg(long, group = "to")]
    pub to_earliest: bool,
    #[arg(long, group = "to")]
    pub to_latest: bool,
    #[arg(long, group = "to")]
    pub to_offset: Option<i64>,
    #[arg(long)]
    pub execute: bool,
}

/// Runs the command and returns text for people and facts for programs.
///
/// # Errors
/// When Kafka is away, a topic is unknown or the group has members.
pub async fn run(settings: &Settings, command: GroupCommand) -> anyhow::Result<(String, Value)> {
    let admin = Admin::new(&Cluster::new(&settings.kafka_bootstrap_servers, "haus"))?;
    match command {
        GroupCommand::List => list(&admin).await,
        GroupCommand::Describe { group } => describe(&admin, &group).await,
        GroupCommand::Reset(reset) => run_reset(&admin, reset).await,
    }
}

async fn list(admin: &Admin) -> anyhow::Result<(String, Value)> {
    let groups = admin.groups().await?;
    let mut table = render::table(&["group", "state", "members"], &["members"]);
    for group in &groups {
        table.add_row([group.group.clone(), group.state.clone(), group.members.to_string()]);
    }
    let facts = groups
        .iter()
        .map(|group| json!({"group": group.group, "state": group.state, "members": group.members}))
        .collect();
    Ok((table.to_string(), Value::Array(facts)))
}

async fn describe(admin: &Admin, name: &str) -> anyhow::Result<(String, Value)> {
    let group = admin.group(name).await?;
    let offsets = admin.group_offsets(name).await?;
    let owner = |at: &TopicPartition| {
        group
            .members
            .iter()
            .find(|member| member.partitions.contains(at))
            .map_or("-", |member| member.client_id.as_str())
    };
    let mut table = render::table(
        &["topic", "partition", "committed", "end", "lag", "member"],
        &["partition", "committed", "end", "lag"],
    );
    let mut rows = Vec::new();
    for offset in &offsets {
        let at = &offset.partition;
        table.add_row([
            at.topic.to_string(),
            at.partition.to_string(),
            offset.committed.to_string(),
            offset.watermarks.high.to_string(),
            offset.lag().to_string(),
            owner(at).to_owned(),
        ]);
        rows.push(json!({"topic": &*at.topic, "partition": at.partition.0, "committed": offset.committed.0,
            "end": offset.watermarks.high.0, "lag": offset.lag(), "member": owner(at)}));
    }
    let text = format!("{} is {}, {} members\n{table}", group.group, group.state, group.members.len());
    Ok((text, json!({"group": group.group, "state": group.state, "members": group.members.len(), "partitions": rows})))
}

async fn run_reset(admin: &Admin, reset: Reset) -> anyhow::Result<(String, Value)> {
    let to = match (reset.to_earliest, reset.to_latest, reset.to_offset) {
        (true, _, _) => ResetTo::Earliest,
        (_, true, _) => ResetTo::Latest,
        (_, _, Some(offset)) => ResetTo::Offset(Offset(offset)),
        _ => bail!("say where to: --to-earliest, --to-latest or --to-offset N"),
    };
    let mut partitions = Vec::new();
    if reset.all_topics {
        partitions.extend(admin.group_offsets(&reset.group).await?.into_iter().map(|offset| offset.partition));
    }
    for topic in &reset.topics {
        partitions.extend(admin.partitions(topic).await?);
    }
    let changes = admin.reset_group(&reset.group, partitions, to, reset.execute).await?;
    let mut table = render::table(&["topic", "partition", "from", "to"], &["partition", "from", "to"]);
    let mut rows = Vec::new();
    for change in &changes {
        let from = change.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        table.add_row([
            change.partition.topic.to_string(),
            change.partition.partition.to_string(),
            from,
            change.to.to_string(),
        ]);
        rows.push(json!({"topic": &*change.partition.topic, "partition": change.partition.partition.0,
            "from": change.from.map(|from| from.0), "to": change.to.0}));
    }
    let note = if reset.execute { "done" } else { "nothing changed; add --execute to do it" };
    Ok((format!("{table}\n{note}"), json!({"executed": reset.execute, "partitions": rows})))
}
