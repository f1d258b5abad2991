//! When people shop: more on the weekend, in the evening, and a little more every week.

use super::chance::Chance;
use super::rows::Moment;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const HOUR: i64 = 3600 * SECOND;
pub(crate) const DAY: i64 = 24 * HOUR;

/// How many days before "today" the shop opened.
pub const WINDOW_DAYS: i64 = 365;

/// Share of a day's orders against the busiest day, Monday first.
const WEEKDAYS: [f64; 7] = [0.60, 0.55, 0.58, 0.65, 0.85, 1.00, 0.90];

/// Weights of the hours of a day, from midnight.
const HOURS: [(u32, i64); 24] = [
    (4, 0),
    (2, 1),
    (1, 2),
    (1, 3),
    (1, 4),
    (2, 5),
    (5, 6),
    (9, 7),
    (14, 8),
    (18, 9),
    (21, 10),
    (23, 11),
    (25, 12),
    (22, 13),
    (20, 14),
    (20, 15),
    (22, 16),
    (26, 17),
    (31, 18),
    (36, 19),
    (38, 20),
    (32, 21),
    (20, 22),
    (9, 23),
];

/// The window that generated moments lie in: from the shop's first day up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start: Moment,
    pub end: Moment,
}

impl Window {
    /// The 365 days before the start of this day (days since the Unix epoch).
    #[must_use]
    pub fn before_day(day: i64) -> Self {
        Self { start: Moment((day - WINDOW_DAYS) * DAY), end: Moment(day * DAY) }
    }

    /// A moment at about this part (0..1) of the window, at a likely hour of its day.
    pub(crate) fn around(&self, part: f64, chance: &mut Chance) -> Moment {
        let length = (self.end.0 - self.start.0) as f64;
        let day = (self.start.0 + (length * part) as i64).div_euclid(DAY);
        self.clamp(Moment(day * DAY + time_of_day(chance)))
    }

    /// A moment at or after `after` for an order: days of the week as busy as they are.
    pub(crate) fn order_after(&self, after: Moment, chance: &mut Chance) -> Moment {
        let length = self.end.0 - after.0;
        let mut day = after.0.div_euclid(DAY);
        // Few tries are enough: every weekday is taken more often than not.
        for _ in 0..8 {
            day = (after.0 + (length as f64 * chance.fraction()) as i64).div_euclid(DAY);
            if chance.happens(WEEKDAYS[weekday(day)]) {
                break;
            }
        }
        let moment = day * DAY + time_of_day(chance);
        if moment > after.0 {
            return self.clamp(Moment(moment));
        }
        // The customer's first day: the order follows within two hours of signing up.
        self.clamp(Moment(after.0 + chance.between(SECOND, 2 * HOUR)))
    }

    fn clamp(&self, moment: Moment) -> Moment {
        Moment(moment.0.clamp(self.start.0, self.end.0 - 1))
    }
}

fn time_of_day(chance: &mut Chance) -> i64 {
    chance.weighted(&HOURS) * HOUR + chance.between(0, HOUR - 1)
}

/// 0 is Monday. The Unix epoch was a Thursday.
fn weekday(day: i64) -> usize {
    (day + 3).rem_euclid(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturdays_see_more_orders_than_tuesdays() {
        let window = Window::before_day(20_000);
        let mut chance = Chance::stream(1, 1);
        let mut orders = [0; 7];
        for _ in 0..20_000 {
            let moment = window.order_after(window.start, &mut chance);
            assert!(window.start <= moment && moment < window.end);
            orders[weekday(moment.0.div_euclid(DAY))] += 1;
        }
        assert!(orders[5] * 10 > orders[1] * 14, "{orders:?}");
    }

    #[test]
    fn an_order_never_precedes_its_customer() {
        let window = Window::before_day(20_000);
        let mut chance = Chance::stream(1, 2);
        for step in 0..5_000 {
            let customer = Moment(window.end.0 - 1 - step * 7 * HOUR / 3);
            if customer >= window.start {
                assert!(window.order_after(customer, &mut chance) >= customer);
            }
        }
    }

    #[test]
    fn the_epoch_was_a_thursday() {
        assert_eq!(weekday(0), 3);
        assert_eq!(weekday(-4), 6);
    }
}
