//! Processes that a program starts of itself, so that memory and a crash are those of one store alone.
//!
//! A child is `highwater-bench child PROGRAM ARGUMENTS...`. It is told what to do in lines and answers each with a line
//! of JSON; whoever drops its [`Child`] kills it.

use crate::context::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// A running child.
pub struct Child {
    process: std::process::Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Child {
    /// Starts one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["child", program])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = process.stdin.take();
        let answers = process.stdout.take().ok_or("the child has no output")?;
        Ok(Self { process, requests, answers: BufReader::new(answers) })
    }

    /// The child's next answer.
    ///
    /// # Errors
    /// It ended without one, or it cannot be understood.
    pub fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("a child ended without an answer: {}", self.process.wait()?).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Tells the child to do something, and waits for its answer.
    ///
    /// # Errors
    /// As [`Child::answer`].
    pub fn ask<T: DeserializeOwned>(&mut self, request: &str) -> Result<T, Failure> {
        let requests = self.requests.as_mut().ok_or("the child was told to end")?;
        writeln!(requests, "{request}")?;
        self.answer()
    }

    /// Lets it come to its end, which it does when nothing more is asked, and waits.
    ///
    /// # Errors
    /// It failed.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.requests = None;
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a child failed: {status}").into()) }
    }

    /// Ends it with SIGKILL, in whatever it is at, and waits.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended already, or its answers are of no use to anybody now.
        let _killed = self.process.kill();
        let _waited = self.process.wait();
    }
}

/// In a child: answers with a line.
///
/// # Errors
/// Nobody listens any more.
pub fn answer(with: &impl Serialize) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, with)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// In a child: what it is told to do, until it is to end.
pub fn requests() -> impl Iterator<Item = String> {
    std::io::stdin().lines().map_while(Result::ok)
}
