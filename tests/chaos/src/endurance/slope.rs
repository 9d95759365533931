//! The slope of a series.

/// The least-squares slope of points (seconds, value), per minute; `None` if all points have the same time.
pub(super) fn per_minute(points: &[(f64, f64)]) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = points.len() as f64;
    let middle = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (time, value) = (middle(|point| point.0), middle(|point| point.1));
    let mut products = 0.0;
    let mut squares = 0.0;
    for point in points {
        products += (point.0 - time) * (point.1 - value);
        squares += (point.0 - time).powi(2);
    }
    (squares > 0.0).then(|| products / squares * 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(slope: Option<f64>, expected: f64) -> bool {
        slope.is_some_and(|slope| (slope - expected).abs() < 1e-9)
    }

    #[test]
    fn slope_of_a_line_does_not_depend_on_its_offset() {
        let points: Vec<(f64, f64)> = (0..50)
            .map(|n| 1000.0 + f64::from(n) * 10.0)
            .map(|seconds| (seconds, 7e8 + seconds * 2.0))
            .collect();
        let slope = per_minute(&points).unwrap();
        assert!((slope - 120.0).abs() < 1e-3, "{slope}");
    }

    #[test]
    fn oscillation_has_no_slope() {
        let points = [(0.0, 5.0), (60.0, 9.0), (120.0, 9.0), (180.0, 5.0)];
        assert!(is(per_minute(&points), 0.0));
    }

    #[test]
    fn outlier_is_weighted_by_its_distance() {
        // By hand: deviations of time -1, 0, 1 minutes, of value -1, -1, 2.
        assert!(is(per_minute(&[(0.0, 0.0), (60.0, 0.0), (120.0, 3.0)]), 1.5));
    }

    #[test]
    fn one_time_has_no_slope() {
        assert_eq!(per_minute(&[]), None);
        assert_eq!(per_minute(&[(1.0, 1.0)]), None);
        assert_eq!(per_minute(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }
}
