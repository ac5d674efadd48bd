//! Where fan-out on write and on read cost the same.
//!
//! A record in a conversation of n members costs, in CPU time,
//!
//! - on write: a send that appends to n inboxes, about `a + n H`;
//! - on read: a send, and one pull check `h` in every sync that a member makes until the next record.
//!
//! With `s` syncs of all members together per record, write is cheaper while `n H < s h`. How large s is depends on the
//! application: if each member syncs r times for every message that it writes itself, then s = r whatever n is, since both
//! grow with n alike; so the sizes cross at n = r h / H. The report states this for several r and recommends the one for
//! [`SYNCS_PER_MESSAGE`], rounded to one digit.

use super::grid::{Costs, members_axis};
use super::reading::Reading;
use crate::plot::{Axis, Plot};
use crate::report::{Report, Table, number};

/// Syncs of a member for each message that it writes to a large group, as the recommendation assumes: most members of
/// large groups read and hardly ever write.
const SYNCS_PER_MESSAGE: f64 = 100.0;

pub(super) fn run(costs: &Costs, reading: Reading, report: &mut Report) {
    let append_us = slope(&costs.write);
    let check_us = reading.pull_check_us;
    let crossing = |syncs: f64| syncs * check_us / append_us;
    let mut table = Table::new(
        format!(
            "where they cross: an append costs H = {} ns, a pull check h = {} ns",
            number(append_us * 1e3),
            number(check_us * 1e3)
        ),
        &["syncs of a member per message of its own", "write is cheaper up to so many members"],
    );
    let mut plot = Plot::new(
        "crossing",
        "CPU per record, reading included, 200 bytes",
        members_axis(),
        Axis::logarithmic("µs per record"),
    );
    plot.line("write", costs.write.iter().map(|(members, us)| (*members as f64, *us)));
    for syncs in [10.0, 100.0, 1_000.0, 10_000.0] {
        table.row([syncs.into(), crossing(syncs).into()]);
        let with_pulls = costs.read.iter().map(|(members, us)| (*members as f64, us + syncs * check_us));
        plot.line(format!("read, {} syncs per record", number(syncs)), with_pulls);
    }
    report.table(table);
    report.plot(plot);
    report.note(format!(
        "Recommended threshold of fan-out at {SYNCS_PER_MESSAGE} syncs per message: about {} members. Delivering a \
         record costs {} µs from an inbox and {} µs from an outbox, which both pay alike.",
        number(one_digit(crossing(SYNCS_PER_MESSAGE))),
        number(reading.record_write_us),
        number(reading.record_read_us),
    ));
}

/// Cost of one more member, by least squares through the sizes from 50 on, where it is not lost in the rest.
fn slope(costs: &[(usize, f64)]) -> f64 {
    let points: Vec<(f64, f64)> = costs.iter().filter(|(n, _)| *n >= 50).map(|(n, us)| (*n as f64, *us)).collect();
    // Relative errors count alike: each point is weighted by the inverse square of its size.
    let weight = |n: f64| 1.0 / (n * n);
    let total: f64 = points.iter().map(|(n, _)| weight(*n)).sum();
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(|p| weight(p.0) * value(p)).sum::<f64>() / total;
    let (mean_n, mean_us) = (mean(|p| p.0), mean(|p| p.1));
    let above: f64 = points.iter().map(|(n, us)| weight(*n) * (n - mean_n) * (us - mean_us)).sum();
    let below: f64 = points.iter().map(|(n, _)| weight(*n) * (n - mean_n) * (n - mean_n)).sum();
    above / below
}

fn one_digit(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1.0).log10().floor());
    (value / power).round() * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_one_more_member_is_found() {
        let costs: Vec<(usize, f64)> = [2, 50, 200, 1_000, 50_000].map(|n| (n, 3.0 + 0.05 * n as f64)).into();
        assert!((slope(&costs) - 0.05).abs() < 1e-6, "{}", slope(&costs));
        assert_eq!((one_digit(1_234.0), one_digit(0.2), one_digit(86.0)), (1_000.0, 0.0, 90.0));
    }
}
