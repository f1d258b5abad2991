//! Pure plan of a commit's manifests: which stay as they are, which are written anew.
//!
//! A manifest that holds a removed file is rewritten (the file as DELETED, the others as EXISTING). When there are many
//! manifests the small ones are merged into one, so that planning a scan keeps its cost.
//! Promise: every live file that is not removed is in exactly one manifest afterwards, every removed file is named once.

use std::collections::HashSet;

/// More manifests than this are merged by the next commit.
pub const MANIFESTS_MAX: usize = 30;
/// Manifests with more live files than this are left out of merges.
pub const MERGED_FILES_MAX: usize = 2_000;

/// What the plan needs to know of a manifest.
#[derive(Debug, Clone)]
pub struct Listed<'a> {
    /// Partition spec; manifests of different specs cannot be merged.
    pub spec_id: i32,
    /// Holds data files (not delete files).
    pub data: bool,
    /// Paths of its live files.
    pub live: Vec<&'a str>,
}

/// The plan, as indexes into the list of manifests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Listed again unchanged.
    pub keep: Vec<usize>,
    /// Each group becomes one new manifest.
    pub rewrite: Vec<Vec<usize>>,
    /// Removed files that were found live.
    pub removed_found: usize,
}

/// Plans the manifests of a commit that removes `remove`; small ones are merged when there are more than `manifests_max`.
#[must_use]
pub fn plan(manifests: &[Listed<'_>], remove: &HashSet<String>, manifests_max: usize) -> Plan {
    let mut plan = Plan::default();
    let mut touched = Vec::new();
    for (index, manifest) in manifests.iter().enumerate() {
        let removed = manifest.live.iter().filter(|path| remove.contains(**path)).count();
        plan.removed_found += removed;
        if removed > 0 {
            touched.push(index);
        } else if !manifest.live.is_empty() {
            plan.keep.push(index);
        }
    }
    if plan.keep.len() + touched.len() <= manifests_max {
        plan.rewrite = touched.into_iter().map(|index| vec![index]).collect();
        return plan;
    }
    let mergeable = |index: &usize| manifests[*index].data && manifests[*index].live.len() <= MERGED_FILES_MAX;
    let (merge, keep): (Vec<usize>, Vec<usize>) = plan.keep.iter().copied().partition(mergeable);
    plan.keep = keep;
    let mut rest: Vec<usize> = merge.into_iter().chain(touched).collect();
    rest.sort_unstable();
    // One group for each spec and kind: a manifest has one of each.
    while let Some(&first) = rest.first() {
        let kind = |index: usize| (manifests[index].spec_id, manifests[index].data);
        let (group, others) = rest.into_iter().partition(|&index| kind(index) == kind(first));
        plan.rewrite.push(group);
        rest = others;
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(live: &[Vec<String>]) -> Vec<Listed<'_>> {
        live.iter()
            .enumerate()
            .map(|(index, live)| Listed {
                spec_id: (index % 2) as i32,
                data: index % 7 != 6,
                live: live.iter().map(String::as_str).collect(),
            })
            .collect()
    }

    #[test]
    fn an_append_keeps_the_manifests_while_they_are_few() {
        let live: Vec<Vec<String>> = (0..5).map(|n| vec![format!("f{n}")]).collect();
        let plan = plan(&listed(&live), &HashSet::new(), MANIFESTS_MAX);
        assert_eq!(plan, Plan { keep: vec![0, 1, 2, 3, 4], rewrite: vec![], removed_found: 0 });
    }

    #[test]
    fn manifests_without_live_files_are_dropped() {
        let live = vec![vec![], vec!["a".to_owned()]];
        assert_eq!(plan(&listed(&live), &HashSet::new(), MANIFESTS_MAX).keep, vec![1]);
    }

    proptest! {
        #[test]
        fn every_live_file_stays_in_exactly_one_manifest(sizes in prop::collection::vec(0_usize..4, 0..90), seed in any::<u64>()) {
            let mut next = 0;
            let live: Vec<Vec<String>> = sizes.iter().map(|size| (0..*size).map(|_| { next += 1; format!("f{next}") }).collect()).collect();
            let remove: HashSet<String> = live.iter().flatten().enumerate().filter(|(n, _)| (seed >> (n % 64)) & 1 == 1).map(|(_, path)| path.clone()).collect();
            let manifests = listed(&live);
            let plan = plan(&manifests, &remove, MANIFESTS_MAX);
            prop_assert_eq!(plan.removed_found, remove.len());
            let mut places: Vec<usize> = plan.keep.iter().copied().chain(plan.rewrite.iter().flatten().copied()).collect();
            places.sort_unstable();
            let expected: Vec<usize> = (0..live.len()).filter(|index| !live[*index].is_empty()).collect();
            prop_assert_eq!(places, expected);
            for index in &plan.keep {
                prop_assert!(manifests[*index].live.iter().all(|path| !remove.contains(*path)));
            }
            for group in &plan.rewrite {
                prop_assert!(group.iter().all(|index| (manifests[*index].spec_id, manifests[*index].data) == (manifests[group[0]].spec_id, manifests[group[0]].data)));
            }
            prop_assert!(plan.keep.len() + plan.rewrite.len() <= MANIFESTS_MAX.max(4));
        }
    }
}
