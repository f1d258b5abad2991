//! `${env:NAME}`, `${file:PATH:key}` and `${dir:PATH:file}` in configurations: where passwords come from.
//!
//! Resolved only for the task and for the checks of its plugin, on the worker that runs it; what is stored and
//! answered keeps the reference. Names as Kafka's `EnvVarConfigProvider`, `FileConfigProvider` and
//! `DirectoryConfigProvider`, under the names that people give them (`config.providers=env,file,dir`).

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::plugin::Config;

/// A reference that cannot be resolved here; the text names the setting and the cure, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No such variable.
    #[error(
        "{field}: the environment variable {name} is not set for this worker, or not among those it may read; set it (or add it to .env) and restart the connector"
    )]
    NoVariable {
        /// Setting with the reference.
        field: String,
        /// Variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("{field}: cannot read {path}: {reason}")]
    NoFile {
        /// Setting with the reference.
        field: String,
        /// File.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// The file has no such key.
    #[error("{field}: {path} has no line '{key}='")]
    NoKey {
        /// Setting with the reference.
        field: String,
        /// File.
        path: String,
        /// Key.
        key: String,
    },
}

/// Where references are looked up; the process's own environment and files, or a test's.
pub trait Source {
    /// Value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// Content of a file.
    ///
    /// # Errors
    /// The system's reason.
    fn file(&self, path: &str) -> Result<String, String>;
}

/// The process's environment and file system, as far as the worker's settings let references reach.
#[derive(Debug, Clone, Default)]
pub struct Process {
    paths: Option<Vec<PathBuf>>,
    variables: Option<Regex>,
}

impl Process {
    /// Only these files and what is in these folders, only variables that match as a whole; `None` allows all, as with a
    /// JVM worker's providers.
    pub fn new(paths: Option<Vec<PathBuf>>, variables: Option<Regex>) -> Self {
        Self { paths, variables }
    }

    fn allowed(&self, path: &Path) -> Result<PathBuf, String> {
        // The real path: neither `..` nor a link leads out of an allowed folder.
        let real = path.canonicalize().map_err(|error| error.to_string())?;
        let inside = |allowed: &PathBuf| allowed.canonicalize().is_ok_and(|allowed| real.starts_with(allowed));
        match &self.paths {
            Some(paths) if !paths.iter().any(inside) => {
                Err("it is not among CONNECT_CONFIG_PROVIDERS_FILE_PARAM_ALLOWED_PATHS of this worker".into())
            }
            _ => Ok(real),
        }
    }
}

impl Source for Process {
    fn variable(&self, name: &str) -> Option<String> {
        let whole = |pattern: &Regex| pattern.find(name).is_some_and(|found| found.as_str() == name);
        if self.variables.as_ref().is_some_and(|pattern| !whole(pattern)) {
            return None;
        }
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let path = self.allowed(Path::new(path))?;
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    }
}

/// `config` with every reference replaced.
///
/// # Errors
/// The first reference that cannot be resolved.
pub fn resolve(config: &Config, source: &impl Source) -> Result<Config, ProviderError> {
    config.iter().map(|(field, value)| Ok((field.clone(), resolve_value(field, value, source)?))).collect()
}

fn resolve_value(field: &str, value: &str, source: &impl Source) -> Result<String, ProviderError> {
    let mut out = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}').map(|end| start + end) else { break };
        out.push_str(&rest[..start]);
        match lookup(field, &rest[start + 2..end], source)? {
            Some(found) => out.push_str(&found),
            // Not one of our providers (a time pattern, say): keep the text.
            None => out.push_str(&rest[start..=end]),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn lookup(field: &str, reference: &str, source: &impl Source) -> Result<Option<String>, ProviderError> {
    if let Some(name) = reference.strip_prefix("env:") {
        // Kafka's form is `${env:PATH:NAME}` with an empty path allowed.
        let name = name.trim_start_matches(':');
        let missing = || ProviderError::NoVariable { field: field.into(), name: name.into() };
        return source.variable(name).map(Some).ok_or_else(missing);
    }
    if let Some((path, key)) = reference.strip_prefix("file:").and_then(|rest| rest.rsplit_once(':')) {
        let no_file = |reason| ProviderError::NoFile { field: field.into(), path: path.into(), reason };
        let text = source.file(path).map_err(no_file)?;
        let no_key = || ProviderError::NoKey { field: field.into(), path: path.into(), key: key.into() };
        return property(&text, key).map(Some).ok_or_else(no_key);
    }
    if let Some((folder, name)) = reference.strip_prefix("dir:").and_then(|rest| rest.rsplit_once(':')) {
        let path = format!("{}/{name}", folder.trim_end_matches('/'));
        let no_file = |reason| ProviderError::NoFile { field: field.into(), path: path.clone(), reason };
        if name.is_empty() || name.contains('/') || name == ".." {
            return Err(no_file("the last part must be the name of a file in the folder".into()));
        }
        return source.file(&path).map(Some).map_err(no_file);
    }
    Ok(None)
}

/// A line `key=value` of a Java properties file.
fn property(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.trim().split_once(['=', ':'])?;
        (!line.starts_with(['#', '!']) && name.trim() == key).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Fake;

    impl Source for Fake {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "PASSWORD").then(|| "hunter22".into())
        }

        fn file(&self, path: &str) -> Result<String, String> {
            if path == "/run/secrets.properties" {
                Ok("# comment\nuser=bob\nkey = s3:cr=t\n".into())
            } else {
                Err("not found".into())
            }
        }
    }

    fn resolved(value: &str) -> Result<String, ProviderError> {
        resolve(&Config::from([("f".to_owned(), value.to_owned())]), &Fake)
            .map(|mut config| config.remove("f").unwrap())
    }

    #[test]
    fn references_are_replaced_inside_a_value_and_other_text_stays() {
        assert_eq!(resolved("a ${env:PASSWORD} b"), Ok("a hunter22 b".into()));
        assert_eq!(resolved("${file:/run/secrets.properties:key}"), Ok("s3:cr=t".into()));
        assert_eq!(resolved("${topic}-${x"), Ok("${topic}-${x".into()));
    }

    #[test]
    fn only_what_the_worker_allows_is_read() {
        let folder = std::env::temp_dir().join(format!("providers-{}", std::process::id()));
        let (allowed, other) = (folder.join("allowed"), folder.join("other"));
        std::fs::create_dir_all(&allowed).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(allowed.join("s"), "user=bob\n").unwrap();
        std::fs::write(other.join("s"), "user=eve\n").unwrap();
        std::os::unix::fs::symlink(other.join("s"), allowed.join("link")).unwrap();
        let process = Process::new(Some(vec![allowed.clone()]), Some(Regex::new("CARGO_.*").unwrap()));
        let read = |reference: String| {
            resolve(&Config::from([("f".to_owned(), reference)]), &process)
                .map(|mut config| config.remove("f").unwrap())
        };
        let (allowed, other) = (allowed.display(), other.display());
        assert_eq!(read(format!("${{file:{allowed}/s:user}}")), Ok("bob".into()));
        assert_eq!(read(format!("${{dir:{allowed}:s}}")), Ok("user=bob\n".into()));
        for path in [format!("{other}/s"), format!("{allowed}/../other/s"), format!("{allowed}/link")] {
            let refused = read(format!("${{file:{path}:user}}")).unwrap_err().to_string();
            assert!(refused.contains("ALLOWED_PATHS"), "{refused}");
        }
        assert!(read(format!("${{dir:{allowed}:../other/s}}")).is_err());
        assert!(read("${env:CARGO_MANIFEST_DIR}".into()).is_ok());
        assert!(read("${env:PATH}".into()).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_missing_is_named_with_its_setting() {
        let error = resolved("${env:NOPE}").unwrap_err().to_string();
        assert!(error.contains("f: the environment variable NOPE is not set"), "{error}");
        let error = resolved("${file:/run/secrets.properties:nope}").unwrap_err().to_string();
        assert!(error.contains("no line 'nope='"), "{error}");
        assert!(resolved("${file:/nope:x}").unwrap_err().to_string().contains("cannot read /nope"));
    }
}
