//! Without faults.

use super::super::disk::RealDisk;
use super::super::{check, summary};
use super::*;

/// Writes groups of growing size with small segments, reading all the while; then closes and opens again and again.
fn check_disk(disk: Arc<dyn Disk>) {
    let mut known = Vec::new();
    for round in 0..4 {
        let mut run = Run::open_on(disk.clone(), SMALL, Position(known.len() as u64), known).unwrap();
        assert_eq!((run.opened.1, run.opened.2), (Epoch(1), false), "round {round}");
        for count in [1, 2, 3, 40, 5, 1, 1, 9] {
            run.append(count).unwrap();
            run.check();
            run.writer.sync().unwrap();
            assert_eq!(run.writer.synced(), run.last());
        }
        known = run.close();
    }
    let mut count = 0;
    let report = check(disk.as_ref(), Position(known.len() as u64), &mut |record| {
        assert_eq!(record, known[count]);
        count += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((report.damage.as_slice(), count), (&[][..], known.len()));
    assert_eq!((report.frames, report.records), (32, known.len() as u64));
    assert!(report.is_closed && !report.is_torn && report.sidecars_missing.is_empty());
    let brief = summary(disk.as_ref()).unwrap();
    let shape = |report: &super::super::check::Report| -> Vec<_> {
        report
            .segments
            .iter()
            .map(|segment| (segment.name.clone(), segment.first, segment.last, segment.bytes))
            .collect()
    };
    assert_eq!(shape(&brief), shape(&report));
    assert!(report.segments.len() > 4);
}

#[test]
fn written_and_read_in_memory() {
    check_disk(Arc::new(SimDisk::new()));
}

#[test]
fn written_and_read_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    check_disk(Arc::new(RealDisk::new(dir.path().join("a").join("log"))));
}

#[test]
fn a_directory_that_was_not_closed_goes_on_in_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path().to_owned()));
    let mut known = Vec::new();
    for epoch in 1..5 {
        let mut run = Run::open_on(disk.clone(), LARGE, Position::ZERO, known).unwrap();
        assert_eq!(run.opened.1, Epoch(epoch));
        run.append(3).unwrap();
        run.writer.sync().unwrap();
        run.append(2).unwrap();
        known = run.kill();
        assert_eq!(known.len(), epoch as usize * 5, "what was written outlives the process");
    }
}

#[test]
fn groups_that_do_not_fit_are_refused_without_harm() {
    let mut run = Run::fresh(&SimDisk::new(), LARGE);
    run.append(2).unwrap();
    for first in [Position(2), Position(4)] {
        let mut group = GroupBuilder::new(first);
        group.push(&record(first, 1));
        assert_eq!(run.writer.append(&group).unwrap_err().code, Code::InvalidArgument);
    }
    assert_eq!(run.writer.append(&GroupBuilder::new(Position(3))).unwrap_err().code, Code::InvalidArgument);
    run.append(1).unwrap();
    run.check();
}

#[test]
fn many_old_segments_are_read_through_their_sidecars() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, LogOptions { segment_bytes_max: 300, tail_bytes_max: 0 });
    for _ in 0..200 {
        run.append(2).unwrap();
        run.writer.sync().unwrap();
    }
    assert!(segments(&disk).len() > super::super::writer::FILES_MAX, "handles were closed meanwhile");
    run.check();
    let (options, known) = (run.options, run.close());
    for name in disk.list().unwrap().iter().filter(|name| name.ends_with(".idx")).step_by(2) {
        disk.lose(name);
    }
    for name in disk.list().unwrap().iter().filter(|name| name.ends_with(".idx")).step_by(2) {
        let mut bytes = disk.contents(name).unwrap();
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        disk.set_contents(name, &bytes);
    }
    let report = check(&disk, Position::ZERO, &mut |_| Ok(())).unwrap();
    assert!(report.damage.is_empty() && report.sidecars_missing.len() > 50, "{report:?}");
    Run::open(&disk, options, Position(known.len() as u64), known).unwrap();
}
