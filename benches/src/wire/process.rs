//! What the kernel knows about a process, its CPU time and its memory, and about datagrams for which there was no room.

use super::Fallible;

/// The kernel's unit of CPU time towards user space, on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// User and system time of all threads of a process so far, in seconds, to 10 ms.
pub(crate) fn cpu_s(pid: u32) -> Fallible<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat).map(|ticks| ticks as f64 / TICKS_PER_S).ok_or_else(|| format!("/proc/{pid}/stat is malformed").into())
}

fn ticks(stat: &str) -> Option<u64> {
    // The program's name stands in parentheses and may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Resident memory that is not of a file, in bytes.
pub(crate) fn anonymous_bytes(pid: u32) -> Fallible<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).ok_or("no RssAnon")?;
    Ok(kib << 10)
}

/// Datagrams that were dropped on this machine so far since the socket they were for was full.
pub(crate) fn datagrams_dropped() -> Fallible<u64> {
    let snmp = std::fs::read_to_string("/proc/net/snmp")?;
    dropped(&snmp).ok_or_else(|| "/proc/net/snmp is malformed".into())
}

fn dropped(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let column = lines.next()?.split_whitespace().position(|name| name == "RcvbufErrors")?;
    lines.next()?.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 99 0 0 0 150 25 3 4 20 0 1 0 81964";
        assert_eq!(ticks(stat), Some(175));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn dropped_datagrams_stand_below_their_name() {
        let snmp = "Tcp: RcvbufErrors\nTcp: 1\nUdp: InDatagrams RcvbufErrors InErrors\nUdp: 5 7 9\n";
        assert_eq!(dropped(snmp), Some(7));
        assert_eq!(dropped("Udp: InDatagrams\nUdp: 5\n"), None);
    }

    #[test]
    fn own_process_has_time_and_memory() {
        assert!(cpu_s(std::process::id()).expect("it is readable") >= 0.0);
        assert!(anonymous_bytes(std::process::id()).expect("it is readable") > 0);
    }
}
