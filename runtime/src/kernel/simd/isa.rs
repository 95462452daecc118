//! Instruction sets.

use std::fmt;

use pulp::Arch;
use serde::{Deserialize, Serialize};

/// The instruction set that a device's kernels use. Answers are bit-identical only between devices
/// with the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isa {
    /// No vector instructions assumed.
    Plain,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512.
    Avx512,
    /// 64-bit Arm.
    Neon,
}

impl Isa {
    /// All of them.
    pub const ALL: [Isa; 4] = [Isa::Plain, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The best one that this machine has.
    pub fn detect() -> Isa {
        let best = [Isa::Avx512, Isa::Avx2, Isa::Neon].into_iter().find(|isa| isa.arch().is_some());
        best.unwrap_or(Isa::Plain)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        self.arch().is_some()
    }

    /// The instructions, if this machine has them.
    pub(crate) fn arch(self) -> Option<Arch> {
        match self {
            Isa::Plain => Some(Arch::Scalar),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => pulp::x86::V3::try_new().map(Arch::V3),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => pulp::x86::V4::try_new().map(Arch::V4),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => pulp::aarch64::Neon::try_new().map(Arch::Neon),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Plain => "plain",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        })
    }
}
