//! Logs of a service: set up from the environment, and their levels changed while it runs.
//!
//! `LOG_LEVEL` (or `RUST_LOG`) is a list of directives: a level for everything, and `target=level` for parts. [`levels`]
//! shows and changes them; a part without a level of its own has that of the part above it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

/// Who reads the logs.
#[derive(Clone, Copy)]
pub(crate) enum Reader {
    Service,
    Command,
}

/// Name of the level that everything has that has none of its own.
pub const ROOT: &str = "root";

type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static LEVELS: OnceLock<Levels> = OnceLock::new();

/// The levels of this process. Before [`crate::run`] has set up logs they can be looked at and changed without effect.
pub fn levels() -> &'static Levels {
    LEVELS.get_or_init(|| Levels::new("info", Box::new(|_| Ok(()))))
}

/// A level as `tracing` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    const ALL: [Self; 6] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level's name, in capitals.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }

    /// Reads a level's name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text))
    }
}

/// A part's level, and when it was changed, in ms since 1970; `None` when the process started with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub level: Level,
    pub changed_ms: Option<u64>,
}

/// See [`levels`].
pub struct Levels {
    /// Directives about spans and fields, kept as they were given.
    others: Vec<String>,
    set: Mutex<BTreeMap<String, Setting>>,
    apply: Apply,
}

impl Levels {
    fn new(directives: &str, apply: Apply) -> Self {
        let mut set = BTreeMap::from([(ROOT.to_owned(), Setting { level: Level::Error, changed_ms: None })]);
        let mut others = Vec::new();
        for directive in directives.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            let (target, level) = directive.split_once('=').unwrap_or((ROOT, directive));
            match Level::parse(level) {
                Some(level) if !target.contains('[') => {
                    set.insert(target.to_owned(), Setting { level, changed_ms: None });
                }
                _ => others.push(directive.to_owned()),
            }
        }
        Self { others, set: Mutex::new(set), apply }
    }

    /// Parts that have a level of their own, [`ROOT`] among them.
    pub fn all(&self) -> BTreeMap<String, Setting> {
        self.lock().clone()
    }

    /// The level that holds for a target such as `connect::task`.
    pub fn effective(&self, target: &str) -> Setting {
        let set = self.lock();
        let mut part = target;
        loop {
            if let Some(setting) = set.get(part) {
                return *setting;
            }
            match part.rsplit_once("::") {
                Some((above, _)) => part = above,
                None => return set.get(ROOT).copied().unwrap_or(Setting { level: Level::Error, changed_ms: None }),
            }
        }
    }

    /// Gives a part a level. What stands below it takes the level too. Returns what changed by it, by name.
    ///
    /// # Errors
    /// When the filter is not accepted; nothing is changed then.
    pub fn set(&self, target: &str, level: Level) -> Result<Vec<String>, String> {
        let was = self.effective(target).level;
        let mut set = self.lock();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let new = Setting { level, changed_ms: u64::try_from(now).ok() };
        let mut changed: Vec<String> = (was != level).then(|| target.to_owned()).into_iter().collect();
        let mut next = set.clone();
        for (part, setting) in &mut next {
            let below = part.strip_prefix(target).is_some_and(|rest| rest.starts_with("::"));
            if (below || target == ROOT) && part != target && setting.level != level {
                *setting = new;
                changed.push(part.clone());
            }
        }
        if !changed.is_empty() {
            if was != level {
                next.insert(target.to_owned(), new);
            }
            (self.apply)(self.filter(&next)?)?;
            *set = next;
        }
        changed.sort();
        Ok(changed)
    }

    fn filter(&self, set: &BTreeMap<String, Setting>) -> Result<EnvFilter, String> {
        let directive = |(target, setting): (&String, &Setting)| match target.as_str() {
            ROOT => setting.level.as_str().to_owned(),
            target => format!("{target}={}", setting.level.as_str()),
        };
        let directives: Vec<String> = set.iter().map(directive).chain(self.others.iter().cloned()).collect();
        EnvFilter::try_new(directives.join(",").to_lowercase()).map_err(|error| error.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Setting>> {
        // Replaced as a whole, so a panic elsewhere cannot leave it half-written.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets up the process's logs.
pub(crate) fn init(reader: Reader) -> anyhow::Result<()> {
    let directives = match (std::env::var("RUST_LOG"), reader) {
        (Ok(level), _) => level,
        (Err(_), Reader::Command) => "error".to_owned(),
        (Err(_), Reader::Service) => std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned()),
    };
    let filter =
        EnvFilter::try_new(&directives).with_context(|| format!("LOG_LEVEL: '{directives}' is not a log filter"))?;
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr);
    let apply: Apply = match std::env::var("LOG_FORMAT").as_deref() {
        Ok("json") => {
            let logs = logs.json().with_env_filter(filter).with_filter_reloading();
            let handle = logs.reload_handle();
            logs.init();
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
        Ok("text") | Err(_) => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let logs = logs.with_ansi(ansi).with_env_filter(filter).with_filter_reloading();
            let handle = logs.reload_handle();
            logs.init();
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
        Ok(other) => anyhow::bail!("LOG_FORMAT: '{other}' is not one of text, json"),
    };
    let _ = LEVELS.set(Levels::new(&directives, apply));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;

    fn recorded(directives: &str) -> (Levels, Arc<Mutex<Vec<String>>>) {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&applied);
        let levels = Levels::new(
            directives,
            Box::new(move |filter| {
                into.lock().unwrap().push(filter.to_string());
                Ok(())
            }),
        );
        (levels, applied)
    }

    #[test]
    fn a_part_has_the_level_of_what_stands_above_it() {
        let (levels, _) = recorded("info,topics=warn");
        assert_eq!(levels.effective("connect::task").level, Level::Info);
        assert_eq!(levels.effective("topics::cluster").level, Level::Warn);
        assert_eq!(levels.effective("topics_of_mine").level, Level::Info);
    }

    #[test]
    fn a_change_reaches_the_filter_and_what_stands_below() {
        let (levels, applied) = recorded("info,connect::task=warn");
        assert_eq!(levels.set("connect", Level::Debug).unwrap(), ["connect", "connect::task"]);
        let filter = applied.lock().unwrap().pop().unwrap();
        assert!(filter.contains("connect=debug") && filter.contains("connect::task=debug"), "{filter}");
        assert!(levels.all()["connect"].changed_ms.is_some());
        assert_eq!(levels.all()[ROOT].changed_ms, None);
    }

    #[test]
    fn what_has_the_level_already_is_not_changed() {
        let (levels, applied) = recorded("info");
        assert!(levels.set("connect", Level::Info).unwrap().is_empty());
        assert!(applied.lock().unwrap().is_empty());
        assert_eq!(levels.set(ROOT, Level::Warn).unwrap(), [ROOT]);
        assert_eq!(levels.effective("connect").level, Level::Warn);
    }
}
