//! Pure plan of a copy-on-write: which data files ("leaves", each a range of keys) a set of changed keys rewrites.
//!
//! The files of a keyed table are kept like the leaves of a B-tree: sorted by key, ranges disjoint as far as the keys
//! allow, of about the same number of rows. Keys are compared as byte strings in an order-preserving encoding.
//! Promises: every leaf whose range holds a changed key is in exactly one group; every changed key has exactly one group,
//! and that group holds every leaf the key may be in. A key between two leaves goes to a small neighbour rather than to
//! a file of its own, so that files do not pile up.

/// A data file as the plan sees it. `None` is an unknown bound.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub lower: Option<Vec<u8>>,
    pub upper: Option<Vec<u8>>,
    pub rows: u64,
}

/// Leaves that are rewritten together, with the changed keys that belong to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Indexes into the leaves.
    pub leaves: Vec<usize>,
    /// Indexes into the changed keys, ascending.
    pub keys: Vec<usize>,
}

/// Plans the rewrite for `keys`, which are sorted and distinct.
#[must_use]
pub fn plan(leaves: &[Leaf], keys: &[&[u8]], rows_target: u64) -> Vec<Group> {
    let mut order: Vec<usize> = (0..leaves.len()).collect();
    // An unknown lower bound sorts first, as `None < Some`.
    order.sort_by(|a, b| leaves[*a].lower.cmp(&leaves[*b].lower));
    let mut sets = Sets::new(leaves.len());
    let mut homes = Vec::with_capacity(keys.len());
    let mut active: Vec<usize> = Vec::new();
    let mut started = 0;
    for key in keys {
        while started < order.len() && leaves[order[started]].lower.as_deref().is_none_or(|lower| lower <= *key) {
            active.push(order[started]);
            started += 1;
        }
        // Keys ascend: a leaf that ended is never needed again.
        active.retain(|leaf| leaves[*leaf].upper.as_deref().is_none_or(|upper| upper >= *key));
        homes.push(match active.split_first() {
            Some((first, others)) => {
                others.iter().for_each(|other| sets.join(*first, *other));
                Home::Leaf(*first)
            }
            None => neighbour(leaves, &order, started, rows_target),
        });
    }
    grouped(&homes, &mut sets)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Home {
    Leaf(usize),
    /// A new leaf at this place in the order.
    New(usize),
}

/// Where a key goes that is in no leaf: the smaller of the two beside it if that has room.
fn neighbour(leaves: &[Leaf], order: &[usize], place: usize, rows_target: u64) -> Home {
    let before = place.checked_sub(1).map(|before| order[before]);
    let after = order.get(place).copied();
    let smallest = before.into_iter().chain(after).min_by_key(|leaf| leaves[*leaf].rows);
    match smallest {
        Some(leaf) if leaves[leaf].rows < rows_target => Home::Leaf(leaf),
        _ => Home::New(place),
    }
}

fn grouped(homes: &[Home], sets: &mut Sets) -> Vec<Group> {
    let mut groups: std::collections::BTreeMap<Home, Group> = std::collections::BTreeMap::new();
    let mut touched: std::collections::BTreeSet<usize> = std::collections::BTreeSet::new();
    for (key, home) in homes.iter().enumerate() {
        let home = match home {
            Home::Leaf(leaf) => {
                touched.extend(sets.members(*leaf));
                Home::Leaf(sets.root(*leaf))
            }
            new @ Home::New(_) => *new,
        };
        groups.entry(home).or_default().keys.push(key);
    }
    for leaf in touched {
        groups.entry(Home::Leaf(sets.root(leaf))).or_default().leaves.push(leaf);
    }
    groups.into_values().collect()
}

/// Disjoint sets of leaves.
struct Sets {
    parent: Vec<usize>,
    members: Vec<Vec<usize>>,
}

impl Sets {
    fn new(len: usize) -> Self {
        Self { parent: (0..len).collect(), members: (0..len).map(|leaf| vec![leaf]).collect() }
    }

    fn root(&self, mut leaf: usize) -> usize {
        while self.parent[leaf] != leaf {
            leaf = self.parent[leaf];
        }
        leaf
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parent[b] = a;
            let moved = std::mem::take(&mut self.members[b]);
            self.members[a].extend(moved);
        }
    }

    fn members(&self, leaf: usize) -> Vec<usize> {
        self.members[self.root(leaf)].clone()
    }
}

/// Sizes of the files that `rows` sorted rows are written to: full ones, then a rest that has room to grow.
#[must_use]
pub fn file_sizes(rows: usize, rows_target: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut rest = rows;
    while rest > rows_target + rows_target / 2 {
        sizes.push(rows_target);
        rest -= rows_target;
    }
    if rest > 0 {
        sizes.push(rest);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn leaf(lower: u8, upper: u8, rows: u64) -> Leaf {
        Leaf { lower: Some(vec![lower]), upper: Some(vec![upper]), rows }
    }

    #[test]
    fn only_the_leaves_that_hold_changed_keys_are_rewritten() {
        let leaves = [leaf(0, 9, 100), leaf(10, 19, 100), leaf(20, 29, 100)];
        let groups = plan(&leaves, &[&[12], &[15]], 10);
        assert_eq!(groups, vec![Group { leaves: vec![1], keys: vec![0, 1] }]);
    }

    #[test]
    fn keys_after_the_last_leaf_fill_it_while_it_is_small_and_start_a_new_one_when_it_is_full() {
        let small = plan(&[leaf(0, 9, 5)], &[&[10], &[11]], 10);
        assert_eq!(small, vec![Group { leaves: vec![0], keys: vec![0, 1] }]);
        let full = plan(&[leaf(0, 9, 10)], &[&[10], &[11]], 10);
        assert_eq!(full, vec![Group { leaves: vec![], keys: vec![0, 1] }]);
    }

    #[test]
    fn rows_are_cut_into_full_files_and_a_rest() {
        assert_eq!(file_sizes(0, 10), Vec::<usize>::new());
        assert_eq!(file_sizes(15, 10), vec![15]);
        assert_eq!(file_sizes(38, 10), vec![10, 10, 10, 8]);
    }

    proptest! {
        #[test]
        fn each_key_has_one_group_with_every_leaf_it_may_be_in(
            ranges in prop::collection::vec((any::<Option<u8>>(), any::<Option<u8>>(), 0_u64..20), 0..12),
            keys in prop::collection::btree_set(any::<u8>(), 0..60),
        ) {
            let leaves: Vec<Leaf> = ranges.into_iter().map(|(a, b, rows)| {
                let (lower, upper) = match (a, b) { (Some(a), Some(b)) => (Some(a.min(b)), Some(a.max(b))), other => other };
                Leaf { lower: lower.map(|byte| vec![byte]), upper: upper.map(|byte| vec![byte]), rows }
            }).collect();
            let keys: Vec<Vec<u8>> = keys.into_iter().map(|key| vec![key]).collect();
            let borrowed: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let groups = plan(&leaves, &borrowed, 10);
            let mut seen_keys: Vec<usize> = groups.iter().flat_map(|group| group.keys.clone()).collect();
            seen_keys.sort_unstable();
            prop_assert_eq!(seen_keys, (0..keys.len()).collect::<Vec<_>>());
            let all: Vec<usize> = groups.iter().flat_map(|group| group.leaves.clone()).collect();
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            for group in &groups {
                for key in &group.keys {
                    for (index, leaf) in leaves.iter().enumerate() {
                        let holds = leaf.lower.as_ref().is_none_or(|lower| lower <= &keys[*key])
                            && leaf.upper.as_ref().is_none_or(|upper| upper >= &keys[*key]);
                        prop_assert!(!holds || group.leaves.contains(&index));
                    }
                }
            }
        }
    }
}
