//! Places where a test has the process die, one for each step between two things that must agree after a crash.
//!
//! They exist in the binaries `…-failpoints` only, which are built with the feature `failpoints`; without it [`hit`] is an
//! empty function. Binaries of their own, because cargo unifies features over a build: a feature that tests switched on
//! would be on in everything built with them, and one that debug builds had by default would run in the demo.
//! `HAUS_FAILPOINT=<name>:<n>` kills the process at the n-th time it comes by. Each service names its places in a file of
//! its own, `failpoint.rs`.

/// A place; the text is its name in the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failpoint(pub &'static str);

/// The variable that arms one of them.
pub const VARIABLE: &str = "HAUS_FAILPOINT";

/// Whether this place is armed and it is its turn.
#[cfg(feature = "failpoints")]
fn is_due(point: Failpoint) -> bool {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, turn) = text.split_once(':')?;
        Some((name.to_owned(), turn.parse().ok()?))
    });
    let Some((name, turn)) = armed else { return false };
    name == point.0 && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *turn
}

/// Dies here if this place is armed and it is its turn.
#[cfg(feature = "failpoints")]
pub fn hit(point: Failpoint) {
    if is_due(point) {
        tracing::warn!(failpoint = point.0, "dies here");
        // Neither destructors nor a farewell to any server: as if killed.
        std::process::abort();
    }
}

/// Runs `request`; if this place is armed and it is its turn, dies while the request is under way.
#[cfg(feature = "failpoints")]
pub async fn under_way<T>(point: Failpoint, request: impl Future<Output = T>) -> T {
    /// Long enough for the request to be written, short enough that the answer is seldom there.
    const UNDER_WAY: std::time::Duration = std::time::Duration::from_millis(5);
    if is_due(point) {
        tracing::warn!(failpoint = point.0, "dies here");
        let _ = tokio::time::timeout(UNDER_WAY, request).await;
        std::process::abort();
    }
    request.await
}

/// Does nothing: the feature is off.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_point: Failpoint) {}

/// Runs `request`: the feature is off.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub async fn under_way<T>(_point: Failpoint, request: impl Future<Output = T>) -> T {
    request.await
}
