//! What processes have used, from /proc.

use std::collections::{HashMap, HashSet};
use std::fs;

/// Run time of every thread of a process and its descendants, in nanoseconds.
#[derive(Debug)]
pub(crate) struct CpuTime(HashMap<u32, u64>);

impl CpuTime {
    pub(crate) fn of(root: u32) -> Self {
        let threads = tree(root).into_iter().flat_map(|pid| numbers(&format!("/proc/{pid}/task")));
        // The first field is the time on a CPU, exact where `stat` only knows ticks.
        let run_time = |thread: u32| {
            let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).ok()?;
            Some((thread, text.split_whitespace().next()?.parse().ok()?))
        };
        Self(threads.filter_map(run_time).collect())
    }

    /// Nanoseconds since `before`. A thread that ended meanwhile is not counted.
    pub(crate) fn since(&self, before: &Self) -> u64 {
        let used = |(thread, now): (&u32, &u64)| now.saturating_sub(before.0.get(thread).copied().unwrap_or(0));
        self.0.iter().map(used).sum()
    }
}

/// MB that a process and its descendants have resident.
pub(crate) fn resident_mb(root: u32) -> f64 {
    memory_mb(root, "VmRSS:")
}

/// MB that they had at most.
pub(crate) fn peak_mb(root: u32) -> f64 {
    memory_mb(root, "VmHWM:")
}

fn memory_mb(root: u32, field: &str) -> f64 {
    let kilobytes = |pid: u32| -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    tree(root).into_iter().filter_map(kilobytes).sum::<f64>() / 1024.0
}

fn tree(root: u32) -> HashSet<u32> {
    let parents: Vec<(u32, u32)> = numbers("/proc").filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = HashSet::from([root]);
    loop {
        let before = found.len();
        for (pid, parent) in &parents {
            if found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn parent(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in brackets and may hold anything.
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn numbers(directory: &str) -> impl Iterator<Item = u32> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Run time of the thread that asks, in nanoseconds; exact to a tick of the scheduler.
pub(crate) fn own_cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or_default()
}
