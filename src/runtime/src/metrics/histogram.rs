//! How often something took how long.

/// Counts of values, by bounds that are fixed when it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// Values up to each bound but above the one before; those above all bounds are the last.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one with these bounds, smallest first.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Takes one value in.
    pub fn observe(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }

    /// The sum of all values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound, as it is written, and how many values were not above it.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (String, u64)> {
        let bounds = self.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.zip(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_up_to_each_bound_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&[0.5, 15.0]);
        for value in [0.5, 0.6, 15.0, 15.1] {
            histogram.observe(value);
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [("0.5".to_owned(), 1), ("15".to_owned(), 3), ("+Inf".to_owned(), 4)]);
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum() - 31.2).abs() < 1e-9);
    }
}
