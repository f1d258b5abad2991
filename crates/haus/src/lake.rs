//! `haus sql` and `haus verify`: questions to the lake, and the proof by the ledger.

use std::{
    io::{IsTerminal as _, Read as _, Write},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{api::Api, render, settings::Settings};

/// `haus sql`.
#[derive(Debug, clap::Args)]
pub struct Sql {
    /// The query; without it and without a file, it is read from standard input, statement by statement if that is a
    /// terminal.
    pub sql: Option<String>,
    /// File with the query; - is standard input.
    #[arg(short, long, conflicts_with = "sql")]
    pub file: Option<PathBuf>,
    /// How the result is written; --json is short for json.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// File to write to, instead of standard output.
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    /// At most so many rows. Without it: 10,000 as table and JSON, all in the other formats.
    #[arg(long)]
    pub max_rows: Option<u64>,
}

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Csv,
    Json,
    Ndjson,
    Parquet,
}

/// Runs `haus sql`.
///
/// # Errors
/// When the lake is away or refuses the statement, or the result cannot be written.
pub async fn sql(settings: &Settings, command: &Sql, json: bool) -> anyhow::Result<()> {
    let format = if json && command.format == Format::Table { Format::Json } else { command.format };
    let text = match (&command.sql, &command.file) {
        (Some(sql), _) => sql.clone(),
        (None, Some(path)) if path.as_os_str() != "-" => {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?
        }
        _ if std::io::stdin().is_terminal() => return prompt(settings, command, format).await,
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read the query from standard input")?;
            text
        }
    };
    run(settings, command, format, &text).await
}

/// Reads statements from a terminal, each up to a semicolon at the end of a line, and runs them one by one.
async fn prompt(settings: &Settings, command: &Sql, format: Format) -> anyhow::Result<()> {
    let mut text = String::new();
    loop {
        eprint!("{}", if text.is_empty() { "lake> " } else { "   -> " });
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line)? == 0 {
            return Ok(());
        }
        if text.is_empty() && matches!(line.trim(), "" | "exit" | "quit" | "\\q") {
            if line.trim().is_empty() {
                continue;
            }
            return Ok(());
        }
        text.push_str(&line);
        if let Some(statement) = text.trim_end().strip_suffix(';') {
            if let Err(error) = run(settings, command, format, statement).await {
                eprintln!("{error:#}");
            }
            text.clear();
        }
    }
}

async fn run(settings: &Settings, command: &Sql, format: Format, sql: &str) -> anyhow::Result<()> {
    let mut out: Box<dyn Write> = match &command.output {
        Some(path) => Box::new(std::fs::File::create(path).with_context(|| format!("write {}", path.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let name = match format {
        Format::Table | Format::Json => {
            let result = query(settings, sql, command.max_rows).await?;
            let text = if format == Format::Json { format!("{result:#}") } else { result_table(&result) };
            writeln!(out, "{text}")?;
            return Ok(());
        }
        Format::Csv => "csv",
        Format::Ndjson => "ndjson",
        Format::Parquet => "parquet",
    };
    let api = Api::new("lake", &settings.lake_url, Duration::from_secs(3600))?;
    let mut body = json!({"sql": sql, "format": name});
    if let Some(max_rows) = command.max_rows {
        body["max_rows"] = json!(max_rows);
    }
    let mut answer = api.stream("/sql", &body).await?;
    while let Some(bytes) = answer.chunk().await.context("the result broke off")? {
        out.write_all(&bytes)?;
    }
    Ok(out.flush()?)
}

/// Runs SQL on the lake. The answer is `{"columns":[{"name","type"}],"rows":[[…]]}`.
///
/// # Errors
/// When the lake is away or refuses the statement.
pub async fn query(settings: &Settings, sql: &str, max_rows: Option<u64>) -> anyhow::Result<Value> {
    let api = Api::new("lake", &settings.lake_url, Duration::from_secs(300))?;
    let mut body = json!({"sql": sql, "format": "json"});
    if let Some(max_rows) = max_rows {
        body["max_rows"] = json!(max_rows);
    }
    api.post("/sql", Some(&body)).await
}

/// The rows as a table, numbers to the right.
#[must_use]
pub fn result_table(result: &Value) -> String {
    let columns: Vec<_> = result["columns"].as_array().into_iter().flatten().collect();
    let names: Vec<_> = columns.iter().map(|column| column["name"].as_str().unwrap_or("?")).collect();
    let rows: Vec<_> = result["rows"].as_array().into_iter().flatten().collect();
    let numbers: Vec<_> = columns
        .iter()
        .filter(|column| {
            let kind = column["type"].as_str().unwrap_or("").to_lowercase();
            ["int", "float", "double", "decimal", "long"].iter().any(|number| kind.contains(number))
        })
        .map(|column| column["name"].as_str().unwrap_or("?"))
        .collect();
    let mut table = render::table(&names, &numbers);
    for row in &rows {
        table.add_row(row.as_array().into_iter().flatten().map(show));
    }
    format!("{table}\n{} rows", rows.len())
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A difference the ledger found: `{"hop","kind","count","first":[…]}` in words.
fn describe(difference: &Value) -> String {
    let (Some(hop), Some(kind)) = (difference["hop"].as_str(), difference["kind"].as_str()) else {
        return show(difference);
    };
    let first: Vec<_> = difference["first"].as_array().into_iter().flatten().map(show).collect();
    format!("{} {kind} in {hop}: {}", show(&difference["count"]), first.join(", "))
}

/// Runs the ledger's proof and returns its report.
///
/// # Errors
/// When the ledger cannot run to its end; a difference it found is in the report, not an error.
pub async fn verify(settings: &Settings) -> anyhow::Result<Value> {
    let program = std::env::current_exe().context("find the haus binary")?.with_file_name("ledger");
    let output = tokio::process::Command::new(&program)
        .args(["verify", "--json"])
        .envs(settings.environment())
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("start {}", program.display()))?;
    serde_json::from_slice(&output.stdout).or_else(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = errors.lines().rev().take(5).collect();
        bail!("verify did not finish: {}", last.into_iter().rev().collect::<Vec<_>>().join("\n"))
    })
}

/// A row per source table, then the marts, then the verdict.
#[must_use]
pub fn verify_text(report: &Value) -> String {
    let header = ["table", "Postgres", "Kafka", "raw objects", "raw records", "stage", "shape", "verdict"];
    let mut table = render::table(&header, &header[1..7]);
    let number = |value: &Value| value.as_i64().map_or_else(|| "-".to_owned(), render::count);
    let mut differences = Vec::new();
    for row in report["tables"].as_array().into_iter().flatten() {
        let name = row["table"].as_str().unwrap_or("?");
        table.add_row([
            name.to_owned(),
            number(&row["postgres_rows"]),
            number(&row["kafka_records"]),
            number(&row["raw_objects"]),
            number(&row["raw_records"]),
            number(&row["stage_rows"]),
            number(&row["shape_rows"]),
            show(&row["verdict"]),
        ]);
        for difference in row["differences"].as_array().into_iter().flatten() {
            differences.push(format!("  {name}: {}", describe(difference)));
        }
    }
    let mut text = table.to_string();
    for mart in report["marts"].as_array().into_iter().flatten() {
        text.push_str(&format!("\nserve.{}: {}", show(&mart["mart"]), show(&mart["verdict"])));
        for difference in mart["differences"].as_array().into_iter().flatten() {
            differences.push(format!("  serve.{}: {}", show(&mart["mart"]), show(difference)));
        }
    }
    for difference in differences {
        text.push('\n');
        text.push_str(&difference);
    }
    if let Some(error) = report["error"].as_str() {
        text.push_str(&format!("\n{error}"));
    }
    text.push_str(if report["ok"] == json!(true) {
        "\nverified: nothing lost, nothing doubled"
    } else {
        "\nNOT verified"
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_a_table() {
        let result = json!({"columns": [{"name": "day", "type": "Date32"}, {"name": "revenue", "type": "Decimal128(20, 2)"}], "rows": [["2026-11-22", "10.50"], [null, "1.00"]]});
        let text = result_table(&result);
        assert!(text.contains("2026-11-22") && text.contains("NULL") && text.ends_with("2 rows"), "{text}");
    }

    #[test]
    fn a_difference_is_shown_with_its_table() {
        let report = json!({"tables": [{"table": "orders", "postgres_rows": 2, "verdict": "different", "differences": [{"hop": "shape", "kind": "missing", "count": 1, "first": ["7"]}]}], "marts": [], "ok": false});
        let text = verify_text(&report);
        assert!(text.contains("orders: 1 missing in shape: 7") && text.ends_with("NOT verified"), "{text}");
        let text = verify_text(&json!({"tables": [], "error": "Postgres is away", "ok": false}));
        assert!(text.ends_with("Postgres is away\nNOT verified"), "{text}");
    }
}
