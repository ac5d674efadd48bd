//! The list of a user's conversations: 25 and 500 of them, of a user that has 600.

use crate::context::{Context, Failure};
use crate::report::{Report, Table};
use crate::stats::Latencies;
use crate::store::{Bench, message, name};
use std::time::{Duration, Instant};

const CONVERSATIONS: usize = 600;
const READERS: usize = 16;

pub(super) fn run(context: &Context, report: &mut Report, slice: Duration) -> Result<(), Failure> {
    let bench = Bench::open(context.scratch()?, super::scenes::options(), READERS + CONVERSATIONS)?;
    let sessions = bench.sessions(READERS..READERS + CONVERSATIONS)?;
    let mut commands = Vec::new();
    for number in 1..=3 {
        for session in &sessions {
            for reader in 0..READERS as u64 {
                let client_seq = (number - 1) * READERS as u64 + reader + 1;
                commands.push(message(*session, client_seq, reader as usize));
            }
        }
    }
    bench.execute_all(commands)?;
    let mut table = Table::new(
        format!("a page of a user's {CONVERSATIONS} conversations, with unread counts and last records"),
        &["page", "tier", "lists", "p50 µs", "p99 µs", "p50 µs/conversation"],
    );
    for tier in ["hot", "warm"] {
        if tier == "warm" {
            bench.engine.persist()?;
        }
        for page in [25, 500] {
            let mut latencies = Latencies::default();
            let until = Instant::now() + slice / 2;
            while latencies.count() < 3 || Instant::now() < until {
                for reader in 0..READERS {
                    let user = name(reader);
                    let began = Instant::now();
                    let listed = bench.engine.conversations(&user, None, page)?;
                    latencies.record(began.elapsed());
                    if listed.conversations.len() != page {
                        return Err(format!("{} conversations came", listed.conversations.len()).into());
                    }
                }
            }
            table.row([
                page.into(),
                tier.into(),
                latencies.count().into(),
                latencies.p50_us().into(),
                latencies.p99_us().into(),
                (latencies.p50_us() / page as f64).into(),
            ]);
        }
    }
    report.table(table);
    Ok(())
}
