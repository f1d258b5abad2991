//! A place where tests make the process die, to prove that nothing is lost or doubled there.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Dies without any clean-up the n-th time this place is passed, when `HAUS_CRASH_AT` is `<place>:<n>`.
pub fn point(place: &str) {
    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("HAUS_CRASH_AT").ok()?;
        let (place, count) = text.split_once(':')?;
        Some((place.to_owned(), count.parse().ok()?))
    });
    if let Some((wanted, count)) = wanted
        && wanted == place
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        tracing::error!("dying at {place} as HAUS_CRASH_AT asks");
        std::process::abort();
    }
}
