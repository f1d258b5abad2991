//! Whether a service is well: each part reports its own state, `/health` shows them together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// State of the parts of one service. Cheap to clone; all clones share the state.
#[derive(Clone)]
pub struct Health {
    service: &'static str,
    parts: Arc<Mutex<BTreeMap<String, Result<(), String>>>>,
}

/// The body of `GET /health`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `ok` or `unhealthy`.
    pub status: &'static str,
    pub service: &'static str,
    /// `ok`, or the reason why the part is not well.
    pub parts: BTreeMap<String, String>,
}

impl Health {
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self { service, parts: Arc::default() }
    }

    /// Records that a part is well, or why it is not. A change is logged once.
    pub fn set(&self, part: &str, state: Result<(), String>) {
        let previous = self.lock().insert(part.to_owned(), state.clone());
        match (&previous, &state) {
            (Some(Err(_)), Ok(())) => tracing::info!(part, "well again"),
            (Some(Err(before)), Err(now)) if before == now => {}
            (_, Err(reason)) => tracing::warn!(part, "{reason}"),
            (_, Ok(())) => {}
        }
    }

    #[must_use]
    pub fn report(&self) -> Report {
        let parts = self.lock();
        let well = parts.values().all(Result::is_ok);
        Report {
            status: if well { "ok" } else { "unhealthy" },
            service: self.service,
            parts: parts
                .iter()
                .map(|(part, state)| (part.clone(), state.as_ref().err().cloned().unwrap_or_else(|| "ok".to_owned())))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Result<(), String>>> {
        // A panic elsewhere cannot leave the map half-written.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_is_not_well_makes_the_service_unhealthy() {
        let health = Health::new("x");
        assert_eq!(health.report().status, "ok");
        health.set("kafka", Err("away".into()));
        health.set("postgres", Ok(()));
        assert_eq!(health.report().status, "unhealthy");
        assert_eq!(health.report().parts["kafka"], "away");
        health.set("kafka", Ok(()));
        assert_eq!(health.report().status, "ok");
    }
}
