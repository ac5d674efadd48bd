//! On what a measurement was made, and what the process has used of it.

use crate::{rivals, sys};
use serde::Serialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// On what, and of what, a measurement was made.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// CPUs that this process may use.
    pub cores: usize,
    /// The CPU's own name.
    pub cpu: String,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Kind and device of the file system that stores and reports lie on.
    pub file_system: String,
    /// The compiler on the path.
    pub rustc: String,
    /// The commit that was built, with `+` if the sources were others.
    pub commit: String,
    /// The version of RocksDB that is linked.
    pub index_version: String,
    /// The command line.
    pub command: String,
    /// Load of the machine when the program began: above 0.5 others were at work, too.
    pub load: f64,
}

impl Machine {
    /// This machine, for reports in `out`.
    pub fn here(out: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name);
        let load = read("/proc/loadavg");
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu.unwrap_or("unknown").trim().to_owned(),
            memory_bytes: kib_of(&read("/proc/meminfo"), "MemTotal:"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(out),
            rustc: output("rustc", &["--version"]),
            commit: env!("HIGHWATER_COMMIT").to_owned(),
            index_version: rivals::version().to_owned(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }

    /// A few lines for people.
    pub fn lines(&self) -> Vec<String> {
        vec![
            format!("{} x {}, {} MiB of memory, Linux {}", self.cores, self.cpu, self.memory_bytes >> 20, self.kernel),
            format!("stores on {}; load of the machine at the beginning: {}", self.file_system, self.load),
            format!("commit {}, {}, RocksDB {}", self.commit, self.rustc, self.index_version),
            format!("command: {}", self.command),
        ]
    }
}

/// Kind and device of the file system that a path lies on, for example `ext4 (/dev/vda)`.
pub fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(at).then_some((at.len(), format!("{kind} ({device})")))
    });
    // The last one of equal length covers the others.
    mount.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, name)| name)
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or_else(|| "unknown".to_owned(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
    /// Bytes that it caused to be written to a device.
    pub written_bytes: u64,
    /// Bytes that were read from a device for it.
    pub read_bytes: u64,
}

impl Used {
    /// What this process has used so far.
    pub fn so_far() -> Self {
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let value = |name: &str| {
            let line = io.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Self { cpu: sys::process_cpu(), written_bytes: value("write_bytes:"), read_bytes: value("read_bytes:") }
    }

    /// What it has used since then.
    pub fn since(earlier: Self) -> Self {
        let now = Self::so_far();
        Self {
            cpu: now.cpu.saturating_sub(earlier.cpu),
            written_bytes: now.written_bytes.saturating_sub(earlier.written_bytes),
            read_bytes: now.read_bytes.saturating_sub(earlier.read_bytes),
        }
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that ever was.
    pub peak: u64,
}

impl Memory {
    /// Of this process.
    pub fn here() -> Self {
        Self::of("self")
    }

    /// Of a process by its id, or `self`; zeros if there is none.
    pub fn of(process: &str) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        Self { resident: kib_of(&status, "VmRSS:"), peak: kib_of(&status, "VmHWM:") }
    }

    /// Forgets the peak of this process, so that the next one is that of what follows.
    pub fn forget_peak() {
        // Where it is not allowed, the peak is that of the whole run: too high rather than too low.
        let _allowed = std::fs::write("/proc/self/clear_refs", "5");
    }
}

/// CPU time of each thread of this process that still lives, by name and in descending order.
pub fn threads_cpu() -> Vec<(String, Duration)> {
    let mut by_name = std::collections::BTreeMap::<String, Duration>::new();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks.map(|task| task.path()) {
        let read = |file: &str| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let name = read("comm").trim().to_owned();
        let nanos = read("schedstat").split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        *by_name.entry(name).or_default() += Duration::from_nanos(nanos);
    }
    let mut threads: Vec<_> = by_name.into_iter().collect();
    threads.sort_by_key(|(_, cpu)| std::cmp::Reverse(*cpu));
    threads
}

fn kib_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Bytes of all files below a directory, by length.
pub fn directory_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => directory_bytes(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    });
    bytes.sum()
}
