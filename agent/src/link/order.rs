//! Which controller to try next: those of the own region first, then the others, shuffled. Pure.

use serde::{Deserialize, Serialize};

/// A controller that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Known {
    /// Where agents reach it.
    pub address: String,
    /// Where it is, if that is known.
    pub region: Option<String>,
}

/// Returns each address once, the own region's first, in an order drawn by `random`.
///
/// `told` is what controllers said of each other and wins over `configured`. The one to `avoid`
/// has just sent us away and comes last.
pub(super) fn candidates(
    told: &[Known],
    configured: &[Known],
    own_region: &str,
    avoid: Option<&str>,
    random: u64,
) -> Vec<String> {
    let mut known: Vec<&Known> = Vec::new();
    for one in told.iter().chain(configured) {
        if known.iter().all(|other| other.address != one.address) {
            known.push(one);
        }
    }
    let mut keyed: Vec<_> = known
        .iter()
        .zip(0_u64..)
        .map(|(one, index)| {
            let avoided = avoid == Some(one.address.as_str());
            let foreign = one.region.as_deref() != Some(own_region);
            (avoided, foreign, mix(random.wrapping_add(index)), &one.address)
        })
        .collect();
    keyed.sort();
    keyed.into_iter().map(|(.., address)| address.clone()).collect()
}

/// Scatters neighbouring numbers (the finaliser of `SplitMix64`).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(address: &str, region: &str) -> Known {
        let region = (!region.is_empty()).then(|| region.to_owned());
        Known { address: address.to_owned(), region }
    }

    #[test]
    fn the_own_region_comes_first_and_each_address_once() {
        let told = [known("g:1", "gcp"), known("a:1", "aws"), known("a:2", "aws")];
        let configured = [known("a:1", ""), known("x:1", "")];
        for random in 0..50 {
            let order = candidates(&told, &configured, "aws", None, random);
            assert_eq!(order.len(), 4);
            assert!(order[..2].iter().all(|address| address.starts_with('a')), "{order:?}");
        }
    }

    #[test]
    fn the_one_that_sent_us_away_comes_last() {
        let told = [known("a:1", "aws"), known("g:1", "gcp"), known("l:1", "aliyun")];
        for random in 0..50 {
            let order = candidates(&told, &[], "aws", Some("a:1"), random);
            assert_eq!(order[2], "a:1");
        }
    }

    #[test]
    fn nodes_spread_over_the_controllers() {
        let told: Vec<_> = (0..5).map(|n| known(&format!("c:{n}"), "gcp")).collect();
        let mut first = std::collections::BTreeMap::new();
        for random in 0..1000_u64 {
            let order = candidates(&told, &[], "aws", None, mix(random));
            *first.entry(order[0].clone()).or_insert(0_u32) += 1;
        }
        assert!(first.len() == 5 && first.values().all(|n| (100..300).contains(n)), "{first:?}");
    }
}
