//! When a file ends: by records, bytes or time.
//!
//! Pure. Names and meaning as in Confluent's sink with its wall-clock timestamp extractor.

use crate::zone::Zone;

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = i64;

/// The rules of one connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// `flush.size`: most records in a file.
    pub records_max: u64,
    /// `file.bytes.max`: a file ends at this many record bytes.
    pub file_bytes_max: usize,
    /// `rotate.interval.ms`: longest time a file stays open.
    pub interval_ms: Option<Millis>,
    /// `rotate.schedule.interval.ms`: files end at multiples of this since midnight in `timezone`.
    pub schedule_ms: Option<Millis>,
    /// `timezone`.
    pub zone: Zone,
}

const DAY_MS: Millis = 86_400_000;

impl Rotation {
    /// When a file opened now has to end by time, if ever.
    pub fn deadline(&self, opened: Millis) -> Option<Millis> {
        let by_interval = self.interval_ms.map(|interval| opened.saturating_add(interval));
        let by_schedule = self.schedule_ms.map(|interval| self.next_scheduled(opened, interval));
        by_interval.into_iter().chain(by_schedule).min()
    }

    /// The first multiple of `interval` since the zone's midnight after `now`.
    fn next_scheduled(&self, now: Millis, interval: Millis) -> Millis {
        let offset = self.zone.offset_ms(now);
        let local = now + offset;
        let midnight = local - local.rem_euclid(DAY_MS);
        let passed = (local - midnight) / interval;
        midnight + (passed + 1) * interval - offset
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rotation(interval_ms: Option<Millis>, schedule_ms: Option<Millis>, zone_ms: Millis) -> Rotation {
        Rotation { records_max: 1000, file_bytes_max: 1 << 20, interval_ms, schedule_ms, zone: Zone::Fixed(zone_ms) }
    }

    #[test]
    fn scheduled_rotation_is_aligned_to_the_wall_clock() {
        let minute = rotation(None, Some(60_000), 0);
        assert_eq!(minute.deadline(1_795_353_652_647), Some(1_795_353_660_000));
        assert_eq!(minute.deadline(1_795_353_660_000), Some(1_795_353_720_000));
    }

    #[test]
    fn a_daily_schedule_follows_the_zone() {
        let hour = 3_600_000;
        let daily = rotation(None, Some(DAY_MS), 2 * hour);
        assert_eq!(daily.deadline(0), Some(22 * hour));
    }

    #[test]
    fn the_earlier_of_interval_and_schedule_counts() {
        assert_eq!(rotation(Some(100), Some(60_000), 0).deadline(1000), Some(1100));
        assert_eq!(rotation(None, None, 0).deadline(1000), None);
    }

    proptest! {
        #[test]
        fn a_deadline_is_always_ahead_and_at_most_one_interval(now in 0..4_000_000_000_000_i64, interval in 1..200_000_000_i64, zone in -50_000_000..50_000_000_i64) {
            let ahead = rotation(None, Some(interval), zone).deadline(now).unwrap_or(0) - now;
            prop_assert!(ahead > 0 && ahead <= interval);
        }
    }
}
