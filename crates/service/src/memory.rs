//! One arena of the allocator per core, set at the start of [`crate::run`].
//!
//! glibc makes up to eight per core, as threads come, and each keeps what was once used in it. With one per core cdc-relay
//! under a backlog of a million rows holds 36 MB in place of 43 and is no slower (bench/RESULTS.md).

/// To be called before there are threads. Another C library than glibc is left as it is; so is one that was told by
/// `GLIBC_TUNABLES` or `MALLOC_ARENA_MAX`.
pub(crate) fn one_arena_per_core() {
    #[cfg(target_env = "gnu")]
    if std::env::var_os("GLIBC_TUNABLES").is_none() && std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        arenas_max(libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX));
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library's allocator can be told nothing else")]
fn arenas_max(count: libc::c_int) {
    // SAFETY: `mallopt` takes two numbers and changes nothing but the limit; there are no other threads yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, count) };
}
