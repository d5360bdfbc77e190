//! Medians and ratios.

use serde::Serialize;

/// Returns the median; of nothing there is none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the figure below which a share of all figures lies.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position")]
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 figures")]
    let position = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}

/// Our figures and the peer's, of the same rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Versus {
    /// Ours, the median.
    pub ours: f64,
    /// The peer's, the median.
    pub etcd: f64,
    /// Ours over the peer's, of the medians.
    pub ratio: f64,
    /// Least and greatest ratio of one round.
    pub spread: [f64; 2],
}

impl Versus {
    /// Compares the figures of rounds, ours and the peer's in the same order.
    pub fn of(ours: &[f64], etcd: &[f64]) -> Self {
        let ratios = ours.iter().zip(etcd).map(|(ours, etcd)| ours / etcd);
        let (least, most) = ratios.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), r| {
            (r.min(least), r.max(most))
        });
        let (ours, etcd) = (median(ours), median(etcd));
        Self { ours, etcd, ratio: ours / etcd, spread: [least, most] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_medians_and_its_spread_of_rounds() {
        let versus = Versus::of(&[10.0, 30.0, 20.0], &[10.0, 10.0, 5.0]);
        assert!((versus.ratio - 2.0).abs() < 1e-9, "{versus:?}");
        assert!((versus.spread[0] - 1.0).abs() < 1e-9 && (versus.spread[1] - 4.0).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_figures_that_were_measured() {
        let figures = [1.0, 2.0, 3.0, 4.0];
        assert!((quantile(&figures, 0.0) - 1.0).abs() < 1e-9);
        assert!((quantile(&figures, 0.99) - 4.0).abs() < 1e-9);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
