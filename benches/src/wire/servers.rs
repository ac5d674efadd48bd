//! The processes of a measurement: a server with a new store, and a load generator, each on a core of its own.
//!
//! Where the machine has two cores or more, the server is kept on one and the generator on another, so that neither
//! takes the other's time, and so that "as many as go" means the same for both servers: what one core can serve. Every
//! process ends when this one does, whatever way it ends.

use super::Fallible;
use super::plan::{Job, Outcome, Plan, Target};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Highwater,
    Bare,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Highwater => "highwater",
            Kind::Bare => "bare quinn",
        }
    }
}

/// Where the programs are, and on which cores they run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    bench: PathBuf,
    server: PathBuf,
    hw: PathBuf,
    /// The server's core and the generator's.
    cores: Option<(usize, usize)>,
}

impl Programs {
    /// Those beside this program.
    pub(crate) fn find(pinned: bool) -> Fallible<Self> {
        let bench = std::env::current_exe()?;
        let (server, hw) = (beside(&bench, "highwater")?, beside(&bench, "hw")?);
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self { bench, server, hw, cores: (pinned && cores >= 2).then_some((0, 1)) })
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.cores.is_some()
    }

    /// Starts a server of this kind on a new store in this directory.
    pub(crate) fn start(&self, kind: Kind, data: TempDir) -> Fallible<Server> {
        let program = match kind {
            Kind::Highwater => &self.server,
            Kind::Bare => &self.bench,
        };
        let mut command = command(program, self.cores.map(|(server, _)| server));
        match kind {
            Kind::Highwater => command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"]).arg(data.path()),
            Kind::Bare => command.args(["child", "wire", "echo", "--data"]).arg(data.path()),
        };
        let log = data.path().join("server.log");
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = Running(command.spawn()?);
        let mut first = String::new();
        if let Some(output) = child.0.stdout.take() {
            BufReader::new(output).read_line(&mut first)?;
        }
        let address: Option<SocketAddr> = first.strip_prefix("ready ").and_then(|address| address.trim().parse().ok());
        let Some(address) = address else {
            return Err(format!("{} did not start: {}", kind.name(), tail(&log)).into());
        };
        let pid = child.0.id();
        Ok(Server { _child: child, log, target: Target { address, data: data.path().to_owned(), pid }, _data: data })
    }

    /// Lets a load generator do a job with a server.
    pub(crate) fn load(&self, server: &Server, job: Job) -> Fallible<Outcome> {
        let plan = serde_json::to_string(&Plan { target: server.target.clone(), job })?;
        let mut command = command(&self.bench, self.cores.map(|(_, load)| load));
        let mut child = command.args(["child", "wire", "load"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(plan.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("the load generator failed; the server said: {}", tail(&server.log)).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Lets `hw bench` play a workload with a Highwater server. Its report, as JSON.
    pub(crate) fn hw_bench(&self, server: &Server, workload: &serde_json::Value) -> Fallible<Vec<u8>> {
        let Target { address, data, .. } = &server.target;
        let file = data.join("workload.json");
        std::fs::write(&file, workload.to_string())?;
        let mut command = command(&self.hw, self.cores.map(|(_, load)| load));
        command.args(["--json", "--server", &address.to_string(), "--dev"]).arg(data);
        command.args(["bench", "--workload"]).arg(file).env_remove("HIGHWATER_TOKEN").stdin(Stdio::null());
        let output = command.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("hw bench failed: {said}; the server said: {}", tail(&server.log)).into());
        }
        Ok(output.stdout)
    }
}

/// The program of this name beside another one.
fn beside(program: &Path, name: &str) -> Fallible<PathBuf> {
    let found = program.with_file_name(name);
    if !found.is_file() {
        return Err(format!("{} is missing: cargo build --release --workspace --bins", found.display()).into());
    }
    Ok(found)
}

/// A program that is killed when this one ends, and that stays on its core if it has one.
fn command(program: &Path, core: Option<usize>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(core) = core {
        command.args(["taskset", "-c"]).arg(core.to_string());
    }
    command.arg(program);
    command
}

/// The end of a log, for a message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// A server with its store, both gone when it is dropped.
pub(crate) struct Server {
    _child: Running,
    log: PathBuf,
    target: Target,
    _data: TempDir,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
