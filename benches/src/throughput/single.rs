//! One durable send with nothing else in flight, beside the floor under it: the same bytes, appended and synced by one
//! thread to a file whose space is reserved. Both take turns send by send, so that the disk's moods are shared.

use crate::context::{Context, Failure};
use crate::load::{Scene, Strategy, Target, bodies};
use crate::report::{Bound, Report, Table};
use crate::stats::Latencies;
use crate::store::Done;
use crate::sys;
use highwater_engine::options::Durability;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<(), Failure> {
    let bodies = bodies(super::BODY_BYTES, context.seed);
    let scene = Scene::direct(64, context.seed);
    let mut target = Target::open(context, Strategy::Write(Durability::Power), &scene, &bodies)?;
    // Bare appends are as large as what a send appends to the log, its frame included.
    let first = target.measure(1, 200, Instant::now() + context.budget / 12)?;
    let appended = (first.own_bytes.log / first.driven.count) as usize;
    let directory = context.scratch()?;
    let file = OpenOptions::new().create_new(true).write(true).open(directory.path().join("bare"))?;
    let count = context.pick(20_000, 2_000);
    sys::reserve(&file, (count * appended) as u64)?;
    file.sync_all()?;
    let bytes = bodies[0].iter().copied().cycle().take(appended).collect::<Vec<u8>>();
    let (mut sends, mut bare) = (Latencies::default(), Latencies::default());
    let until = Instant::now() + context.budget / 12;
    for number in 0..count {
        let began = Instant::now();
        file.write_all_at(&bytes, (number * appended) as u64)?;
        file.sync_data()?;
        bare.record(began.elapsed());

        let (answered, answer) = sync_channel(1);
        let done: Done = Box::new(move |is_ok| answered.send(is_ok).unwrap_or_default());
        let began = Instant::now();
        target.send(done)?;
        if !answer.recv()? {
            return Err("a send was refused".into());
        }
        sends.record(began.elapsed());
        if Instant::now() > until {
            break;
        }
    }
    let mut table = Table::new(
        "one durable direct send, nothing else in flight, 200 bytes",
        &["what", "n", "p50 µs", "p99 µs", "p999 µs"],
    );
    let bare_name = format!("bare append of {appended} bytes, and sync");
    for (what, latencies) in [(bare_name.as_str(), &bare), ("send", &sends)] {
        table.row([
            what.into(),
            latencies.count().into(),
            latencies.p50_us().into(),
            latencies.p99_us().into(),
            latencies.p999_us().into(),
        ]);
    }
    report.table(table);
    let above = sends.p50_us() - bare.p50_us();
    report.check("one durable send above one bare append + sync, p50, µs", above, Bound::AtMost(100.0));
    Ok(())
}
