//! What several measurements of the same thing come to.

use serde_json::{Value, json};

/// The middle of several figures, and the range that they are in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of figures that may come in any order; nothing when there are none.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let count = figures.len();
        Some(Self {
            median: f64::midpoint(
                *figures.get(count.saturating_sub(1) / 2)?,
                *figures.get(count / 2)?,
            ),
            min: *figures.first()?,
            max: *figures.last()?,
        })
    }

    pub(super) fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }

    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let number = |name: &str| value.get(name)?.as_f64();
        Some(Self {
            median: number("median")?,
            min: number("min")?,
            max: number("max")?,
        })
    }
}

/// The figure below which the given share of sorted figures lies.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_of_any_number_of_figures() {
        let median = |figures: &[f64]| Some(Spread::of(figures.iter().copied())?.median);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn spread_survives_json() {
        let spread = Spread::of([3.5, 1.0, 2.0]);
        assert_eq!(Spread::from_json(&spread.unwrap().json()), spread);
    }

    #[test]
    fn percentile_is_one_of_the_figures() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50), Some(50.0));
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
