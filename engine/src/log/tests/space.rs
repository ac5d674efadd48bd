//! A full disk: noticed before positions are assigned, and over as soon as there is room.

use super::*;

#[test]
fn refused_space_ends_by_itself() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, SMALL);
    for _ in 0..10 {
        run.append(4).unwrap();
        run.writer.sync().unwrap();
    }
    disk.set_capacity(Some(disk.used()));
    let mut appended = 0;
    let refused = loop {
        let before = run.records.len();
        match run.append(4) {
            Ok(()) => appended += 1,
            Err(error) => {
                assert_eq!(run.records.len(), before, "it is refused before anything was assigned");
                break error;
            }
        }
        assert!(appended < 100);
    };
    assert_eq!(refused.code, Code::ReadOnly);
    assert_eq!(run.append(4).unwrap_err().code, Code::ReadOnly);
    run.writer.sync().unwrap();
    run.check();
    disk.set_capacity(None);
    for _ in 0..10 {
        run.append(4).unwrap();
        run.writer.sync().unwrap();
    }
    run.check();
    let known = run.close();
    Run::open(&disk, SMALL, Position(known.len() as u64), known).unwrap();
}

/// What was reserved is there although the disk is full by the time the groups are written.
#[test]
fn groups_under_way_keep_their_room() {
    for count in 1..14_u64 {
        let disk = SimDisk::new();
        let mut run = Run::fresh(&disk, SMALL);
        let mut groups = Vec::new();
        let mut next = Position(1);
        for size in 1..=count {
            let mut group = GroupBuilder::new(next);
            for _ in 0..size {
                let mut alone = GroupBuilder::new(group.last().next());
                alone.push(&record(alone.first(), 1));
                // A bound, far above what it takes.
                run.space.reserve(alone.payload().len() as u64 + 100).unwrap();
                group.push(&record(alone.first(), 1));
            }
            run.space.handed_over(&group);
            next = group.last().next();
            groups.push(group);
        }
        // Room for the small files only: the fence, and sidecars, which may be missing.
        disk.set_capacity(Some(disk.used() + 64));
        for group in &groups {
            run.writer.append(group).unwrap();
        }
        run.writer.sync().unwrap();
        run.records = (1..next.0).map(|position| record(Position(position), 1)).collect();
        run.check();
    }
}

#[test]
fn reserving_more_than_is_used_takes_no_more_space() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, LogOptions { segment_bytes_max: 64 << 20, tail_bytes_max: 0 });
    for _ in 0..2_000 {
        run.space.reserve(100_000).unwrap();
        run.append(1).unwrap();
    }
    assert!(disk.used() <= 8 << 20, "{}", disk.used());
}

/// Groups of answers alone go the same way, and are never written.
#[test]
fn groups_without_records_keep_no_room() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, LogOptions { segment_bytes_max: 64 << 20, tail_bytes_max: 0 });
    for _ in 0..1_000_000 {
        run.space.handed_over(&GroupBuilder::new(Position(1)));
    }
    run.append(1).unwrap();
    assert!(disk.used() <= 8 << 20, "{}", disk.used());
}

#[test]
fn a_full_disk_leaves_the_old_fence_and_ends_nothing() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, LARGE);
    run.append(2).unwrap();
    run.writer.settle().unwrap();
    let fence = disk.contents("fence").unwrap();
    run.append(2).unwrap();
    disk.set_capacity(Some(disk.used()));
    run.writer.settle().unwrap();
    assert_eq!((run.writer.synced(), disk.contents("fence").unwrap()), (Position(4), fence.clone()));
    disk.set_capacity(None);
    run.writer.settle().unwrap();
    assert_ne!(disk.contents("fence").unwrap(), fence);
    run.append(1).unwrap();
    run.check();
}
