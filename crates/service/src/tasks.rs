//! Long-running tasks with names: the first that ends starts the shutdown, so a dead task cannot go unnoticed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::anyhow;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::SHUTDOWN_DEADLINE;

/// The tasks of one service. Clones share the set.
#[derive(Clone)]
pub struct Tasks {
    stop: CancellationToken,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<tokio::sync::Notify>,
}

#[derive(Default)]
struct Inner {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

impl Tasks {
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, inner: Arc::default(), changed: Arc::default() }
    }

    /// Starts a task. When it ends, for whatever reason, the service stops.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let mut inner = self.lock();
        let id = inner.set.spawn(task).id();
        inner.names.insert(id, name.into());
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits until the service stops: by a signal or because a task ended. Returns the first error.
    ///
    /// # Errors
    /// The error of the first task that failed, with the task's name.
    pub async fn join(&self) -> anyhow::Result<()> {
        let mut first_error = None;
        tokio::select! {
            () = self.stop.cancelled() => {}
            (name, result) = self.next_ended() => {
                if !self.stop.is_cancelled() {
                    tracing::info!(task = name, "task ended, the service stops");
                }
                first_error = result.err().map(|error| error.context(name));
            }
        }
        self.stop.cancel();
        let deadline = tokio::time::sleep(SHUTDOWN_DEADLINE);
        tokio::pin!(deadline);
        while !self.lock().set.is_empty() {
            tokio::select! {
                (name, result) = self.next_ended() => {
                    if let Err(error) = result {
                        first_error.get_or_insert(error.context(name));
                    }
                }
                () = &mut deadline => {
                    let mut inner = self.lock();
                    let names: Vec<_> = inner.names.values().cloned().collect();
                    tracing::warn!("still running after {SHUTDOWN_DEADLINE:?}, aborted: {}", names.join(", "));
                    inner.set.abort_all();
                    break;
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// The next task that ends. Waits for a task to be spawned when there is none.
    async fn next_ended(&self) -> (String, anyhow::Result<()>) {
        loop {
            let changed = self.changed.notified();
            let ended = std::future::poll_fn(|cx| {
                let mut inner = self.lock();
                match inner.set.poll_join_next_with_id(cx) {
                    std::task::Poll::Ready(Some(ended)) => std::task::Poll::Ready(Some(ended)),
                    // An empty set wakes nobody: wait for `changed` instead.
                    std::task::Poll::Ready(None) => std::task::Poll::Ready(None),
                    std::task::Poll::Pending => std::task::Poll::Pending,
                }
            });
            let ended = tokio::select! {
                ended = ended => ended,
                // A task was added: poll again, so that its end wakes us too.
                () = changed => continue,
            };
            let Some(ended) = ended else {
                self.changed.notified().await;
                continue;
            };
            let (id, result) = match ended {
                Ok((id, result)) => (id, result),
                Err(error) => (error.id(), Err(anyhow!("task panicked or was aborted: {error}"))),
            };
            let name = self.lock().names.remove(&id).unwrap_or_else(|| "task".to_owned());
            return (name, result);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn the_first_task_that_fails_stops_the_others_and_is_named() {
        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let waits = stop.clone();
        tasks.spawn("waits", async move {
            waits.cancelled().await;
            Ok(())
        });
        tasks.spawn("fails", async { Err(anyhow!("disk full")) });
        let error = format!("{:#}", tasks.join().await.unwrap_err());
        assert_eq!(error, "fails: disk full");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_task() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("panics", async { panic!("boom") });
        let error = format!("{:#}", tasks.join().await.unwrap_err());
        assert!(error.starts_with("panics: "), "{error}");
    }

    #[tokio::test]
    async fn a_stop_ends_well() {
        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let waits = stop.clone();
        tasks.spawn("waits", async move {
            waits.cancelled().await;
            Ok(())
        });
        stop.cancel();
        tasks.join().await.unwrap();
    }
}
