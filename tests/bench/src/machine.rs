//! The machine that is measured on.

use std::fs;

/// Where things run: subjects have a CPU to themselves when there are two.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The mock provider, the load maker and the stand-in for Lambda.
    pub(crate) tools: Option<String>,
    /// Gateways and floors.
    pub(crate) subjects: Option<String>,
}

impl Places {
    pub(crate) fn find() -> Self {
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        match cpus(allowed.unwrap_or_default().trim())[..] {
            [first, second, ..] => Self { tools: Some(first.to_string()), subjects: Some(second.to_string()) },
            _ => Self { tools: None, subjects: None },
        }
    }

    pub(crate) fn pinned(&self) -> bool {
        self.subjects.is_some()
    }
}

/// Number and name of the CPUs.
pub(crate) fn describe() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let number = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{number} × {}", name.map_or("CPU", |(_, name)| name))
}

/// `0-2,5` as numbers.
fn cpus(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(super::cpus("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(super::cpus("3"), [3]);
        assert!(super::cpus("").is_empty());
    }
}
