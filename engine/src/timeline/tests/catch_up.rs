//! Catching up: pages, caps, resets.

use super::*;
use crate::entry::ResetReason;
use highwater_proto::id::{Epoch, Incarnation};

/// Two groups, one of them switched to read mode and back, on disk, on its way there, and in memory.
pub(super) fn mixed() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.group("small", &["ann", "bob"]);
    fixture.group("large", &["ann", "bob", "cy"]);
    for round in 0..6 {
        match round {
            1 => fixture.pin("large", Fanout::Read),
            2 | 4 => fixture.engine.persist().unwrap(),
            3 => fixture.pin("large", Fanout::Write),
            5 => fixture.pin("large", Fanout::Read),
            _ => {}
        }
        fixture.send("ann", "small", &format!("small {round}"));
        fixture.mention("bob", "large", &format!("large {round}"), &["ann"]);
        fixture.send("ann", "large", &format!("large, too {round}"));
    }
    fixture
}

#[test]
fn however_it_is_cut_it_is_the_same() {
    let fixture = mixed();
    let whole = fixture.whole("ann");
    let expected = 6 * 3 + 2 + 3;
    assert_eq!(whole.len(), expected, "messages, two creations and three settings: {whole:?}");
    for records_max in [1, 2, 3, 7, expected - 1, expected] {
        let caught_up = fixture.catch_up("ann", Start::Beginning, limits(records_max, 0));
        assert_eq!(seen(&caught_up.records), whole, "pages of {records_max}");
        assert!(caught_up.pages >= expected.div_ceil(records_max));
        assert_eq!(caught_up.end.to, fixture.engine.visible());
    }
    // From every position on, it is the rest.
    let all = fixture.catch_up("ann", Start::Beginning, WHOLE).records;
    let checkpoint = fixture.checkpoint();
    for position in 0..=fixture.engine.visible().0 {
        let start = Start::Checkpoint(Checkpoint { position: Position(position), ..checkpoint });
        let rest: Vec<Entry> = all.iter().filter(|entry| entry.position.0 > position).cloned().collect();
        assert_eq!(fixture.catch_up("ann", start, limits(2, 0)).records, rest, "from {position}");
    }
}

#[test]
fn read_and_write_mode_give_the_same() {
    let fixture = mixed();
    let large = |user: &str| -> Seen {
        fixture.whole(user).into_iter().filter(|(conversation, ..)| conversation == "large").collect()
    };
    assert_eq!(large("ann"), large("cy"));
    assert_eq!(large("ann").iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>(), (1..=16).collect::<Vec<_>>());
}

#[test]
fn a_record_larger_than_the_limit_has_a_page_of_its_own() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann"]);
    for text in ["aaaaaaaaaa", "b", "c", "dddddddddd"] {
        fixture.send("ann", "g", text);
    }
    let asked = SyncLimits { bytes_max: 5, ..WHOLE };
    let mut pages = Vec::new();
    let mut page = fixture.engine.sync("ann", Start::Beginning, asked).unwrap();
    loop {
        pages.push(page.records.iter().map(|entry| entry.seq.0).collect::<Vec<_>>());
        if page.caught_up {
            break;
        }
        page = fixture.engine.sync_next("ann", page.next, asked).unwrap();
    }
    // The creation lists a name of three bytes.
    assert_eq!(pages, [vec![1], vec![2], vec![3, 4], vec![5]]);
}

#[test]
fn the_cap_leaves_out_older_messages_and_nothing_else() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann", "bob"]);
    for seq in 2..=9 {
        fixture.send("bob", "g", &format!("{seq}"));
    }
    fixture.edit("bob", "g", 3, "three");
    fixture.recall("bob", "g", 8);
    fixture.send("bob", "g", "12");
    let expected = of(
        "g",
        &[(1, "create"), (7, "7"), (8, "recalled"), (9, "9"), (10, "edit 3 three"), (11, "recall 8"), (12, "12")],
    );
    for records_max in [0, 1, 2, 5] {
        let caught_up = fixture.catch_up("ann", Start::Beginning, limits(records_max, 4));
        assert_eq!(seen(&caught_up.records), expected, "pages of {records_max}");
        assert_gaps(&caught_up.gaps, &[2, 3, 4, 5, 6]);
    }
    for cap in [9, 10] {
        assert!(
            fixture.catch_up("ann", Start::Beginning, limits(0, cap)).gaps.is_empty(),
            "exactly the cap is no more"
        );
    }
}

/// The gaps hold these messages, each once, and no others between.
fn assert_gaps(gaps: &[Gap], messages: &[u64]) {
    let left_out: Vec<u64> = gaps.iter().flat_map(|gap| gap.from_seq.0..=gap.to_seq.0).collect();
    assert_eq!(left_out, messages, "{gaps:?}");
}

#[test]
fn what_is_sent_between_pages_does_not_move_the_cap() {
    for persist in [false, true] {
        let mut fixture = Fixture::new();
        fixture.group("g", &["ann", "bob"]);
        fixture.pin("g", if persist { Fanout::Read } else { Fanout::Write });
        for seq in 3..=12 {
            fixture.send("bob", "g", &format!("{seq}"));
        }
        let first = fixture.engine.sync("ann", Start::Beginning, limits(1, 4)).unwrap();
        let through = fixture.engine.visible();
        for seq in 13..=20 {
            fixture.send("bob", "g", &format!("{seq}"));
        }
        if persist {
            fixture.engine.persist().unwrap();
        }
        let mut page = first;
        let (mut messages, mut gaps) = (Vec::new(), Vec::new());
        loop {
            messages.extend(page.records.iter().map(|entry| entry.seq.0).filter(|seq| *seq > 2));
            gaps.append(&mut page.gaps);
            assert!(!page.caught_up, "there is more beyond the first catch-up's end");
            if page.to == through {
                break;
            }
            page = fixture.engine.sync_next("ann", page.next, limits(1, 4)).unwrap();
        }
        assert_eq!(messages, [9, 10, 11, 12], "persisted between: {persist}");
        assert_gaps(&gaps, &[3, 4, 5, 6, 7, 8]);
        // The same cursor goes on with what is new, under the same cap.
        let page = fixture.engine.sync_next("ann", page.next, limits(0, 4)).unwrap();
        assert_eq!(page.records.iter().map(|entry| entry.seq.0).collect::<Vec<_>>(), [17, 18, 19, 20]);
        assert_gaps(&page.gaps, &[13, 14, 15, 16]);
        assert!(page.caught_up);
    }
}

#[test]
fn a_long_stretch_that_is_left_out_does_not_pin_the_reader() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann", "bob"]);
    for seq in 2..=200 {
        fixture.send("bob", "g", &format!("{seq}"));
    }
    let caught_up = fixture.catch_up("ann", Start::Beginning, limits(1, 1));
    assert_eq!(seen(&caught_up.records), of("g", &[(1, "create"), (200, "200")]));
    assert_gaps(&caught_up.gaps, &(2..=199).collect::<Vec<_>>());
    assert!(caught_up.pages > 5, "each page looks at a bounded number of positions");
}

#[test]
fn own_read_marks_travel_and_no_others() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann", "bob"]);
    fixture.send("bob", "g", "2");
    for user in ["ann", "bob"] {
        fixture.send(user, "g", "more");
    }
    let (user, conversation) = ("ann".into(), "g".into());
    fixture.service(Command::Read { user, conversation, through: Seq(4) });
    let (user, conversation) = ("ann".into(), "g".into());
    fixture.service(Command::Mute { user, conversation, muted: true });
    assert_eq!(fixture.whole("ann").last(), of("g", &[(0, "read 4")]).last());
    assert_eq!(fixture.whole("bob").last(), of("g", &[(4, "more")]).last());
}

#[test]
fn a_checkpoint_of_another_history_is_reset() {
    let mut fixture = mixed();
    let checkpoint = fixture.checkpoint();
    let begin = |checkpoint| fixture.engine.sync("ann", Start::Checkpoint(checkpoint), WHOLE).unwrap().reset;
    assert_eq!(begin(checkpoint), None);
    assert_eq!(begin(Checkpoint { incarnation: Incarnation([7; 16]), ..checkpoint }), Some(ResetReason::Incarnation));
    assert_eq!(begin(Checkpoint { epoch: Epoch(9), ..checkpoint }), Some(ResetReason::Epoch));
    let beyond = Checkpoint { position: checkpoint.position.next(), ..checkpoint };
    assert_eq!(begin(beyond), Some(ResetReason::Epoch));
    fixture.send("ann", "small", "one more");
    assert_eq!(fixture.engine.sync("ann", Start::Checkpoint(beyond), WHOLE).unwrap().reset, None);
    assert_eq!(code(fixture.engine.sync("nobody", Start::Beginning, WHOLE)), Code::NotFound);
}

#[test]
fn a_snapshot_comes_in_pages_and_goes_on_where_it_began() {
    let mut fixture = mixed();
    fixture.group("third", &["ann"]);
    let mut page = fixture.engine.sync("ann", Start::Snapshot, limits(1, 0)).unwrap();
    let through = page.to;
    let mut names = Vec::new();
    loop {
        assert_eq!((page.reset, page.to), (Some(ResetReason::Requested), through));
        assert!(page.records.is_empty());
        names.extend(page.conversations.iter().map(|view| view.conversation.to_string()));
        if page.checkpoint.is_some() {
            break;
        }
        assert!(!page.caught_up);
        fixture.send("bob", "small", &format!("meanwhile {}", names.len()));
        page = fixture.engine.sync_next("ann", page.next, limits(1, 0)).unwrap();
    }
    assert_eq!(names, ["small", "large", "third"]);
    assert_eq!(page.checkpoint.unwrap().position, through);
    assert!(!page.caught_up);
    let first = fixture.engine.sync_next("ann", page.next, WHOLE).unwrap();
    assert_eq!((first.reset, first.from), (None, through));
    let rest = fixture.follow("ann", first, WHOLE);
    assert_eq!(seen(&rest.records), of("small", &[(8, "meanwhile 1"), (9, "meanwhile 2")]));
}
