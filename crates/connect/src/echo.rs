//! Own statuses on their way through the topic: what this worker said last stands until the topic has caught up.
//!
//! A status is folded into the picture when it is published, and comes again from the topic a moment later. Without this
//! account an older status that comes back would hide a newer one for that moment: a task that has just failed would
//! look as if it ran, and a restart of what failed would pass it over.

use std::collections::{BTreeMap, VecDeque};

/// Statuses published by this worker and not yet read back, by record key, oldest first.
#[derive(Debug, Default)]
pub struct Echoes {
    pending: BTreeMap<String, VecDeque<Option<String>>>,
}

impl Echoes {
    /// A status was queued for the topic.
    pub fn published(&mut self, key: &str, value: Option<&str>) {
        self.pending.entry(key.to_owned()).or_default().push_back(value.map(str::to_owned));
    }

    /// A record came from the topic. True when it is to be folded in: nothing of ours for this key comes after it.
    pub fn heard(&mut self, key: &str, value: Option<&str>) -> bool {
        let Some(queue) = self.pending.get_mut(key) else { return true };
        if let Some(place) = queue.iter().position(|pending| pending.as_deref() == value) {
            queue.drain(..=place);
        }
        let caught_up = queue.is_empty();
        if caught_up {
            self.pending.remove(key);
        }
        caught_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_status_of_ours_does_not_come_back() {
        let mut echoes = Echoes::default();
        echoes.published("status-task-a-0", Some("RUNNING"));
        echoes.published("status-task-a-0", Some("FAILED"));
        assert!(!echoes.heard("status-task-a-0", Some("RUNNING")), "FAILED was said after it");
        assert!(echoes.heard("status-task-a-0", Some("FAILED")));
        assert!(echoes.heard("status-task-a-0", Some("RUNNING")), "another worker's, later");
    }

    #[test]
    fn anothers_status_waits_behind_ours_and_other_keys_are_free() {
        let mut echoes = Echoes::default();
        echoes.published("status-task-a-0", None);
        assert!(echoes.heard("status-task-a-1", Some("RUNNING")));
        assert!(!echoes.heard("status-task-a-0", Some("RUNNING")), "ours comes after it in the topic");
        assert!(echoes.heard("status-task-a-0", None));
    }
}
