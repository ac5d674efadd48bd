//! Servers as processes: found, started on a free port of loopback, measured by what the kernel knows about them, and
//! stopped with this program whatever way it ends.

use crate::context::Failure;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before looking again.
const WAIT: Duration = Duration::from_millis(10);
/// The kernel's unit of CPU time towards user space, on every Linux.
const TICKS_PER_S: u64 = 100;
const BLOCK_BYTES: u64 = 512;

/// An account of the system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// A program, or `None` if it is not installed: the file that a variable names, the first on the path, or one of these.
pub(crate) fn find(name: &str, variable: &str, elsewhere: &[PathBuf]) -> Option<PathBuf> {
    let named = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join(name));
    let candidates = named.into_iter().chain(on_path).chain(elsewhere.iter().cloned());
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// The first line that a program says about its version.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").trim().to_owned()
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a program; what it says goes to `log`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        log: &Path,
        account: Option<Account>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(arguments).current_dir("/");
        let output = File::create(log)?;
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        if let Some(account) = account {
            command.uid(account.user).gid(account.group);
        }
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Waits for a line that begins like this, and gives the rest of it.
    pub(crate) async fn says(&mut self, beginning: &str) -> Result<String, Failure> {
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.log)?;
            let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            if let Some(rest) = whole.filter_map(|line| line.strip_prefix(beginning)).next() {
                return Ok(rest.trim().to_owned());
            }
            self.is_starting(began)?;
            tokio::time::sleep(WAIT).await;
        }
    }

    fn is_starting(&mut self, since: Instant) -> Result<(), Failure> {
        if self.child.try_wait()?.is_some() || since.elapsed() > PATIENCE {
            return Err(self.complaint("is not ready").into());
        }
        Ok(())
    }

    /// Waits until it takes connections.
    pub(crate) async fn listens(&mut self, port: u16) -> Result<(), Failure> {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            self.is_starting(began)?;
            tokio::time::sleep(WAIT).await;
        }
        Ok(())
    }

    fn complaint(&self, what: &str) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        format!("the server {what}; it said: {}", lines.into_iter().rev().collect::<Vec<_>>().join(" / "))
    }

    /// What it and its children have used so far.
    pub(crate) fn used(&self) -> Used {
        let mut used = Used::default();
        let all = processes();
        let mut pids = vec![self.child.id()];
        while let Some(pid) = pids.pop() {
            used.add(pid);
            pids.extend(all.iter().filter(|(_, parent)| *parent == pid).map(|(pid, _)| *pid));
        }
        used
    }

    /// Asks it to stop in order, and waits for that.
    pub(crate) async fn stop(mut self, signal: &str) -> Result<(), Failure> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-s", signal, &pid]).status()?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                return Err(self.complaint("does not stop").into());
            }
            tokio::time::sleep(WAIT).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What processes have used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) cpu_s: f64,
    /// Bytes that they caused to be written to a device.
    pub(crate) written_bytes: u64,
}

impl Used {
    /// Of this process.
    pub(crate) fn here() -> Self {
        let mut used = Self::default();
        used.add(std::process::id());
        used
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        let written_bytes = self.written_bytes.saturating_sub(earlier.written_bytes);
        Self { cpu_s: self.cpu_s - earlier.cpu_s, written_bytes }
    }

    fn add(&mut self, pid: u32) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        self.cpu_s += ticks(&read("stat")) as f64 / TICKS_PER_S as f64;
        let io = read("io");
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
        self.written_bytes += written.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or(0);
    }
}

/// User and system time, that of children that were waited for included.
fn ticks(stat: &str) -> u64 {
    // The program's name stands in parentheses and may contain anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Every process with its parent.
fn processes() -> Vec<(u32, u32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parsed = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    });
    parsed.collect()
}

/// Bytes that the disk gives to all files below a directory, but for directories of this name.
pub(crate) fn disk_bytes(directory: &Path, except: &str) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() && entry.file_name() == except => 0,
        Ok(about) if about.is_dir() => disk_bytes(&entry.path(), except),
        Ok(about) => about.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        assert_eq!(ticks("7 (a) b) S 1 7 7 0 -1 4194560 99 0 0 0 150 25 3 4 20 0 1 0 81964"), 182);
        assert_eq!(ticks("7 (a"), 0);
    }

    #[test]
    fn own_process_is_known() {
        let own = std::process::id();
        assert!(processes().iter().any(|(pid, _)| *pid == own));
    }
}
