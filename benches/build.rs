//! Tells the benchmarks of which commit they are built: a report without it is worth little.

use std::process::Command;

/// What the benchmarks measure, and what they are made of.
const SOURCES: [&str; 6] = ["src", "../engine/src", "../proto/src", "../server/src", "../client/src", "../Cargo.lock"];

fn main() {
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let is_changed = git(&["status", "--porcelain"]).is_some_and(|changed| !changed.is_empty());
    println!("cargo:rustc-env=HIGHWATER_COMMIT={commit}{}", if is_changed { "+" } else { "" });
}
