//! Power cuts: at every sync, during recovery, again and again.

use super::super::sim::Unsynced;
use super::*;

/// What a crash may leave of what was not synced.
const LEFT: [Unsynced; 6] = [
    Unsynced::Lost,
    Unsynced::Kept,
    Unsynced::Random(1),
    Unsynced::Random(2),
    Unsynced::Random(3),
    Unsynced::Random(4),
];

/// Appends, syncs and settles in a fixed order until something fails. Returns what was appended, and how much of it a
/// sync vouched for.
fn scripted(mut run: Run) -> (Vec<Record>, Position) {
    let mut vouched = run.writer.synced();
    for step in 0..60_u64 {
        let appended = run.append(1 + step % 4);
        let synced = match step % 5 {
            _ if appended.is_err() => appended,
            4 => Ok(()),
            2 if step % 3 == 0 => run.writer.settle(),
            _ => run.writer.sync(),
        };
        vouched = vouched.max(run.writer.synced());
        if synced.is_err() {
            break;
        }
    }
    (run.kill(), vouched)
}

/// Opens after a crash: everything vouched for is there, and it can go on.
fn check_reopened(disk: &SimDisk, known: Vec<Record>, vouched: Position, story: &str) -> Run {
    let mut run = Run::open(disk, SMALL, Position::ZERO, known).unwrap_or_else(|error| panic!("{story}: {error}"));
    assert!(run.last() >= vouched, "{story}: {} is left of {vouched}", run.last());
    run.append(2).unwrap();
    run.writer.sync().unwrap();
    run.check();
    run
}

#[test]
fn a_cut_at_every_sync_loses_nothing_that_was_synced() {
    let whole = SimDisk::new();
    let run = Run::fresh(&whole, SMALL);
    let opened = whole.syncs();
    scripted(run);
    let syncs = whole.syncs() - opened;
    assert!(syncs > 60, "{syncs}");
    for cut in 0..=syncs {
        for left in LEFT {
            let disk = SimDisk::new();
            let run = Run::fresh(&disk, SMALL);
            disk.cut_after(cut);
            let (known, vouched) = scripted(run);
            disk.crash_with(left);
            let run = check_reopened(&disk, known, vouched, &format!("cut after {cut}, {left:?}"));
            assert_eq!(run.opened.1, Epoch(2), "cut after {cut}");
        }
    }
}

#[test]
fn a_cut_while_the_log_is_made() {
    for cut in 0..12 {
        for left in LEFT {
            let disk = SimDisk::new();
            disk.cut_after(cut);
            let (known, vouched) = match Run::open(&disk, SMALL, Position::ZERO, Vec::new()) {
                Ok(run) => scripted(run),
                Err(error) => {
                    assert_eq!(error.code, Code::Io, "{error}");
                    (Vec::new(), Position::ZERO)
                }
            };
            disk.crash_with(left);
            check_reopened(&disk, known, vouched, &format!("cut after {cut}, {left:?}"));
        }
    }
}

/// The process is killed, so that the page cache shows more than the disk has; the power goes while that is recovered.
#[test]
fn a_cut_at_every_sync_of_a_recovery() {
    for appended in [0, 1, 5] {
        for cut in 0..8 {
            for left in LEFT {
                let story = format!("{appended} unsynced, cut after {cut}, {left:?}");
                let disk = SimDisk::new();
                let mut run = Run::fresh(&disk, SMALL);
                run.append(3).unwrap();
                run.writer.sync().unwrap();
                run.append(2).unwrap();
                run.writer.sync().unwrap();
                for _ in 0..appended {
                    run.append(1).unwrap();
                }
                let mut known = run.kill();
                let mut vouched = Position(5);
                disk.cut_after(cut);
                match Run::open(&disk, SMALL, Position::ZERO, known.clone()) {
                    // What an opened log shows is durable, and so is what came of it.
                    Ok(run) => (known, vouched) = scripted(run),
                    Err(error) => assert_eq!(error.code, Code::Io, "{story}: {error}"),
                }
                disk.crash_with(left);
                check_reopened(&disk, known, vouched, &story);
            }
        }
    }
}

#[test]
fn what_an_opened_log_shows_survives_a_cut_right_after() {
    for left in LEFT {
        let disk = SimDisk::new();
        let mut run = Run::fresh(&disk, SMALL);
        for _ in 0..9 {
            run.append(3).unwrap();
        }
        let known = run.kill();
        let run = Run::open(&disk, SMALL, Position::ZERO, known).unwrap();
        let shown = run.last();
        assert_eq!(shown, Position(27), "the page cache still had it all");
        let known = run.kill();
        disk.crash_with(left);
        check_reopened(&disk, known, shown, &format!("{left:?}"));
    }
}

#[test]
fn a_log_that_was_opened_is_not_taken_for_closed_after_a_cut() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, SMALL);
    run.append(1).unwrap();
    let known = run.close();
    // Readers may have seen, in the mode that syncs later, what the cut takes away.
    let mut run = Run::open(&disk, SMALL, Position::ZERO, known).unwrap();
    assert_eq!(run.opened, (Position(1), Epoch(1), false));
    run.append(1).unwrap();
    let known = run.kill();
    disk.crash();
    let run = Run::open(&disk, SMALL, Position::ZERO, known).unwrap();
    assert_eq!(run.opened, (Position(1), Epoch(2), true));
}

#[test]
fn crashes_in_a_row_with_all_kinds_of_ends() {
    for seed in 0..40_u64 {
        let disk = SimDisk::new();
        let (mut known, mut vouched, mut epoch) = (Vec::new(), Position::ZERO, 0);
        for round in 0..10_u64 {
            let story = format!("seed {seed}, round {round}");
            let mixed = (seed * 31 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
            let mut run = check_reopened(&disk, known, vouched, &story);
            assert!(run.opened.1.0 >= epoch && run.opened.1.0 <= epoch + 1, "{story}");
            epoch = run.opened.1.0;
            vouched = run.writer.synced();
            if mixed % 7 == 0 {
                known = run.close();
                continue;
            }
            if mixed % 3 == 0 {
                disk.cut_after(mixed % 40);
            } else if mixed % 3 == 1 {
                run.append(mixed % 5 + 1).unwrap();
            }
            (known, vouched) = scripted(run);
            match mixed % 4 {
                // Killed: the page cache stays as it is, unless the power went already.
                0 if mixed % 3 != 0 => {}
                1 => disk.crash(),
                _ => disk.crash_with(Unsynced::Random(mixed)),
            }
        }
    }
}

#[test]
fn a_failed_write_or_sync_ends_the_writer() {
    for fails_sync in [false, true] {
        let disk = SimDisk::new();
        let mut run = Run::fresh(&disk, SMALL);
        run.append(3).unwrap();
        run.writer.sync().unwrap();
        let failed = if fails_sync {
            run.append(2).unwrap();
            disk.fail_next_sync();
            run.writer.sync()
        } else {
            disk.fail_next_write();
            run.append(2)
        };
        assert_eq!(failed.unwrap_err().code, Code::Io);
        assert_eq!(run.writer.synced(), Position(3));
        let mut group = GroupBuilder::new(Position(if fails_sync { 6 } else { 4 }));
        group.push(&record(group.first(), 1));
        assert_eq!(run.writer.append(&group).unwrap_err().code, Code::Poisoned);
        assert_eq!(run.writer.sync().unwrap_err().code, Code::Poisoned);
        assert_eq!(run.writer.settle().unwrap_err().code, Code::Poisoned);
        let Run { writer, records, .. } = run;
        assert_eq!(writer.close().unwrap_err().code, Code::Poisoned);
        disk.crash();
        let run = Run::open(&disk, SMALL, Position::ZERO, records).unwrap();
        assert_eq!(run.opened, (Position(3), Epoch(2), true));
    }
}
