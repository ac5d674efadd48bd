//! Standard output: data only, one line at a time, in one of two forms.

use crate::failure::Failure;
use std::io::{BufWriter, ErrorKind, Stdout, Write};

/// Where a command's data goes.
pub(crate) struct Output {
    json: bool,
    stdout: BufWriter<Stdout>,
}

impl Output {
    /// Writes JSON or lines for people.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, stdout: BufWriter::with_capacity(1 << 16, std::io::stdout()) }
    }

    /// Writes a line in the form asked for; the other one is not made.
    pub(crate) fn line<T>(&mut self, json: impl FnOnce() -> T, text: impl FnOnce() -> T) -> Result<(), Failure>
    where
        T: AsRef<str>,
    {
        let line = if self.json { json() } else { text() };
        self.stdout.write_all(line.as_ref().as_bytes()).and_then(|()| self.stdout.write_all(b"\n")).map_err(failed)
    }

    /// Writes a line that is for programs only.
    pub(crate) fn json_line(&mut self, json: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { self.line(json, String::new) } else { Ok(()) }
    }

    /// Whether lines are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Hands over what was written; whoever reads it has it when this returns.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(failed)
    }
}

fn failed(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::io("standard output was closed"),
        _ => Failure::io(format!("standard output: {error}")),
    }
}
