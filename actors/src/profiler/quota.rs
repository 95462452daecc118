//! The part of a processor that this process may use, where control groups limit it.
//!
//! Under a quota (`docker run --cpus 0.5`, systemd's `CPUQuota=50%`) a process runs at full speed until it
//! has used its part of a period, and stands still until the next one begins. How long a small share took
//! says nothing of a larger one then: the small one was over before the quota was. Its CPU time does.
//!
//! Worked example: at 0.2 of a core in periods of 10 ms, a stage of 1.5 ms is never held up, and one of
//! 15 ms takes 75. At the rate that the device can keep up they cost 7.5 and 75 ms.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// For how long a limit that was read is believed.
const FRESH: Duration = Duration::from_millis(100);

/// Where systems mount the hierarchy that limits processors: that of version 1 has one of two names.
const VERSION_1: &[&str] = &["cpu", "cpu,cpuacct"];
const VERSION_2: &[&str] = &[""];

/// Reads the limits of this process.
pub(crate) struct Quota {
    /// The directories of its groups and of all groups around them.
    groups: Vec<PathBuf>,
    read: Option<(Instant, Option<f64>)>,
}

impl Quota {
    /// That of this process; without one where there are no control groups.
    pub(crate) fn of_this_process() -> Quota {
        let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Quota { groups: groups(&memberships, Path::new("/sys/fs/cgroup")), read: None }
    }

    /// How many cores' time the process may use; `None` if there is no limit.
    pub(crate) fn cores(&mut self) -> Option<f64> {
        match self.read {
            Some((at, cores)) if at.elapsed() < FRESH => cores,
            _ => {
                let limits = self.groups.iter().filter_map(|group| limit(group));
                let cores = limits.reduce(f64::min);
                self.read = Some((Instant::now(), cores));
                cores
            }
        }
    }
}

/// The directories that may limit the processor, from the text of `/proc/self/cgroup`.
fn groups(memberships: &str, root: &Path) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        // Of version 2 there is one line without controllers.
        let hierarchies = match controllers {
            "" => VERSION_2,
            _ if controllers.split(',').any(|controller| controller == "cpu") => VERSION_1,
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        for hierarchy in hierarchies.iter().map(|hierarchy| root.join(hierarchy)) {
            groups.extend(path.ancestors().map(|group| hierarchy.join(group)));
        }
    }
    groups.retain(|group| group.is_dir());
    groups.sort();
    groups.dedup();
    groups
}

/// The limit of one group, in cores.
fn limit(group: &Path) -> Option<f64> {
    let read = |file| fs::read_to_string(group.join(file)).ok();
    // "max 100000" if there is none; in version 1 a quota of -1.
    let text = read("cpu.max")
        .or_else(|| Some(read("cpu.cfs_quota_us")? + " " + &read("cpu.cfs_period_us")?))?;
    let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().ok());
    let (quota, period) = (numbers.next()??, numbers.next()??);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: PathBuf, text: &str) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn cores(memberships: &str, root: &Path) -> Option<f64> {
        Quota { groups: groups(memberships, root), read: None }.cores()
    }

    #[test]
    fn the_narrowest_limit_of_all_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let memberships = "0::/system.slice/edgeld-worker.service\n";
        assert_eq!(cores(memberships, root), None);
        let slice = root.join("system.slice");
        write(slice.join("edgeld-worker.service/cpu.max"), "max 100000\n");
        assert_eq!(cores(memberships, root), None);
        write(slice.join("cpu.max"), "150000 100000\n");
        assert_eq!(cores(memberships, root), Some(1.5));
        write(slice.join("edgeld-worker.service/cpu.max"), "18000 100000\n");
        assert_eq!(cores(memberships, root), Some(0.18));
    }

    #[test]
    fn version_1_has_its_own_files() {
        let root = tempfile::tempdir().unwrap();
        let memberships = "4:memory:/other\n3:cpuacct,cpu:/a\n0::/\n";
        let group = root.path().join("cpu/a");
        write(group.join("cpu.cfs_quota_us"), "-1\n");
        write(group.join("cpu.cfs_period_us"), "10000\n");
        assert_eq!(cores(memberships, root.path()), None);
        write(group.join("cpu.cfs_quota_us"), "600\n");
        assert_eq!(cores(memberships, root.path()), Some(0.06));
        write(root.path().join("memory/other/cpu.max"), "1 100");
        assert_eq!(cores(memberships, root.path()), Some(0.06));
    }

    #[test]
    fn what_is_no_limit_is_ignored() {
        let root = tempfile::tempdir().unwrap();
        for text in ["", "max", "x 5", "0 100000", "5", "nan 1", "5 0"] {
            write(root.path().join("a/cpu.max"), text);
            assert_eq!(cores("0::/a\nrubbish\n1:cpu\n", root.path()), None, "{text}");
        }
    }
}
