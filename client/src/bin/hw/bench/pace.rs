//! The clock of an open loop: a thread that says when messages are due, evenly spaced and by turns among the senders.
//!
//! A time is told when it has come, and stays what it is however late anybody gets to it: what a stalled server, or a
//! slow client, keeps waiting is measured from there. Tokio's timers count in milliseconds; a thread's sleep is finer.

use super::run::Run;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Starts the thread; it ends by itself with the sends. Gives each sender its times.
pub(super) fn start(run: &Arc<Run>, rate_per_second: f64) -> std::io::Result<Vec<UnboundedReceiver<u64>>> {
    // Bounded by the rate and the length of the run; 8 bytes each.
    let (tellers, times): (Vec<_>, Vec<_>) = run.plan.senders.iter().map(|_| unbounded_channel()).unzip();
    let run = Arc::clone(run);
    std::thread::Builder::new().name("pace".to_owned()).spawn(move || tell(&run, rate_per_second, &tellers))?;
    Ok(times)
}

fn tell(run: &Run, rate_per_second: f64, tellers: &[UnboundedSender<u64>]) {
    let begin_us = run.begin_us();
    for number in 0u64.. {
        let due_us = begin_us + due_after_us(number, rate_per_second);
        let due = run.meter.instant(due_us);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // What is due before the end is told, however late this thread wakes up.
            if due_us >= run.end_us() {
                return;
            }
            std::thread::sleep(left.min(std::time::Duration::from_millis(100)));
        }
        let teller = &tellers[number as usize % tellers.len()];
        if due_us >= run.end_us() || !run.take_one() || teller.send(due_us).is_err() {
            return;
        }
    }
}

/// How long after the first message the one with this number is due.
fn due_after_us(number: u64, rate_per_second: f64) -> u64 {
    (number as f64 * 1e6 / rate_per_second) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_evenly_spaced_and_do_not_drift() {
        assert_eq!([0, 1, 2, 3].map(|number| due_after_us(number, 4.0)), [0, 250_000, 500_000, 750_000]);
        assert_eq!(due_after_us(3_000_000, 3.0), 1_000_000_000_000);
    }
}
