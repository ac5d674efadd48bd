//! What a followed conversation without news adds to a sync: the slope over how many are followed.
//!
//! The reader receives one new direct message each time: a sync with nothing new anywhere looks no further than that.

use super::reading::now;
use crate::context::{Context, Failure};
use crate::report::{Report, Table};
use crate::store::{Bench, message, name, send};
use crate::sys;
use highwater_engine::Options;
use highwater_engine::command::Destination;
use highwater_engine::entry::SyncLimits;
use highwater_engine::proto::record::{Fanout, Kind};
use std::sync::Arc;

const MEMBERS: usize = 8;
/// Who sends the direct message, and is in none of the groups.
const STRANGER: usize = MEMBERS;

/// CPU time of one pull check, in µs.
pub(super) fn check_us(context: &Context, report: &mut Report) -> Result<f64, Failure> {
    let mut table = Table::new(
        "a sync that receives one direct message, by followed groups without news",
        &["followed", "CPU µs/sync"],
    );
    let mut points = Vec::new();
    for followed in context.pick(&[0, 20, 200, 1_000][..], &[0, 20, 200][..]) {
        let us = sync_us(context, *followed)?;
        table.row([(*followed).into(), us.into()]);
        points.push((*followed as f64, us));
    }
    report.table(table);
    // What is below the noise costs nothing, and not less.
    Ok(slope(&points).max(0.0))
}

fn sync_us(context: &Context, followed: usize) -> Result<f64, Failure> {
    let bench = Bench::open(context.scratch()?, Options::default(), MEMBERS + 1)?;
    let sessions = bench.sessions([0, STRANGER])?;
    for group in 0..followed {
        let conversation: Arc<str> = format!("g{group}").into();
        bench.group(Kind::Group, &conversation, &(0..MEMBERS).collect::<Vec<_>>())?;
        bench.pin(&conversation, Fanout::Read)?;
        // Something was said in each once: otherwise there would be nothing to follow.
        let said = send(sessions[0], group as u64 + 1, Destination::Conversation(conversation), vec![b'x'; 200]);
        bench.execute_all([said])?;
    }
    bench.execute_all([message(sessions[1], 1, 1)])?;
    bench.engine.persist()?;
    let (reader, start) = (name(1), now(&bench.engine, &name(1))?);
    bench.execute_all([message(sessions[1], 2, 1)])?;
    let rounds = context.pick(50_000, 10_000);
    let before = sys::thread_cpu();
    for _ in 0..rounds {
        let delta = bench.engine.sync(&reader, start, SyncLimits::default())?;
        if delta.records.len() != 1 {
            return Err(format!("{} records came in place of one", delta.records.len()).into());
        }
    }
    Ok((sys::thread_cpu() - before).as_secs_f64() * 1e6 / f64::from(rounds))
}

/// The slope of the line through these points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let above: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = points.iter().map(|(x, _)| (x - mean_x) * (x - mean_x)).sum();
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_followed_conversation_adds_is_found() {
        assert!((slope(&[(0.0, 2.0), (20.0, 3.0), (200.0, 12.0)]) - 0.05).abs() < 1e-9);
    }
}
