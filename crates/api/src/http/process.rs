//! What the kernel says about this process, from `/proc`.

use std::io;

/// One look at the process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) fds: u64,
    pub(crate) fds_max: u64,
    /// `u64::MAX` if there is no limit.
    pub(crate) virtual_bytes_max: u64,
    pub(crate) network_received_bytes: u64,
    pub(crate) network_sent_bytes: u64,
}

pub(crate) fn read() -> io::Result<Process> {
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let page_bytes = rustix::param::page_size() as u64;
    let mut process = parse_stat(&std::fs::read_to_string("/proc/self/stat")?, ticks_per_second, page_bytes);
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    process.fds_max = limit(&limits, "Max open files");
    process.virtual_bytes_max = limit(&limits, "Max address space");
    // The directory that is being read is open itself.
    process.fds = (std::fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1);
    let network = std::fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    (process.network_received_bytes, process.network_sent_bytes) = octets(&network);
    Ok(process)
}

/// The command may hold anything, so that fields are counted from the parenthesis behind it.
fn parse_stat(stat: &str, ticks_per_second: u64, page_bytes: u64) -> Process {
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |number: usize| fields.get(number).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Process {
        cpu_seconds: (field(11) + field(12)) as f64 / ticks_per_second.max(1) as f64,
        virtual_bytes: field(20),
        resident_bytes: field(21) * page_bytes,
        ..Process::default()
    }
}

/// The soft limit of this name.
fn limit(limits: &str, name: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    match line.split_whitespace().next() {
        Some("unlimited") | None => u64::MAX,
        Some(number) => number.parse().unwrap_or(u64::MAX),
    }
}

/// Bytes received and sent, from a table of names above numbers.
fn octets(netstat: &str) -> (u64, u64) {
    let mut lines = netstat.lines().filter(|line| line.starts_with("IpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return (0, 0) };
    let value = |wanted: &str| {
        let position = names.split_whitespace().position(|name| name == wanted);
        let value = position.and_then(|position| values.split_whitespace().nth(position));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    (value("InOctets"), value("OutOctets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_command() {
        let rest: Vec<String> = (3..=52).map(|number| number.to_string()).collect();
        let process = parse_stat(&format!("7 (a ) b) {}", rest.join(" ")), 100, 4096);
        assert_eq!(process.cpu_seconds, (14.0 + 15.0) / 100.0);
        assert_eq!((process.virtual_bytes, process.resident_bytes), (23, 24 * 4096));
        assert_eq!(parse_stat("", 100, 4096), Process::default());
    }

    #[test]
    fn limits_and_octets_are_found_by_name() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\nMax address space  unlimited  unlimited  bytes\n";
        assert_eq!(limit(limits, "Max open files"), 1024);
        assert_eq!(limit(limits, "Max address space"), u64::MAX);
        assert_eq!(octets("TcpExt: a\nTcpExt: 1\nIpExt: InOctets OutOctets\nIpExt: 5 6\n"), (5, 6));
        assert_eq!(octets(""), (0, 0));
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let process = read().expect("proc is mounted");
        assert!(process.resident_bytes > 0 && process.fds > 0 && process.fds_max > 0);
    }
}
