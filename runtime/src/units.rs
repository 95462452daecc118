//! Quantities with their unit in the type.
//!
//! Code that mixes milliseconds with seconds, or bytes with rows, compiles as long as everything is
//! `f64`; with these types it does not. Types for rows and channels are in [`crate::region`].
//!
//! ```
//! use edgeld_runtime::units::{Bytes, Mbps, Ms};
//! let strip = Bytes(1_250_000);
//! assert_eq!(Mbps(100.0).time_for(strip), Ms(100.0));
//! ```

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use serde::{Deserialize, Serialize};

/// A duration in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ms(pub f64);

impl Ms {
    /// Zero.
    pub const ZERO: Ms = Ms(0.0);

    /// The longer of two durations.
    pub fn max(self, other: Ms) -> Ms {
        Ms(self.0.max(other.0))
    }

    /// The shorter of two durations.
    pub fn min(self, other: Ms) -> Ms {
        Ms(self.0.min(other.0))
    }

    /// From the standard library's duration.
    pub fn from_duration(duration: std::time::Duration) -> Ms {
        Ms(duration.as_secs_f64() * 1e3)
    }
}

impl Add for Ms {
    type Output = Ms;
    fn add(self, other: Ms) -> Ms {
        Ms(self.0 + other.0)
    }
}

impl AddAssign for Ms {
    fn add_assign(&mut self, other: Ms) {
        self.0 += other.0;
    }
}

impl Sub for Ms {
    type Output = Ms;
    fn sub(self, other: Ms) -> Ms {
        Ms(self.0 - other.0)
    }
}

impl Mul<f64> for Ms {
    type Output = Ms;
    fn mul(self, factor: f64) -> Ms {
        Ms(self.0 * factor)
    }
}

impl Div for Ms {
    type Output = f64;
    fn div(self, other: Ms) -> f64 {
        self.0 / other.0
    }
}

impl Sum for Ms {
    fn sum<I: Iterator<Item = Ms>>(iter: I) -> Ms {
        iter.fold(Ms::ZERO, Add::add)
    }
}

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms >= 10_000.0 => write!(f, "{:.1} s", ms / 1e3),
            ms if ms >= 100.0 => write!(f, "{ms:.0} ms"),
            ms => write!(f, "{ms:.1} ms"),
        }
    }
}

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Zero.
    pub const ZERO: Bytes = Bytes(0);

    /// As a floating-point number, for rates.
    pub fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// `self - other`, or zero if `other` is larger.
    pub fn saturating_sub(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0 + other.0)
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        self.0 += other.0;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(iter: I) -> Bytes {
        iter.fold(Bytes::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b if b >= 1_000_000_000 => write!(f, "{:.2} GB", b as f64 / 1e9),
            b if b >= 1_000_000 => write!(f, "{:.1} MB", b as f64 / 1e6),
            b if b >= 1_000 => write!(f, "{:.1} kB", b as f64 / 1e3),
            b => write!(f, "{b} B"),
        }
    }
}

/// A data rate in Mbit/s (10^6 bits a second).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mbps(pub f64);

impl Mbps {
    /// How long `bytes` take at this rate.
    pub fn time_for(self, bytes: Bytes) -> Ms {
        Ms(bytes.as_f64() * 8.0 / (self.0 * 1e3))
    }

    /// What passes at this rate in `time`.
    pub fn within(self, time: Ms) -> Bytes {
        Bytes((self.0 * time.0 * 1e3 / 8.0) as u64)
    }

    /// The rate at which `bytes` took `time`.
    pub fn of(bytes: Bytes, time: Ms) -> Mbps {
        Mbps(bytes.as_f64() * 8.0 / (time.0 * 1e3))
    }
}

/// Floating-point operations; a multiply-add is two.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flops(pub f64);

impl Flops {
    /// In units of 10^9.
    pub fn giga(self) -> f64 {
        self.0 / 1e9
    }
}

impl Add for Flops {
    type Output = Flops;
    fn add(self, other: Flops) -> Flops {
        Flops(self.0 + other.0)
    }
}

impl AddAssign for Flops {
    fn add_assign(&mut self, other: Flops) {
        self.0 += other.0;
    }
}

impl Sum for Flops {
    fn sum<I: Iterator<Item = Flops>>(iter: I) -> Flops {
        iter.fold(Flops::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_picks_a_readable_unit() {
        assert_eq!(Ms(12_345.0).to_string(), "12.3 s");
        assert_eq!(Ms(123.4).to_string(), "123 ms");
        assert_eq!(Bytes(1_500).to_string(), "1.5 kB");
        assert_eq!(Bytes(553_000_000).to_string(), "553.0 MB");
    }

    #[test]
    fn rate_and_time_are_inverse() {
        assert_eq!(Mbps(100.0).within(Ms(80.0)), Bytes(1_000_000));
        let rate = Mbps::of(Bytes(1_000_000), Ms(80.0));
        assert_eq!(rate, Mbps(100.0));
        assert_eq!(rate.time_for(Bytes(1_000_000)), Ms(80.0));
    }
}
