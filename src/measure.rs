//! Counts and times that parts of the daemon keep of themselves, to be read while it runs.
//!
//! Writing one is an atomic addition and takes no lock. What is kept by one thread alone
//! is written without even that ([`Count::bump`]). Nothing here knows what is measured,
//! what it is called outside, or what time it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something that is counted.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts so many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Counts one more, where no other thread writes this count: a processor then shares
    /// nothing with others for it. Answers with the new count.
    #[inline]
    pub fn bump(&self) -> u64 {
        self.bump_by(1)
    }

    /// Counts so many more, where no other thread writes this count.
    #[inline]
    pub fn bump_by(&self, more: u64) -> u64 {
        let next = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(next, Ordering::Relaxed);
        next
    }

    /// Keeps this value instead.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper limits of a histogram's buckets, and by how much a value is divided for
/// whoever reads them.
#[derive(Debug)]
pub struct Scale {
    limits: &'static [u64],
    unit: f64,
}

/// Nanoseconds, read as seconds: from 25 µs to 10 s.
pub static TIMES: Scale = Scale {
    limits: &[
        25_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        10_000_000_000,
    ],
    unit: 1e9,
};

/// Numbers of things: powers of two up to 512.
pub static SIZES: Scale = Scale {
    limits: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
    unit: 1.0,
};

/// How values are spread.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    /// One for each limit, and one for what is above all of them.
    buckets: Box<[Count]>,
    sum: Count,
}

impl Histogram {
    /// An empty one.
    pub fn of(scale: &'static Scale) -> Self {
        let buckets = (0..=scale.limits.len()).map(|_| Count::default());
        Self {
            scale,
            buckets: buckets.collect(),
            sum: Count::default(),
        }
    }

    /// Takes a value in.
    pub fn observe(&self, value: u64) {
        self.observe_as(value, 1);
    }

    /// Takes a value in that stands for so many.
    pub fn observe_as(&self, value: u64, times: u64) {
        let place = self.scale.limits.partition_point(|limit| *limit < value);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.add(times);
        }
        self.sum.add(value.saturating_mul(times));
    }

    /// What was taken in so far.
    pub fn read(&self) -> Spread {
        let limits = self.scale.limits.iter().map(|limit| to_float(*limit));
        let limits = limits.map(|limit| limit / self.scale.unit);
        let buckets = self.buckets.iter().map(Count::get);
        Spread {
            sum: to_float(self.sum.get()) / self.scale.unit,
            buckets: limits.chain([f64::MAX]).zip(buckets).collect(),
        }
    }
}

/// What a histogram held at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// The sum of all values.
    pub sum: f64,
    /// Each bucket's upper limit with how many values lie in it and not in the one before.
    pub buckets: Vec<(f64, u64)>,
}

impl Spread {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Adds what another of the same scale holds.
    pub fn merge(&mut self, other: Self) {
        if self.buckets.is_empty() {
            *self = other;
            return;
        }
        self.sum += other.sum;
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            mine.1 += theirs.1;
        }
    }
}

/// The nearest number with a fraction.
#[expect(
    clippy::cast_precision_loss,
    reason = "nobody reads more than 15 digits of a measurement"
)]
pub fn to_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_the_first_bucket_that_is_not_below_it() {
        let histogram = Histogram::of(&SIZES);
        for value in [0, 1, 2, 3, 512, 513] {
            histogram.observe(value);
        }
        histogram.observe_as(64, 10);
        let spread = histogram.read();
        let filled: Vec<(f64, u64)> = spread
            .buckets
            .iter()
            .copied()
            .filter(|(_, count)| *count > 0)
            .collect();
        let expected = [
            (1.0, 2),
            (2.0, 1),
            (4.0, 1),
            (64.0, 10),
            (512.0, 1),
            (f64::MAX, 1),
        ];
        assert_eq!(filled, expected);
        assert_eq!(spread.count(), 16);
        assert!((spread.sum - (1031.0 + 640.0)).abs() < 1e-9, "{spread:?}");
    }

    #[test]
    fn spreads_add_up() {
        let (one, other) = (Histogram::of(&TIMES), Histogram::of(&TIMES));
        one.observe(1_000_000);
        other.observe(1_000_000);
        other.observe(u64::MAX / 2);
        let mut both = Spread::default();
        both.merge(one.read());
        both.merge(other.read());
        assert_eq!(both.count(), 3);
        assert!(both.buckets.contains(&(0.001, 2)), "{both:?}");
    }
}
