//! Sets and maps by digests: 128 bits that a hash function has made of a row already, and that need no second one.
//!
//! Audits and comparisons keep one per row of tables that may have many millions.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

/// Digests.
pub type Digests = HashSet<u128, BuildHasherDefault<AsIs>>;
/// Something by digest.
pub type ByDigest<T> = HashMap<u128, T, BuildHasherDefault<AsIs>>;

/// Takes a digest's lower half for its hash.
#[derive(Debug, Default, Clone, Copy)]
pub struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        // Not what digests do, which are written as numbers; right all the same.
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_that_share_a_half_are_kept_apart() {
        let all = [1, 2, 1 << 64, (1 << 64) + 1, u128::MAX];
        let set: Digests = all.into_iter().chain(all).collect();
        assert_eq!(set.len(), all.len());
        assert!(all.iter().all(|digest| set.contains(digest)) && !set.contains(&3));
    }
}
