//! Bytes that changed or went missing: found and named where they were durable, passed over where they never were.

use super::super::check;
use super::*;
use highwater_proto::frame::{FRAME_HEADER_BYTES, FrameHeader};

/// Three frames of which the fence knows two.
fn three_frames(disk: &SimDisk) -> (String, Vec<usize>, Vec<Record>) {
    let mut run = Run::fresh(disk, LARGE);
    let name = segments(disk).pop().unwrap();
    let mut ends = Vec::new();
    for count in [3, 2, 2] {
        run.append(count).unwrap();
        ends.push(run.writer.segment_end() as usize);
        if ends.len() < 3 {
            run.writer.settle().unwrap();
        }
    }
    run.writer.sync().unwrap();
    (name, ends, run.kill())
}

#[test]
fn a_tail_torn_at_every_byte_ends_the_log_before_it() {
    let disk = SimDisk::new();
    let (name, ends, known) = three_frames(&disk);
    let bytes = disk.contents(&name).unwrap();
    for cut in ends[1]..=ends[2] {
        for zeroed in [false, true] {
            let torn = copy(&disk);
            let mut left = bytes[..cut].to_vec();
            left.resize(if zeroed { bytes.len() } else { cut }, 0);
            torn.set_contents(&name, &left);
            let run = Run::open(&torn, LARGE, Position::ZERO, known.clone()).unwrap();
            // A last byte that is zero by itself is not missed.
            let whole = bytes[cut..ends[2]].iter().all(|byte| *byte == 0) && (zeroed || cut == ends[2]);
            assert_eq!(run.last(), Position(if whole { 7 } else { 5 }), "cut at {cut}");
            assert_eq!((run.opened.1, run.opened.2), (Epoch(2), true));
        }
    }
}

#[test]
fn a_flipped_bit_in_what_was_durable_is_found_and_named() {
    let disk = SimDisk::new();
    let (name, ends, known) = three_frames(&disk);
    for byte in 0..ends[2] {
        let flipped = copy(&disk);
        let mut bytes = flipped.contents(&name).unwrap();
        bytes[byte] ^= 1 << (byte % 8);
        flipped.set_contents(&name, &bytes);
        if byte < ends[1] {
            let offset = [36, ends[0]].into_iter().rfind(|begin| *begin <= byte).unwrap_or(0);
            let position = if offset == ends[0] { 4 } else { 1 };
            let place = format!("{name}, offset {offset}, position {position}");
            expect_corrupt(&flipped, Position::ZERO, &[&place]);
            // What is not opened is not changed either.
            assert_eq!(flipped.contents(&name).unwrap(), bytes);
        } else {
            // Nothing says that the last frame was durable, unless the index does.
            expect_corrupt(
                &flipped,
                Position(7),
                &[&name, &format!("offset {}, position 6", ends[1]), "up to position 7"],
            );
            let run = Run::open(&flipped, LARGE, Position(5), known.clone()).unwrap();
            assert_eq!(run.last(), Position(5), "byte {byte}");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_frame_of_a_closed_log_is_found() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, LARGE);
    run.append(4).unwrap();
    let end = run.writer.segment_end() as usize;
    run.close();
    let name = segments(&disk).pop().unwrap();
    for byte in 0..end {
        let flipped = copy(&disk);
        let mut bytes = flipped.contents(&name).unwrap();
        bytes[byte] ^= 0x10;
        flipped.set_contents(&name, &bytes);
        expect_corrupt(&flipped, Position::ZERO, &[&name, "position 1"]);
        let report = check(&flipped, Position::ZERO, &mut |_| Ok(())).unwrap();
        assert_eq!(report.damage.len(), 1, "byte {byte}");
    }
}

#[test]
fn a_later_frame_betrays_damage_that_fence_and_index_do_not_know() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, LARGE);
    run.append(1).unwrap();
    let begin = run.writer.segment_end() as usize;
    run.writer.sync().unwrap();
    run.append(2).unwrap();
    run.writer.sync().unwrap();
    run.append(1).unwrap();
    let known = run.kill();
    let name = segments(&disk).pop().unwrap();
    let bytes = disk.contents(&name).unwrap();
    let mut flipped = bytes.clone();
    flipped[begin + FRAME_HEADER_BYTES + 3] ^= 1;
    disk.set_contents(&name, &flipped);
    expect_corrupt(&disk, Position::ZERO, &[&format!("{name}, offset {begin}, position 2"), "a later frame"]);
    // The whole frame zeroed.
    let mut zeroed = bytes.clone();
    zeroed[begin..begin + 60].fill(0);
    disk.set_contents(&name, &zeroed);
    expect_corrupt(&disk, Position::ZERO, &[&format!("{name}, offset {begin}, position 2"), "a later frame"]);
    disk.set_contents(&name, &bytes);
    assert_eq!(Run::open(&disk, LARGE, Position::ZERO, known).unwrap().last(), Position(4));
}

#[test]
fn a_frame_in_a_body_is_not_taken_for_a_later_frame() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, LARGE);
    run.append(1).unwrap();
    run.writer.sync().unwrap();
    let begin = run.writer.segment_end() as usize;
    let forged = FrameHeader::new(Position(9), 1, b"x", Epoch(1), Position(8)).encode(0);
    let mut evil = record(Position(2), 1);
    evil.fact = Fact::Message(Message { body: forged.to_vec().into(), ..Message::default() });
    let mut group = GroupBuilder::new(Position(2));
    group.push(&evil);
    run.writer.append(&group).unwrap();
    let known = run.kill();
    let name = segments(&disk).pop().unwrap();
    let mut bytes = disk.contents(&name).unwrap();
    bytes[begin] ^= 1;
    disk.set_contents(&name, &bytes);
    assert_eq!(Run::open(&disk, LARGE, Position::ZERO, known).unwrap().last(), Position(1));
}

/// A closed log of several segments.
fn several_segments(disk: &SimDisk) -> Vec<Record> {
    let mut run = Run::fresh(disk, SMALL);
    for _ in 0..40 {
        run.append(3).unwrap();
        run.writer.sync().unwrap();
    }
    run.close()
}

#[test]
fn a_missing_segment_is_named() {
    let disk = SimDisk::new();
    several_segments(&disk);
    let names = segments(&disk);
    assert!(names.len() > 4);
    for (index, name) in names.iter().enumerate() {
        let without = copy(&disk);
        without.lose(name);
        let before = names.get(index.wrapping_sub(1)).unwrap_or(name);
        expect_corrupt(&without, Position::ZERO, &[before]);
        assert_eq!(check(&without, Position::ZERO, &mut |_| Ok(())).unwrap().damage.len(), 1);
    }
    for name in &names {
        disk.lose(name);
    }
    expect_corrupt(&disk, Position::ZERO, &[&names[0], "all segments are missing"]);
    disk.lose("fence");
    expect_corrupt(&disk, Position(1), &[&names[0], "up to position 1"]);
}

#[test]
fn damage_in_the_middle_is_found_by_opening_without_sidecars_and_by_reading_with_them() {
    let disk = SimDisk::new();
    let known = several_segments(&disk);
    let name = &segments(&disk)[1];
    let first: u64 = name.split('-').next().unwrap().parse().unwrap();
    let mut bytes = disk.contents(name).unwrap();
    // The last byte of the first record: part of a body, so that the record is damaged and nothing else.
    bytes[36 + FRAME_HEADER_BYTES + 12] ^= 0x40;
    disk.set_contents(name, &bytes);
    let place = format!("{name}, offset {}, position {first}", 36 + FRAME_HEADER_BYTES);
    let opened = open(Arc::new(disk.clone()), SMALL, Position(known.len() as u64)).unwrap();
    let error = opened.reader.read(Position(first)).unwrap_err();
    assert_eq!(error.code, Code::Corrupt);
    assert!(error.message.contains(&place), "{error}");
    let others = [Position(first - 1), Position(first + 1)];
    let found = opened.reader.read_many(&others).unwrap();
    assert!(found.iter().map(|record| &**record).eq([&known[first as usize - 2], &known[first as usize]]));
    let replayed = opened.reader.replay(Position::ZERO, crate::log::Bodies::Read, &mut |_| Ok(())).unwrap_err();
    assert_eq!(replayed.code, Code::Corrupt);
    opened.writer.close().unwrap();
    let report = check(&disk, Position::ZERO, &mut |_| Ok(())).unwrap();
    assert!(report.damage[0].message.contains(&format!("position {first}")), "{:?}", report.damage);
    disk.lose(&name.replace(".seg", ".idx"));
    expect_corrupt(&disk, Position::ZERO, &[&format!("{name}, offset 36, position {first}")]);
}

#[test]
fn a_log_shorter_than_the_index_names_both() {
    let disk = SimDisk::new();
    let known = several_segments(&disk);
    let last = known.len() as u64;
    expect_corrupt(
        &disk,
        Position(last + 1),
        &[&format!("ends at position {last}"), &format!("position {}", last + 1)],
    );
    Run::open(&disk, SMALL, Position(last), known).unwrap();
}

#[test]
fn a_damaged_fence_is_named_and_a_missing_one_claims_nothing() {
    let disk = SimDisk::new();
    let known = several_segments(&disk);
    let fence = disk.contents("fence").unwrap();
    for byte in 0..fence.len() {
        let mut flipped = fence.clone();
        flipped[byte] ^= 2;
        disk.set_contents("fence", &flipped);
        expect_corrupt(&disk, Position::ZERO, &["fence"]);
    }
    disk.set_contents("fence", &fence[..fence.len() - 1]);
    expect_corrupt(&disk, Position::ZERO, &["fence"]);
    disk.lose("fence");
    let run = Run::open(&disk, SMALL, Position::ZERO, known.clone()).unwrap();
    assert_eq!((run.last(), run.opened.2), (Position(known.len() as u64), true));
}

#[test]
fn segments_of_an_older_epoch_are_ignored_above_a_newer_one() {
    let disk = SimDisk::new();
    let (old, ends, known) = three_frames(&disk);
    let mut run = Run::open(&disk, LARGE, Position::ZERO, known).unwrap();
    assert_eq!((run.last(), run.opened.1), (Position(7), Epoch(2)));
    run.append(2).unwrap();
    let known = run.close();
    assert_eq!(segments(&disk).len(), 2);
    disk.lose(&old.replace(".seg", ".idx"));
    // The old copy of what was recovered, spoiled.
    let bytes = disk.contents(&old).unwrap();
    let mut spoiled = bytes.clone();
    spoiled[ends[1] + 50] ^= 1;
    disk.set_contents(&old, &spoiled);
    let run = Run::open(&disk, LARGE, Position(9), known).unwrap();
    assert_eq!((run.last(), run.opened.1, run.opened.2), (Position(9), Epoch(2), false));
    run.close();
    // Below the newer epoch, damage stays damage.
    let mut spoiled = bytes;
    spoiled[ends[0] + 50] ^= 1;
    disk.set_contents(&old, &spoiled);
    disk.lose(&old.replace(".seg", ".idx"));
    expect_corrupt(&disk, Position::ZERO, &[&format!("{old}, offset {}, position 4", ends[0])]);
}

#[test]
fn bytes_behind_a_closed_end_are_passed_over_in_a_new_epoch() {
    let disk = SimDisk::new();
    let mut run = Run::fresh(&disk, LARGE);
    run.append(2).unwrap();
    let end = run.writer.segment_end() as usize;
    let known = run.close();
    let name = segments(&disk).pop().unwrap();
    let mut bytes = disk.contents(&name).unwrap();
    bytes[end + 1_000] = 1;
    disk.set_contents(&name, &bytes);
    let run = Run::open(&disk, LARGE, Position(2), known).unwrap();
    assert_eq!(run.opened, (Position(2), Epoch(2), true));
}

#[test]
fn the_loss_of_a_whole_epoch_is_named_although_an_older_one_has_copies() {
    let disk = SimDisk::new();
    let (_, _, known) = three_frames(&disk);
    Run::open(&disk, LARGE, Position::ZERO, known).unwrap();
    let newest = segments(&disk).pop().unwrap();
    disk.lose(&newest);
    expect_corrupt(&disk, Position::ZERO, &["fence", "epoch 2"]);
}
