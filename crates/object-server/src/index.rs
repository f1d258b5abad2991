//! The keys of a bucket in byte order, in memory: what listings are answered from.
//!
//! Rebuilt from the objects' files at start and changed only after a change is durable on disk. `list` costs the
//! logarithm of the bucket's size plus the length of the page, whatever is asked: a common prefix is stepped over by
//! seeking behind it, not by reading through it.

use std::{collections::BTreeMap, ops::Bound};

use crate::record::{EntityTag, Metadata};

/// What a listing says about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub size: u64,
    pub etag: EntityTag,
    /// Milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

impl From<&Metadata> for Entry {
    fn from(metadata: &Metadata) -> Self {
        Self { size: metadata.size, etag: metadata.etag, modified_ms: metadata.modified_ms }
    }
}

/// Keys and their entries. `str` orders by bytes, which is S3's order.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<Box<str>, Entry>,
}

/// Where a listing starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    Start,
    /// Behind this key.
    Key(String),
    /// Behind every key that starts so.
    Prefix(String),
}

/// One page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub objects: Vec<(String, Entry)>,
    pub prefixes: Vec<String>,
    /// Where the next page starts; none when this was the last.
    pub next: Option<After>,
}

impl Index {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn insert(&mut self, key: &str, entry: Entry) {
        self.entries.insert(key.into(), entry);
    }

    pub fn remove(&mut self, key: &str) {
        self.entries.remove(key);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// At most `max` keys and common prefixes that start with `prefix`, in byte order.
    ///
    /// With a `delimiter`, keys that have it behind the prefix are shown as one common prefix up to and with it.
    pub fn list(&self, prefix: &str, delimiter: Option<&str>, after: &After, max: usize) -> Page {
        let mut page = Page::default();
        let mut position = after.clone();
        let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
        while let Some((key, entry)) = self.first_after(prefix, &position) {
            if page.objects.len() + page.prefixes.len() == max {
                page.next = Some(position).filter(|_| max > 0);
                break;
            }
            let behind = &key[prefix.len()..];
            position = match delimiter.and_then(|delimiter| behind.find(delimiter).map(|at| at + delimiter.len())) {
                Some(end) => {
                    let common = key[..prefix.len() + end].to_owned();
                    page.prefixes.push(common.clone());
                    After::Prefix(common)
                }
                None => {
                    page.objects.push((key.to_owned(), *entry));
                    After::Key(key.to_owned())
                }
            };
        }
        page
    }

    /// The first key behind `position` that starts with `prefix`.
    fn first_after(&self, prefix: &str, position: &After) -> Option<(&str, &Entry)> {
        let found = match position {
            // Only keys below the prefix lie behind such a position; the next one that fits starts the prefix.
            After::Key(key) if key.as_str() >= prefix => {
                self.entries.range::<str, _>((Bound::Excluded(key.as_str()), Bound::Unbounded)).next()
            }
            After::Prefix(passed) if passed.as_str() >= prefix => match successor(passed) {
                Some(from) => self.entries.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded)).next(),
                None => None,
            },
            _ => self.entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next(),
        };
        found.map(|(key, entry)| (&**key, entry)).filter(|(key, _)| key.starts_with(prefix))
    }
}

/// The smallest string behind every string that starts with `prefix`; none when there is no such string.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The next character in code point order, which is UTF-8's byte order; surrogates are no characters.
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const ENTRY: Entry = Entry { size: 1, etag: EntityTag { md5: [0; 16], parts: 0 }, modified_ms: 0 };

    /// The answer by definition: every key looked at, nothing skipped.
    fn model(keys: &BTreeSet<String>, prefix: &str, delimiter: Option<&str>, start_after: &str) -> Vec<String> {
        let mut shown = Vec::new();
        for key in keys.iter().filter(|key| key.starts_with(prefix) && key.as_str() > start_after) {
            let item = match delimiter.and_then(|d| key[prefix.len()..].find(d).map(|at| prefix.len() + at + d.len())) {
                Some(end) => format!("{}|", &key[..end]),
                None => key.clone(),
            };
            if shown.last() != Some(&item) {
                shown.push(item);
            }
        }
        shown
    }

    proptest! {
        #[test]
        fn paging_shows_what_the_model_shows(
            keys in prop::collection::btree_set("[ab/\u{10FFFF}é]{1,6}", 0..60),
            prefix in "[ab/]{0,3}",
            delimiter in prop::option::of(prop::sample::select(vec!["/", "a", "b/"])),
            start_after in "[ab/é]{0,4}",
            max in 1usize..7,
        ) {
            let mut index = Index::default();
            for key in &keys { index.insert(key, ENTRY); }
            let mut after = if start_after.is_empty() { After::Start } else { After::Key(start_after.clone()) };
            let mut shown = Vec::new();
            for _ in 0..200 {
                let page = index.list(&prefix, delimiter, &after, max);
                let mut items: Vec<String> = page.objects.into_iter().map(|(key, _)| key).collect();
                items.extend(page.prefixes.into_iter().map(|prefix| format!("{prefix}|")));
                prop_assert!(items.len() <= max);
                items.sort();
                shown.extend(items);
                let Some(next) = page.next else { break };
                after = next;
            }
            let mut expected = model(&keys, &prefix, delimiter, &start_after);
            // Within the whole answer objects and prefixes are each in order; compare as sets with counts.
            expected.sort();
            shown.sort();
            prop_assert_eq!(shown, expected);
        }
    }

    #[test]
    fn a_page_of_nothing_ends_the_listing() {
        let mut index = Index::default();
        index.insert("a", ENTRY);
        assert_eq!(index.list("", None, &After::Start, 0), Page::default());
    }

    #[test]
    fn the_string_behind_a_prefix_skips_what_cannot_be_a_character() {
        assert_eq!(successor("a/").as_deref(), Some("a0"));
        assert_eq!(successor("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(successor("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(successor("\u{10FFFF}"), None);
    }
}
