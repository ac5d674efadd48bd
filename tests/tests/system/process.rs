//! The programs, as processes.

use highwater_tests::world::scratch;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// Where the programs are. They are built first: cargo makes only this test's own dependencies.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        let release = own.ancestors().nth(2).unwrap().to_owned();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--offline", "--locked", "--workspace", "--bins", "--quiet", "--target-dir"])
            .arg(release.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the programs cannot be built");
        release
    })
}

/// Runs `highwater` to its end.
pub(crate) fn highwater(arguments: &[&str]) -> Output {
    Command::new(programs().join("highwater")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs `hw` to its end, with a state directory of its own.
pub(crate) fn hw(state: &Path, arguments: &[&str]) -> Output {
    Command::new(programs().join("hw"))
        .arg("--state")
        .arg(state)
        .args(arguments)
        .env_remove("HIGHWATER_TOKEN")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// `highwater serve --dev` in a process of its own; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) address: String,
}

impl ServerProcess {
    pub(crate) fn start(data: &Path, address: Option<&str>, more: &[&str]) -> Self {
        let mut child = Command::new(programs().join("highwater"))
            .args(["serve", "--dev", "--listen", address.unwrap_or("127.0.0.1:0"), "--data"])
            .arg(data)
            .args(more)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| line.unwrap().strip_prefix("ready ").map(str::to_owned));
        let address = ready.unwrap_or_else(|| panic!("the server did not start: {:?}", child.wait()));
        Self { child, address }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Memory that a process takes, in bytes; mapped files left out.
pub(crate) fn resident_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// A server in a process, and what the command line needs to talk to it.
pub(crate) struct Stage {
    pub(crate) server: ServerProcess,
    pub(crate) data: tempfile::TempDir,
    pub(crate) state: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let data = scratch();
        let server = ServerProcess::start(data.path(), None, &["--max-body", "2000"]);
        Self { server, data, state: scratch() }
    }

    /// Runs `hw --json` as a user of the development server.
    pub(crate) fn hw(&self, user: &str, arguments: &[&str]) -> Output {
        let mut all = vec!["--json", "--server", &self.server.address, "--dev", self.data.path().to_str().unwrap()];
        if !user.is_empty() {
            all.extend(["--as", user]);
        }
        all.extend(arguments);
        hw(self.state.path(), &all)
    }
}
