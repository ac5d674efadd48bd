//! Benchmarks of Highwater: what the programs of `highwater-bench` share, and the programs themselves.
//!
//! A number from a benchmark is worth what is known about how it came about. So a program has a fixed, seeded
//! [`workload`], runs what it compares in turns within one run ([`pair`]), tells medians with their spread ([`stats`]),
//! and says on which [`machine`] and of which sources that was, in a [`report`] with tables, checks of the targets,
//! JSON and plots. What it writes lies on a real disk, outside the checkout ([`context`]).

pub mod allocations;
pub mod children;
pub mod context;
pub mod load;
pub mod machine;
pub mod pair;
pub mod plot;
pub mod report;
pub mod rivals;
pub mod stats;
pub mod store;
pub mod sys;
pub mod workload;

pub mod amplification;
pub mod growth;
pub mod guard;
pub mod real;
pub mod sync;
pub mod throughput;
pub mod versus;
pub mod wire;

pub use context::{Context, Failure};
pub use store::{Bench, message};
