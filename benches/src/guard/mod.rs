//! The regression guard: how many instructions sends and syncs take, which does not depend on how busy a machine is.
//!
//! Each path runs twice under valgrind, as a process of its own, with a lower and a higher number of repetitions; the
//! difference is what the repetitions take, without start-up. The engine has threads, so counts are not the same to
//! the last instruction, but to well below the tolerance: groups are made the same in every run (`gate`).
//!
//! The baseline stands with the code. A change that makes a path dearer on purpose says so with `--update`.

mod disk;
mod gate;
mod paths;

use crate::context::Failure;
use paths::{PATHS, Path};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// How far a path may move from its baseline, either way, in percent: an improvement, too, is to be written down.
const TOLERANCE_PERCENT: f64 = 5.0;
/// The same for a persist, whose thread encodes in slices while RocksDB's threads flush: counts differ by up to 6 %.
const PERSIST_TOLERANCE_PERCENT: f64 = 10.0;

/// Where the baseline stands.
fn baseline_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guard-baseline.json")
}

/// Instructions of each path's operation, and what they were counted with.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Baseline {
    rustc: String,
    valgrind: String,
    /// For one operation, by path.
    instructions: BTreeMap<String, f64>,
}

/// Counts all paths, or those named, and prints a table; compares with the baseline, or writes it anew.
///
/// # Errors
/// Nothing can be counted, or a path is outside the tolerance.
pub fn run(update: bool, only: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = only.iter().find(|name| PATHS.iter().all(|path| path.name != **name)) {
        return Err(format!("there is no path {unknown:?}").into());
    }
    let valgrind = version("valgrind")
        .ok_or("valgrind is missing, and nothing else counts instructions here; on Debian: apt-get install valgrind")?;
    let rustc = version("rustc").unwrap_or_default();
    let file = baseline_path();
    let stored: Baseline = match std::fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?,
        Err(_) if update => Baseline::default(),
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    };
    for (what, then, now) in [("rustc", &stored.rustc, &rustc), ("valgrind", &stored.valgrind, &valgrind)] {
        if !update && then != now {
            println!("the baseline was counted with {then}, this is {now}: another {what} makes other numbers");
        }
    }
    println!("{:<16} {:>12} {:>12} {:>9}   instructions for one", "path", "baseline", "now", "change");
    let mut counted = Baseline { rustc, valgrind, instructions: stored.instructions.clone() };
    counted.instructions.retain(|name, _| PATHS.iter().any(|path| path.name == name));
    let mut outside = Vec::new();
    for path in PATHS.iter().filter(|path| only.is_empty() || only.iter().any(|name| name == path.name)) {
        let now = count(path)?;
        let before = stored.instructions.get(path.name).copied();
        let change = before.map(|before| (now / before - 1.0) * 100.0);
        if change.is_none_or(|change| change.abs() > tolerance_percent(path.name)) {
            outside.push(path.name);
        }
        let shown = |number: Option<f64>| number.map_or_else(|| "none".to_owned(), |number| format!("{number:.1}"));
        println!(
            "{:<16} {:>12} {:>12} {:>9}   {}",
            path.name,
            shown(before),
            shown(Some(now)),
            change.map_or_else(|| "none".to_owned(), |change| format!("{change:+.2} %")),
            path.operation,
        );
        counted.instructions.insert(path.name.to_owned(), (now * 10.0).round() / 10.0);
    }
    if update {
        std::fs::write(&file, serde_json::to_string_pretty(&counted)? + "\n")?;
        println!("written to {}", file.display());
        return Ok(());
    }
    if outside.is_empty() {
        println!("every path is within {TOLERANCE_PERCENT} % of its baseline (persist: {PERSIST_TOLERANCE_PERCENT} %)");
        return Ok(());
    }
    let outside = outside.join(", ");
    Err(format!(
        "more than {TOLERANCE_PERCENT} % (persist: {PERSIST_TOLERANCE_PERCENT} %) off the baseline, in one direction or the other: {outside}; if that is meant, \
         --update writes what was counted as the baseline"
    )
    .into())
}

/// What the guard starts under valgrind: `highwater-bench child perf-guard PATH COUNT`.
///
/// # Errors
/// The arguments are not known.
pub fn child(arguments: &[String]) -> Result<(), Failure> {
    let [name, count] = arguments else { return Err(format!("nothing is called {arguments:?}").into()) };
    let path = PATHS.iter().find(|path| path.name == name).ok_or_else(|| format!("there is no path {name:?}"))?;
    (path.run)(count.parse()?);
    Ok(())
}

/// Instructions of one operation.
fn count(path: &Path) -> Result<f64, Failure> {
    let (low, high) = path.counts;
    let between = instructions(path.name, high)?.saturating_sub(instructions(path.name, low)?);
    Ok(between as f64 / ((high - low) * path.operations) as f64)
}

/// Instructions that a whole process takes, all its threads together.
fn instructions(name: &str, count: u64) -> Result<u64, Failure> {
    let program = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--branch-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(program)
        .args(["child", "perf-guard", name, &count.to_string()])
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the path {name} failed under valgrind:\n{said}").into());
    }
    let missing = || format!("valgrind did not say how many instructions the path {name} took:\n{said}");
    Ok(references(&said).ok_or_else(missing)?)
}

/// The count in cachegrind's line `==PID== I   refs:      1,234`.
fn references(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| {
        let (words, count) = line.split_once("refs:")?;
        words.trim_end().ends_with('I').then_some(count)
    })?;
    line.trim().replace(',', "").parse().ok()
}

/// The first line of what a program says about itself.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

/// How far from its baseline a path may be.
fn tolerance_percent(path: &str) -> f64 {
    if path == "persist" { PERSIST_TOLERANCE_PERCENT } else { TOLERANCE_PERCENT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_cachegrind_says() {
        let said = "==7== Cachegrind, a cache and branch-prediction profiler\n==7== \n==7== I   refs:      1,234,567\n";
        assert_eq!(references(said), Some(1_234_567));
        assert_eq!(references("==7== I refs:        12\n"), Some(12));
        assert_eq!(references("==7== D   refs:      5\n"), None);
    }

    #[test]
    fn every_path_has_a_baseline() {
        let text = std::fs::read_to_string(baseline_path()).expect("the baseline stands with the code");
        let stored: Baseline = serde_json::from_str(&text).expect("it is readable");
        let named: Vec<&str> = stored.instructions.keys().map(String::as_str).collect();
        let mut expected: Vec<&str> = PATHS.iter().map(|path| path.name).collect();
        expected.sort_unstable();
        assert_eq!(named, expected);
    }
}
