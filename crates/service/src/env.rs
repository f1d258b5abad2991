//! Reads `.env`, the one file that holds every setting of the playground.
//!
//! The real environment wins over the file, as with Docker Compose. The file is `HAUS_ENV_FILE`, or `.env` in the
//! working directory or the nearest folder above it. Values may be quoted; `${NAME}` and `${NAME:-default}` are replaced.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// Puts the settings of `.env` into this process' environment, before any thread starts.
///
/// # Errors
/// When the file cannot be read or a line of it is not a setting; the message names file and line.
pub fn load() -> anyhow::Result<()> {
    let Some(path) = find() else { return Ok(()) };
    let text = std::fs::read_to_string(&path).with_context(|| format!("read settings from {}", path.display()))?;
    let settings = parse(&text, |name| std::env::var(name).ok())
        .map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))?;
    for (name, value) in settings {
        if std::env::var_os(&name).is_none() {
            set(&name, &value);
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "set_var is unsafe because other threads may read the environment; none runs yet")]
fn set(name: &str, value: &str) {
    // SAFETY: `load` is called at the start of `run`, before the runtime and its threads exist.
    unsafe { std::env::set_var(name, value) };
}

fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("HAUS_ENV_FILE") {
        return Some(PathBuf::from(path));
    }
    let here = std::env::current_dir().ok()?;
    here.ancestors().map(|folder: &Path| folder.join(".env")).find(|file| file.is_file())
}

/// Parses the text of a `.env` file. `outer` gives the values of the real environment, which `${NAME}` prefers.
///
/// # Errors
/// Names the line that is not `NAME=value`, or whose quote or brace is not closed.
pub fn parse(text: &str, outer: impl Fn(&str) -> Option<String>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else { bail!("line {}: expected NAME=value", number + 1) };
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            bail!("line {}: '{name}' is not a name", number + 1);
        }
        let value = unquote(value.trim(), |name| outer(name).or_else(|| settings.get(name).cloned()))
            .with_context(|| format!("line {}: {name}", number + 1))?;
        settings.insert(name.to_owned(), value);
    }
    Ok(settings)
}

fn unquote(value: &str, lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    match value.as_bytes().first() {
        Some(b'\'') => {
            let end = value[1..].find('\'').context("the quote is not closed")?;
            Ok(value[1..=end].to_owned())
        }
        Some(b'"') => {
            let end = value[1..].find('"').context("the quote is not closed")?;
            expand(&value[1..=end], lookup)
        }
        _ => {
            let end = value.find(" #").unwrap_or(value.len());
            expand(value[..end].trim_end(), lookup)
        }
    }
}

fn expand(value: &str, lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let end = inner.find('}').context("'${' is not closed")?;
        let (name, default) = inner[..end].split_once(":-").unwrap_or((&inner[..end], ""));
        out.push_str(&lookup(name).unwrap_or_else(|| default.to_owned()));
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(text: &str) -> BTreeMap<String, String> {
        parse(text, |_| None).unwrap()
    }

    #[test]
    fn comments_quotes_and_references_are_understood() {
        let settings = parsed(
            "# a comment\nHOST=db # where\nexport PORT='4444'\nURL=\"http://${HOST}:${PORT}/${X:-y}\"\nEMPTY=\n",
        );
        assert_eq!(settings["HOST"], "db");
        assert_eq!(settings["URL"], "http://db:4444/y");
        assert_eq!(settings["EMPTY"], "");
    }

    #[test]
    fn the_real_environment_is_preferred_in_references() {
        let settings = parse("A=1\nB=${A}", |name| (name == "A").then(|| "2".to_owned())).unwrap();
        assert_eq!(settings["B"], "2");
    }

    #[test]
    fn a_line_that_is_no_setting_is_named() {
        for (text, part) in
            [("A=1\nnonsense", "line 2"), ("A B=1", "line 1"), ("A='x", "not closed"), ("A=${B", "not closed")]
        {
            let error = format!("{:#}", parse(text, |_| None).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
