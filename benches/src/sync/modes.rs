//! The same groups by mode of fan-out: what a sync costs their members on write and on read.
//!
//! Where the default threshold lies is a question of what one record may cost its group on write, against what each
//! look of a member costs on read; this is the second half. Groups are of a size at which both modes are usual.

use super::scenes::{self, Groups};
use super::{COLUMNS, cold, tiers};
use crate::context::{Context, Failure};
use crate::report::{Report, Table};
use highwater_engine::proto::record::Fanout;
use std::time::Duration;

const GROUPS: usize = 50;
const MEMBERS: usize = 200;

/// Missed records, and groups among which they are divided.
const CASES: [(&str, usize, usize); 4] = [
    ("50 records, one in each of 50 groups", 50, 50),
    ("50 records in 5 groups", 50, 5),
    ("500 records, 10 in each of 50 groups", 500, 50),
    ("nothing; something new elsewhere", 0, 5),
];

pub(super) fn run(context: &Context, report: &mut Report, slice: Duration) -> Result<(), Failure> {
    let columns: Vec<&str> = [COLUMNS[0], "mode"].into_iter().chain(COLUMNS[1..].iter().copied()).collect();
    let title = format!("the same groups by mode of fan-out ({GROUPS} groups of {MEMBERS} members, readers in all)");
    let mut table = Table::new(title, &columns);
    for (what, records, with_news) in CASES {
        for (mode, fanout) in [("write", Fanout::Write), ("read", Fanout::Read)] {
            let groups = Groups { count: GROUPS, size: MEMBERS, fanout, records, with_news };
            let missed = scenes::followed(context, groups)?;
            tiers(&mut table, &[what, mode], &missed, slice)?;
            // They share the groups' records, so that only the first one after an opening finds nothing in a cache.
            cold(&mut table, &[what, mode], missed, 1)?;
        }
    }
    report.table(table);
    Ok(())
}
