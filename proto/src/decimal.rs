//! Decimal numbers as people write them: thresholds of rules, kept as text so that equal means equal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest text of a number: far more digits than any measurement has.
const LEN_MAX: usize = 32;

/// A finite decimal number, exactly as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal(String);

/// Tells that a string is not a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number: write it like 100, 79.5 or -3")]
pub struct DecimalError(String);

impl Decimal {
    /// Returns the number to compare measurements with.
    pub fn value(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let plain = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
        let read = text.parse::<f64>().ok().filter(|number| number.is_finite());
        if text.len() <= LEN_MAX && text.bytes().all(plain) && read.is_some() {
            Ok(Self(text.to_owned()))
        } else {
            Err(DecimalError(text.chars().take(LEN_MAX).collect()))
        }
    }
}

impl TryFrom<String> for Decimal {
    type Error = DecimalError;
    fn try_from(text: String) -> Result<Self, DecimalError> {
        text.parse()
    }
}

impl From<Decimal> for String {
    fn from(number: Decimal) -> Self {
        number.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl schemars::JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "a number, such as 100 or 79.5" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_as_they_are_written_and_nothing_else_is_one() {
        for (text, value) in [("100", 100.0), ("79.90", 79.9), ("-3", -3.0), ("1e6", 1e6)] {
            let number: Decimal = text.parse().unwrap();
            assert_eq!(
                (number.to_string().as_str(), number.value().to_bits()),
                (text, f64::to_bits(value))
            );
        }
        for bad in ["", "x", "NaN", "inf", "1,5", "0x10", "1e999", &"9".repeat(40)] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad:?} passed");
        }
    }
}
