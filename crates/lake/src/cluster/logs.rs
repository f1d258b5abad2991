//! What Ballista logs, with our logs. It uses the crate `log`, which nobody else listens to.

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Forward;

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ballista")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match record.level() {
            Level::Error => tracing::error!(target: "ballista", "{}", record.args()),
            Level::Warn => tracing::warn!(target: "ballista", "{}", record.args()),
            // A line or more for each task.
            _ => tracing::debug!(target: "ballista", "{}", record.args()),
        }
    }

    fn flush(&self) {}
}

/// Forwards them; once for a process. Not beyond `Info`: Ballista optimises each plan once more to log it.
pub fn forward() {
    if log::set_logger(&Forward).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
