//! Which offsets of a partition were seen, and how often: the ground of "no gap, no duplicate".

use std::collections::BTreeMap;

/// Position in one partition per partition number.
pub type Positions = BTreeMap<i32, i64>;

/// The offsets of the records seen in each partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetSets(BTreeMap<i32, OffsetSet>);

/// A set of offsets as bits, and those that came twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OffsetSet {
    words: Vec<u64>,
    count: u64,
    twice: Vec<i64>,
}

impl OffsetSets {
    /// Notes a record.
    pub fn add(&mut self, partition: i32, offset: i64) {
        self.0.entry(partition).or_default().add(offset);
    }

    /// Different offsets seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().map(|set| set.count).sum()
    }

    /// Offsets that were seen more than once, as `(partition, offset)`.
    #[must_use]
    pub fn twice(&self) -> Vec<(i32, i64)> {
        self.0.iter().flat_map(|(partition, set)| set.twice.iter().map(|offset| (*partition, *offset))).collect()
    }

    /// The position beyond the last record of each partition.
    #[must_use]
    pub fn next(&self) -> Positions {
        self.0.iter().filter_map(|(partition, set)| Some((*partition, set.last()? + 1))).collect()
    }

    /// Offsets from `from` on that `self` has and `other` has not.
    #[must_use]
    pub fn missing_in(&self, other: &Self, from: &Positions) -> Vec<(i32, i64)> {
        let empty = OffsetSet::default();
        let mut missing = Vec::new();
        for (partition, set) in &self.0 {
            let other = other.0.get(partition).unwrap_or(&empty);
            let from = from.get(partition).copied().unwrap_or_default();
            let absent = set.offsets().filter(|offset| *offset >= from && !other.contains(*offset));
            missing.extend(absent.map(|offset| (*partition, offset)));
        }
        missing
    }
}

impl OffsetSet {
    fn add(&mut self, offset: i64) {
        // Kafka's offsets are not negative; one that were would be reported as missing elsewhere.
        let Ok(place) = usize::try_from(offset) else { return };
        let (word, bit) = (place / 64, 1u64 << (place % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if self.words[word] & bit == 0 {
            self.words[word] |= bit;
            self.count += 1;
        } else {
            self.twice.push(offset);
        }
    }

    fn contains(&self, offset: i64) -> bool {
        let Ok(place) = usize::try_from(offset) else { return false };
        self.words.get(place / 64).is_some_and(|word| word & 1 << (place % 64) != 0)
    }

    fn last(&self) -> Option<i64> {
        let (index, word) = self.words.iter().enumerate().rev().find(|(_, word)| **word != 0)?;
        Some(index as i64 * 64 + 63 - i64::from(word.leading_zeros()))
    }

    fn offsets(&self) -> impl Iterator<Item = i64> {
        let words = self.words.iter().enumerate().filter(|(_, word)| **word != 0);
        words.flat_map(|(index, word)| {
            (0..64).filter(move |bit| word & 1 << bit != 0).map(move |bit| index as i64 * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(offsets: &[(i32, i64)]) -> OffsetSets {
        let mut set = OffsetSets::default();
        for (partition, offset) in offsets {
            set.add(*partition, *offset);
        }
        set
    }

    #[test]
    fn duplicates_and_gaps_are_named() {
        let topic = set(&[(0, 0), (0, 1), (0, 3), (1, 64)]);
        let stage = set(&[(0, 0), (0, 3), (0, 3), (1, 64)]);
        assert_eq!(topic.missing_in(&stage, &Positions::new()), [(0, 1)]);
        assert_eq!(topic.missing_in(&stage, &[(0, 2)].into()), []);
        assert_eq!(stage.missing_in(&topic, &Positions::new()), []);
        assert_eq!(stage.twice(), [(0, 3)]);
        assert_eq!((topic.count(), stage.count()), (4, 3));
        assert_eq!(topic.next(), [(0, 4), (1, 65)].into());
    }

    proptest! {
        #[test]
        fn a_set_is_a_set(left in prop::collection::btree_set((0i32..3, 0i64..500), 0..80), right in prop::collection::btree_set((0i32..3, 0i64..500), 0..80)) {
            let collect = |offsets: &BTreeSet<(i32, i64)>| set(&offsets.iter().copied().collect::<Vec<_>>());
            let missing: Vec<_> = left.difference(&right).copied().collect();
            prop_assert_eq!(collect(&left).missing_in(&collect(&right), &Positions::new()), missing);
            prop_assert_eq!(collect(&left).count(), left.len() as u64);
        }
    }
}
