//! This machine: processor, memory, disk, clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeld::home_of_weights;
use edgeld_runtime::kernel::Isa;
use edgeld_runtime::units::Bytes;

use super::finding::Finding;

/// Less memory than this holds the shares of small networks only.
const LITTLE_MEMORY: u64 = 256 << 20;

/// Less space than this is soon full of weights: VGG16 has 528 MiB.
const LITTLE_SPACE: u64 = 1 << 30;

/// A clock before 2024 was never set.
const EARLIEST: Duration = Duration::from_secs(1_704_067_200);

/// Drivers whose governor powersave holds nothing back.
const SELF_GOVERNED: [&str; 2] = ["intel_pstate", "amd-pstate-epp"];

/// Looks at the machine whose files are below `root`.
pub fn findings(root: &Path, memory: Option<Bytes>) -> Vec<Finding> {
    let mut found = vec![instructions(Isa::detect(), std::env::consts::ARCH)];
    found.push(frequency(root));
    found.extend(throttled(root));
    found.extend(swap(root));
    found.push(available(memory.map_or_else(|| free_memory(root), |memory| Some(memory.0))));
    found.push(match home_of_weights() {
        Ok(home) => space(&home, space_below(&home)),
        Err(error) => {
            Finding::error("disk", error, "export EDGELD_HOME=/a/directory/that/can/be/written")
        }
    });
    found.push(clock(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
    found
}

fn instructions(isa: Isa, machine: &str) -> Finding {
    match isa {
        Isa::Plain if ["x86_64", "aarch64"].contains(&machine) => Finding::warning(
            "processor",
            "it has neither AVX2 nor NEON, or a virtual machine hides them: several times as slow",
            "virtual machines: choose the processor type \"host\"",
        ),
        isa => Finding::ok("processor", format!("computes with {isa}")),
    }
}

/// A number in a file below /sys.
fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn frequency(root: &Path) -> Finding {
    let of = root.join("sys/devices/system/cpu/cpu0/cpufreq");
    let text = |name: &str| fs::read_to_string(of.join(name)).unwrap_or_default();
    let limits = number(of.join("scaling_max_freq")).zip(number(of.join("cpuinfo_max_freq")));
    match (limits, text("scaling_governor").trim()) {
        (Some((now, most)), _) if now * 10 < most * 9 => Finding::warning(
            "frequency",
            format!("the processor is held at {} of {} MHz", now / 1000, most / 1000),
            "sudo cpupower frequency-set --max 100GHz",
        ),
        // Some drivers call that so and choose frequencies themselves.
        (_, "powersave") if !SELF_GOVERNED.contains(&text("scaling_driver").trim()) => {
            Finding::warning(
                "frequency",
                "the governor powersave keeps the processor at its lowest frequency",
                "sudo cpupower frequency-set --governor performance",
            )
        }
        _ => Finding::ok("frequency", "the processor may run at its full frequency"),
    }
}

/// What the firmware of a Raspberry Pi says: low voltage, heat.
fn throttled(root: &Path) -> Option<Finding> {
    let file = root.join("sys/devices/platform/soc/soc:firmware/get_throttled");
    let flags = u32::from_str_radix(fs::read_to_string(file).ok()?.trim(), 16).ok()?;
    Some(match flags {
        _ if flags & 0b1 != 0 => Finding::warning(
            "power",
            "the supply's voltage is too low, so the processor runs slower",
            "use the official power supply",
        ),
        _ if flags & 0b1110 != 0 => Finding::warning(
            "power",
            "the processor is too hot and runs slower",
            "give it a heat sink or a fan",
        ),
        _ => Finding::ok("power", "voltage and temperature limit nothing"),
    })
}

/// A line of /proc/meminfo, in bytes.
fn memory_line(root: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

fn free_memory(root: &Path) -> Option<u64> {
    memory_line(root, "MemAvailable")
}

fn available(bytes: Option<u64>) -> Finding {
    match bytes {
        Some(bytes) if bytes < LITTLE_MEMORY => Finding::warning(
            "memory",
            format!("only {} of memory for networks: large ones do not fit", Bytes(bytes)),
            "end other programs, or allow more with --memory",
        ),
        Some(bytes) => Finding::ok("memory", format!("{} may be used", Bytes(bytes))),
        None => Finding::ok("memory", "the system does not say how much is free"),
    }
}

fn swap(root: &Path) -> Option<Finding> {
    let used = memory_line(root, "SwapTotal")?.saturating_sub(memory_line(root, "SwapFree")?);
    let total = memory_line(root, "MemTotal")?;
    (used > total / 4).then(|| {
        Finding::warning(
            "swap",
            format!("{} lie in swap: what is read from there takes long", Bytes(used)),
            "end programs that need much memory, then: sudo swapoff -a && sudo swapon -a",
        )
    })
}

/// Free bytes where a directory is or would be.
fn space_below(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let there = folder.ancestors().find(|folder| folder.exists())?;
        let about = rustix::fs::statvfs(there).ok()?;
        Some(about.f_bavail.saturating_mul(about.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

fn space(home: &Path, free: Option<u64>) -> Finding {
    match free {
        Some(free) if free < LITTLE_SPACE => Finding::warning(
            "disk",
            format!("{} free for weights in {}", Bytes(free), home.display()),
            "make room, or export EDGELD_HOME=/another/directory",
        ),
        Some(free) => {
            Finding::ok("disk", format!("{} free for weights in {}", Bytes(free), home.display()))
        }
        None => Finding::ok("disk", format!("weights are kept in {}", home.display())),
    }
}

fn clock(since_1970: Duration) -> Finding {
    match since_1970 < EARLIEST {
        true => Finding::warning(
            "clock",
            "the clock was never set: logs and metrics have wrong times",
            "sudo timedatectl set-ntp true",
        ),
        false => Finding::ok("clock", "it is set"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn complains(finding: &Finding, words: &str) {
        assert_ne!(finding.severity, Severity::Ok, "{finding:?}");
        assert!(finding.message.contains(words) && finding.remedy.is_some(), "{finding:?}");
    }

    #[test]
    fn slow_processors_are_noticed() {
        complains(&instructions(Isa::Plain, "x86_64"), "AVX2");
        assert_eq!(instructions(Isa::Plain, "riscv64").severity, Severity::Ok);
        let cpu = "sys/devices/system/cpu/cpu0/cpufreq";
        let (max, most) = (format!("{cpu}/scaling_max_freq"), format!("{cpu}/cpuinfo_max_freq"));
        let limited = machine(&[(&max, "600000\n"), (&most, "1500000\n")]);
        complains(&frequency(limited.path()), "600 of 1500 MHz");
        let governor = format!("{cpu}/scaling_governor");
        let saving = machine(&[(&max, "1500000"), (&most, "1500000"), (&governor, "powersave\n")]);
        complains(&frequency(saving.path()), "powersave");
        assert_eq!(frequency(machine(&[]).path()).severity, Severity::Ok);
    }

    #[test]
    fn a_pi_says_what_holds_it_back() {
        let file = "sys/devices/platform/soc/soc:firmware/get_throttled";
        for (flags, words) in [("50005", "voltage"), ("4", "too hot"), ("8", "too hot")] {
            complains(&throttled(machine(&[(file, flags)]).path()).unwrap(), words);
        }
        let fine = throttled(machine(&[(file, "50000\n")]).path()).unwrap();
        assert_eq!(fine.severity, Severity::Ok);
        assert_eq!(throttled(machine(&[]).path()), None);
    }

    #[test]
    fn little_memory_and_space_are_noticed() {
        complains(&available(Some(100 << 20)), "memory");
        complains(&space(Path::new("/x"), Some(5 << 20)), "/x");
        let text = "MemTotal: 1000 kB\nMemAvailable: 500 kB\nSwapTotal: 900 kB\nSwapFree: 100 kB\n";
        let swapping = machine(&[("proc/meminfo", text)]);
        complains(&swap(swapping.path()).unwrap(), "swap");
        assert_eq!(free_memory(swapping.path()), Some(500 << 10));
    }

    #[test]
    fn a_clock_that_was_never_set_is_noticed() {
        complains(&clock(Duration::from_secs(60)), "never set");
        assert_eq!(clock(EARLIEST * 2).severity, Severity::Ok);
    }
}
