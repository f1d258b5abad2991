//! `lake sql`: a query from the command line, a file or standard input; its result to a file or standard output.

use std::io::{Read as _, Write};

use anyhow::Context as _;
use futures::TryStreamExt;

use crate::{
    query::{self, Format},
    settings::SqlCommand,
    sql::Engine,
};

/// Runs it.
///
/// # Errors
/// When the query fails or its result cannot be written.
pub async fn sql(engine: &Engine, command: &SqlCommand) -> anyhow::Result<()> {
    let sql = text(command)?;
    let mut out: Box<dyn Write> = match &command.output {
        Some(path) => Box::new(std::fs::File::create(path).with_context(|| format!("write {}", path.display()))?),
        None => Box::new(std::io::stdout().lock()),
    };
    if command.format.streams() {
        let mut bytes = std::pin::pin!(query::streamed(engine, &sql, command.format, None).await?);
        while let Some(bytes) = bytes.try_next().await? {
            out.write_all(&bytes)?;
        }
    } else {
        let mut text = query::answer(engine, &sql, query::ROWS_MAX).await?.text(command.format);
        if command.format == Format::Json {
            text.push('\n');
        }
        out.write_all(text.as_bytes())?;
    }
    Ok(out.flush()?)
}

fn text(command: &SqlCommand) -> anyhow::Result<String> {
    match (&command.query, &command.file) {
        (Some(query), _) => Ok(query.clone()),
        (None, Some(path)) if path.as_os_str() != "-" => {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        }
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read the query from standard input")?;
            Ok(text)
        }
    }
}
