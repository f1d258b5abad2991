//! `haus logs`: the logs of the embedded stack, of one process or all, with the process' name before each line.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

/// How much of the end of a log is read to find its last lines.
const TAIL_BYTES_MAX: u64 = 256 * 1024;
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// Prints the last lines of the logs, and with `follow` what comes.
///
/// # Errors
/// When there is no such log.
pub async fn run(
    haus_dir: &Path,
    name: Option<&str>,
    lines: usize,
    follow: bool,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let files = files(&haus_dir.join("logs"), name)?;
    let width = files.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let single = files.len() == 1;
    let mut positions = HashMap::new();
    for (name, path) in &files {
        let (text, end) = read_from(path, None)?;
        let all: Vec<_> = text.lines().collect();
        for line in &all[all.len().saturating_sub(lines)..] {
            if !print(name, line, width, single) {
                return Ok(());
            }
        }
        positions.insert(path.clone(), end);
    }
    if !follow {
        return Ok(());
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
        }
        for (name, path) in &files {
            let position = positions.get(path).copied().unwrap_or(0);
            let (text, end) = read_from(path, Some(position))?;
            // A line that is still being written is left for the next look.
            let whole = text.rfind('\n').map_or(0, |last| last + 1);
            for line in text[..whole].lines() {
                if !print(name, line, width, single) {
                    return Ok(());
                }
            }
            positions.insert(path.clone(), if whole == text.len() { end } else { position + whole as u64 });
        }
    }
}

fn files(folder: &Path, name: Option<&str>) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("no logs in {}; was the stack ever up?", folder.display()))?;
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let stem = path.file_stem()?.to_string_lossy().into_owned();
            (path.extension()? == "log").then_some((stem, path))
        })
        .collect();
    files.sort();
    if let Some(name) = name {
        let known: Vec<_> = files.iter().map(|(name, _)| name.clone()).collect();
        files.retain(|(stem, _)| stem == name);
        if files.is_empty() {
            bail!("no log of '{name}'; there are: {}", known.join(", "));
        }
    }
    Ok(files)
}

/// Text of a log from a position, or of its end.
fn read_from(path: &Path, position: Option<u64>) -> anyhow::Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let length = file.metadata()?.len();
    let start = position.unwrap_or_else(|| length.saturating_sub(TAIL_BYTES_MAX)).min(length);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length - start).read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), length))
}

/// `false` when the reader of a pipe went away.
fn print(name: &str, line: &str, width: usize, single: bool) -> bool {
    let mut out = std::io::stdout();
    if single { writeln!(out, "{line}").is_ok() } else { writeln!(out, "{name:<width$} | {line}").is_ok() }
}
