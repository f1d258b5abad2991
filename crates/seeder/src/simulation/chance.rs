//! Random draws. One seed gives independent streams, so that each customer and product is drawn alike whatever the
//! batch it lands in.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of random numbers that depends on nothing but the seed and the stream's number.
#[derive(Debug, Clone)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream `number` of `seed`.
    #[must_use]
    pub fn stream(seed: u64, number: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(number);
        Self(generator)
    }

    /// Raw bits.
    pub fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// From 0 up to, not including, 1.
    pub fn fraction(&mut self) -> f64 {
        self.0.random()
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high.max(low))
    }

    /// True with this probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// One of these, each as likely.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.random_range(0..choices.len())]
    }

    /// One of these, as likely as its weight says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u32, T)]) -> T {
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut draw = self.0.random_range(0..total);
        for (weight, choice) in choices {
            if draw < *weight {
                return *choice;
            }
            draw -= weight;
        }
        // The draw lies below the sum of all weights, so the loop has returned.
        choices[0].1
    }

    /// An index below `count`, low ones far more often: the few products everybody buys.
    pub fn popular_index(&mut self, count: usize) -> usize {
        let draw = self.fraction();
        ((draw * draw * count as f64) as usize).min(count.saturating_sub(1))
    }
}
