//! Settings of the cluster engine and its processes.

use std::{fmt, path::PathBuf, str::FromStr};

/// The engine, and what `lake scheduler` and `lake executor` take.
#[derive(Debug, Clone, clap::Args)]
pub struct ClusterSettings {
    /// Where models are computed that are built as a whole: `local`, or `ballista=HOST:PORT`, a cluster's scheduler.
    #[arg(long, env = "LAKE_ENGINE", default_value = "local", global = true)]
    pub engine: EngineChoice,
    /// Seconds for which a cluster may be without an executor before a model fails for it.
    #[arg(long, env = "LAKE_ENGINE_WAIT_S", default_value_t = 30, global = true)]
    pub engine_wait_s: u64,
    /// Port of `lake scheduler`.
    #[arg(long, env = "LAKE_SCHEDULER_PORT", default_value_t = 50050, global = true)]
    pub scheduler_port: u16,
    /// Seconds after which the scheduler gives the tasks of a silent executor to others.
    #[arg(long, env = "LAKE_EXECUTOR_LOST_S", default_value_t = 10, global = true)]
    pub executor_lost_s: u64,
    /// Scheduler that `lake executor` works for, `HOST:PORT`.
    #[arg(long, env = "LAKE_SCHEDULER", default_value = "127.0.0.1:50050", global = true)]
    pub scheduler: Address,
    /// Port at which an executor hands out its results.
    #[arg(long, env = "LAKE_EXECUTOR_PORT", default_value_t = 50051, global = true)]
    pub executor_port: u16,
    /// Name under which others reach the executor; not set: the address that the scheduler sees.
    #[arg(long, env = "LAKE_EXECUTOR_HOST", global = true)]
    pub executor_host: Option<String>,
    /// Tasks that an executor works on at once; 0: as many as it has cores.
    #[arg(long, env = "LAKE_EXECUTOR_TASKS_MAX", default_value_t = 0, global = true)]
    pub executor_tasks_max: usize,
    /// Folder below which an executor keeps results between stages; not set: the system's for temporary files.
    #[arg(long, env = "LAKE_EXECUTOR_DIR", global = true)]
    pub executor_dir: Option<PathBuf>,
}

/// Where queries of models are computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineChoice {
    /// In this process.
    Local,
    /// On the cluster of this scheduler.
    Ballista(Address),
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("ballista=")) {
            ("local", _) => Ok(Self::Local),
            (_, Some(address)) => address.parse().map(Self::Ballista),
            _ => Err("neither local nor ballista=HOST:PORT".into()),
        }
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, port)) if !host.is_empty() && port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(format!("{text} is not HOST:PORT")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_engine_is_local_or_names_a_scheduler() {
        assert_eq!("local".parse(), Ok(EngineChoice::Local));
        let EngineChoice::Ballista(address) = "ballista=scheduler.example:50050".parse().unwrap() else {
            unreachable!()
        };
        assert_eq!(address.to_string(), "scheduler.example:50050");
        assert_eq!("[::1]:7".parse::<Address>().unwrap().to_string(), "[::1]:7");
        for text in
            ["", "spark", "ballista", "ballista=", "ballista=host", "ballista=:1", "ballista=h:0", "ballista=h:x"]
        {
            assert!(text.parse::<EngineChoice>().is_err(), "{text}");
        }
    }
}
