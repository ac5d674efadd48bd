//! The shape of the tree: which crate may know which, who may name RocksDB, how long a file may be, and that the
//! documents name tests that exist.
//!
//! It reads manifests and sources only, and links nothing of the project.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file at most.
const LINES_MAX: usize = 500;

/// Which crates of the workspace a crate may depend on.
const EDGES: [(&str, &[&str]); 6] = [
    ("highwater-proto", &[]),
    ("highwater-engine", &["highwater-proto"]),
    ("highwater-client", &["highwater-proto"]),
    ("highwater-server", &["highwater-engine", "highwater-proto"]),
    ("highwater-tests", &["highwater-client", "highwater-engine", "highwater-proto", "highwater-server"]),
    ("highwater-benches", &["highwater-client", "highwater-engine", "highwater-proto", "highwater-server"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below a directory whose name ends so, build output left out.
fn files(below: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// The dependencies of every kind that a manifest names, in sections `dependencies`, `dev-dependencies`, and so on.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            is_inside = section.ends_with("dependencies") && !section.starts_with("workspace");
            // A dependency may have a section of its own.
            if let Some((_, name)) = section.split_once("dependencies.").filter(|_| !section.starts_with("workspace")) {
                found.insert(name.to_owned());
            }
        } else if is_inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                found.insert(name.trim_matches('"').to_owned());
            }
        }
    }
    found
}

#[test]
fn crates_know_each_other_one_way() {
    let expected: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let mut seen = BTreeSet::new();
    for path in files(&root(), "Cargo.toml") {
        let manifest = read(&path);
        let Some(name) = manifest.lines().find_map(|line| line.strip_prefix("name = ")) else { continue };
        let name = name.trim_matches('"');
        let Some(allowed) = expected.get(name) else { continue };
        seen.insert(name.to_owned());
        for dependency in dependencies(&manifest).iter().filter(|name| name.starts_with("highwater-")) {
            let own_tests = dependency == name;
            assert!(own_tests || allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
    assert_eq!(seen.len(), expected.len(), "the crates are {seen:?}");
}

#[test]
fn one_folder_names_rocksdb() {
    for path in files(&root(), ".rs") {
        let name = relative(&path);
        // The benchmarks measure what one would build on RocksDB instead, in a folder of their own.
        let may = name.starts_with("engine/src/store/")
            || name.starts_with("benches/src/rivals/")
            || name == "tests/tests/architecture.rs";
        let uses = |line: &str| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("rocksdb")
        };
        let line = read(&path).lines().position(uses);
        assert!(may || line.is_none(), "{name}:{} names rocksdb", line.unwrap_or(0) + 1);
    }
    for path in files(&root(), "Cargo.toml") {
        let has = dependencies(&read(&path)).contains("rocksdb");
        let may = ["engine/Cargo.toml", "benches/Cargo.toml"].contains(&relative(&path).as_str());
        assert!(!has || may, "{} depends on rocksdb", relative(&path));
    }
}

/// Whatever features are on: a client must never pull in the engine's index.
#[test]
fn the_client_does_not_link_rocksdb() {
    let graph = resolved();
    for package in ["highwater-client", "highwater-proto"] {
        let reached = reachable(&graph, package);
        assert!(reached.len() > 5, "{package} depends on {reached:?}");
        assert!(!reached.iter().any(|name| name.contains("rocksdb")), "{package} links RocksDB");
    }
    // The same question finds it where it is.
    assert!(reachable(&graph, "highwater-engine").contains("librocksdb-sys"));
}

/// Which packages each package links or builds with, all features on.
fn resolved() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--all-features"])
        // Packages for other systems were never fetched.
        .args(["--filter-platform", &host()])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let names: BTreeMap<String, String> =
        packages.map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let targets = graph.entry(names[&text(&node["id"])].clone()).or_default();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                targets.insert(names[&text(&dependency["pkg"])].clone());
            }
        }
    }
    graph
}

/// The system that this toolchain builds for.
fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, package: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(name) = open.pop() {
        for next in &graph[&name] {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

#[test]
fn files_are_short_and_begin_with_their_problem() {
    let sources = files(&root(), ".rs");
    assert!(sources.len() > 50, "the sources were found");
    let mut faults = Vec::new();
    for path in sources {
        let text = read(&path);
        if text.lines().count() > LINES_MAX {
            faults.push(format!("{} has {} lines; {LINES_MAX} are the most", relative(&path), text.lines().count()));
        }
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if !first.starts_with("//!") && !first.starts_with("#!") {
            faults.push(format!("{} does not begin with `//!`", relative(&path)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A test that waits for the time to pass is slow on one machine and red on another.
#[test]
fn nothing_sleeps_in_tests_and_nothing_is_left_to_do() {
    let mut faults = Vec::new();
    for path in files(&root(), ".rs") {
        let name = relative(&path);
        if name == "tests/tests/architecture.rs" {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            let is_test = name.starts_with("tests/") || name.contains("/tests");
            if is_test && line.contains("thread::sleep") || line.contains("#[ignore") || line.contains("TODO") {
                faults.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every promise names tests, and every test that it names exists.
#[test]
fn the_tests_that_hold_the_promises_exist() {
    let guarantees = read(&root().join("docs").join("guarantees.md"));
    let tests: String = files(&root(), ".rs").iter().map(|path| read(path)).collect();
    let mut named = 0;
    for promise in guarantees.split("### P").skip(1) {
        let words = promise.split('`').skip(1).step_by(2);
        let is_test =
            |word: &&str| word.matches('_').count() >= 2 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let found: Vec<&str> = words.filter(is_test).collect();
        let title = promise.lines().next().unwrap_or_default();
        assert!(!found.is_empty(), "P{title} names no test");
        for test in found {
            assert!(tests.contains(&format!("fn {test}(")), "P{title} names {test}, which is no test");
            named += 1;
        }
    }
    assert!(named > 40, "{named} tests are named");
}
