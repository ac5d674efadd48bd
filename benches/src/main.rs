//! `highwater-bench`: the benchmark programs. `./x bench` builds and runs them; `README.md` says what each measures.

use clap::{Args, Parser, Subcommand};
use highwater_benches::allocations::Counting;
use highwater_benches::context::default_out;
use highwater_benches::report::Report;
use highwater_benches::{Context, Failure};
use highwater_benches::{amplification, growth, guard, real, sync, throughput, versus, wire};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures Highwater, and what one would take instead, on this machine.
#[derive(Parser)]
#[command(name = "highwater-bench", version)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
    #[command(flatten)]
    options: CommonOptions,
}

#[derive(Args)]
struct CommonOptions {
    /// Small sizes and few rounds
    #[arg(long, global = true)]
    quick: bool,
    /// Where reports go, and temporary stores: a directory of a real disk [default: highwater/bench in the cache]
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// About how long each program may take [default: its own]
    #[arg(long, global = true, value_name = "N")]
    seconds: Option<u64>,
    /// Of the workload
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum Program {
    /// What a delivered entry costs to write and to read, by members, body and strategy
    Amplification,
    /// Durable sends a second and their latency, in process
    Throughput,
    /// What it costs a device to catch up, and to list its conversations
    Sync,
    /// Server and load generator over QUIC, beside bare quinn, and under `hw bench`
    Wire,
    /// The same job done by Redis Streams, PostgreSQL and NATS JetStream
    Versus,
    /// Data sets replayed in process (HIGHWATER_DATA names their directory)
    Real,
    /// Costs as users, entries and conversations grow
    Growth,
    /// All of them, one after the other; with --quick all but versus
    All,
    /// Instructions of sends and syncs under valgrind, compared with a baseline: ./x perf-guard
    PerfGuard {
        /// Write what is counted as the baseline
        #[arg(long)]
        update: bool,
        /// Of these paths only
        paths: Vec<String>,
    },
    /// What a program starts as a process of its own
    #[command(hide = true)]
    Child {
        /// Which program
        program: String,
        /// What it asks for
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// One entry of the table of programs.
struct Entry {
    name: &'static str,
    run: fn(&Context) -> Result<Report, Failure>,
    /// Time budgets, in seconds: all full ones add up to less than an hour, all quick ones to less than three minutes.
    seconds: u64,
    seconds_quick: u64,
}

const PROGRAMS: [Entry; 7] = [
    Entry { name: "amplification", run: amplification::run, seconds: 840, seconds_quick: 28 },
    Entry { name: "throughput", run: throughput::run, seconds: 600, seconds_quick: 25 },
    Entry { name: "sync", run: sync::run, seconds: 255, seconds_quick: 20 },
    Entry { name: "wire", run: wire::run, seconds: 540, seconds_quick: 40 },
    Entry { name: "versus", run: versus::run, seconds: 600, seconds_quick: 60 },
    Entry { name: "real", run: real::run, seconds: 180, seconds_quick: 15 },
    Entry { name: "growth", run: growth::run, seconds: 480, seconds_quick: 25 },
];

fn main() -> ExitCode {
    let Arguments { program, options } = Arguments::parse();
    match run(&program, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("highwater-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &Program, options: &CommonOptions) -> Result<(), Failure> {
    let name = match program {
        Program::Amplification => "amplification",
        Program::Throughput => "throughput",
        Program::Sync => "sync",
        Program::Wire => "wire",
        Program::Versus => "versus",
        Program::Real => "real",
        Program::Growth => "growth",
        Program::All => return all(options),
        Program::PerfGuard { update, paths } => return guard::run(*update, paths),
        Program::Child { program, arguments } => return child(program, arguments),
    };
    let entry = PROGRAMS.iter().find(|entry| entry.name == name).ok_or("the table lacks a program")?;
    let missed = measure(entry, options)?;
    if missed > 0 {
        eprintln!("{name}: {missed} targets were missed");
    }
    Ok(())
}

/// Runs every program, even after one has failed.
fn all(options: &CommonOptions) -> Result<(), Failure> {
    let mut failed = Vec::new();
    let mut missed = 0;
    for entry in PROGRAMS.iter().filter(|entry| !options.quick || entry.name != "versus") {
        match measure(entry, options) {
            Ok(more) => missed += more,
            Err(failure) => {
                eprintln!("{}: {failure}", entry.name);
                failed.push(entry.name);
            }
        }
    }
    eprintln!("{missed} targets were missed");
    if failed.is_empty() { Ok(()) } else { Err(format!("these failed: {}", failed.join(", ")).into()) }
}

fn measure(entry: &Entry, options: &CommonOptions) -> Result<usize, Failure> {
    let seconds = options.seconds.unwrap_or(if options.quick { entry.seconds_quick } else { entry.seconds });
    let out = options.out.clone().unwrap_or_else(default_out);
    std::fs::create_dir_all(&out)?;
    let context =
        Context { quick: options.quick, out: out.clone(), budget: Duration::from_secs(seconds), seed: options.seed };
    (entry.run)(&context)?.finish(&out)
}

fn child(program: &str, arguments: &[String]) -> Result<(), Failure> {
    match program {
        "wire" => wire::child(arguments),
        "throughput" => throughput::child(arguments),
        "versus" => versus::child(arguments),
        "real" => real::child(arguments),
        "growth" => growth::child(arguments),
        "perf-guard" => guard::child(arguments),
        _ => Err(format!("{program} has no child processes").into()),
    }
}
