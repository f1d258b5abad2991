//! Waiting for a condition instead of sleeping.

use std::time::{Duration, Instant};

/// What a condition answers: `bool`, or `Option` when it yields something.
pub trait Condition {
    type Value;
    fn met(self) -> Option<Self::Value>;
}

impl Condition for bool {
    type Value = ();
    fn met(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Condition for Option<T> {
    type Value = T;
    fn met(self) -> Self {
        self
    }
}

/// Looks at `condition` until it is met and returns what it yields.
///
/// # Panics
/// When `deadline` passes, saying what was waited for.
pub async fn wait_until<C: Condition>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> C,
) -> C::Value {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await.met() {
            return value;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
