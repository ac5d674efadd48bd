//! What members see who come, go and come back; and what is seen of edited and recalled messages then.

use super::*;

/// Bob is removed and returns while Ann talks; in either mode.
fn coming_and_going(fanout: Fanout) -> Fixture {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann", "bob"]);
    fixture.pin("g", fanout);
    fixture.send("ann", "g", "3");
    fixture.send("ann", "g", "4");
    fixture.remove("g", "bob");
    fixture.send("ann", "g", "6");
    fixture.engine.persist().unwrap();
    fixture.send("ann", "g", "7");
    fixture.add("g", "bob");
    fixture.send("ann", "g", "9");
    fixture
}

#[test]
fn what_lies_between_two_intervals_is_not_seen() {
    for fanout in [Fanout::Write, Fanout::Read] {
        let fixture = coming_and_going(fanout);
        let expected =
            of("g", &[(1, "create"), (2, "settings"), (3, "3"), (4, "4"), (5, "remove bob"), (8, "add bob"), (9, "9")]);
        assert_eq!(fixture.whole("bob"), expected, "{fanout:?}");
        assert_eq!(seen(&fixture.catch_up("bob", Start::Beginning, limits(1, 0)).records), expected, "{fanout:?}");
        assert_eq!(fixture.history("bob", "g", HistoryRange::Newest, 0), [1, 2, 3, 4, 5, 8, 9]);
        assert_eq!(fixture.history("bob", "g", HistoryRange::Before(Seq(8)), 2), [4, 5]);
        assert_eq!(fixture.history("bob", "g", HistoryRange::After(Seq(4)), 2), [5, 8]);
        let view = &fixture.engine.conversations("bob", None, 0).unwrap().conversations[0];
        assert_eq!(view.ranges, [(Seq(1), Seq(5)), (Seq(8), Seq(9))]);
        assert_eq!(view.unread, 1, "in the last interval");
    }
}

#[test]
fn gaps_end_where_intervals_do() {
    for fanout in [Fanout::Write, Fanout::Read] {
        let mut fixture = coming_and_going(fanout);
        fixture.send("ann", "g", "10");
        let caught_up = fixture.catch_up("bob", Start::Beginning, limits(0, 1));
        let gaps: Vec<(u64, u64)> = caught_up.gaps.iter().map(|gap| (gap.from_seq.0, gap.to_seq.0)).collect();
        assert_eq!(gaps, [(3, 4), (9, 9)], "{fanout:?}");
        let messages = of("g", &[(1, "create"), (2, "settings"), (5, "remove bob"), (8, "add bob"), (10, "10")]);
        assert_eq!(seen(&caught_up.records), messages);
    }
}

#[test]
fn the_last_record_of_a_former_member_is_its_removal() {
    for fanout in [Fanout::Write, Fanout::Read] {
        let mut fixture = coming_and_going(fanout);
        let position = fixture.engine.visible();
        fixture.remove("g", "bob");
        fixture.send("ann", "g", "11");
        let start = Start::Checkpoint(Checkpoint { position, ..fixture.checkpoint() });
        let caught_up = fixture.catch_up("bob", start, WHOLE);
        assert_eq!(seen(&caught_up.records), of("g", &[(10, "remove bob")]), "{fanout:?}");
        assert_eq!(caught_up.end.to, fixture.engine.visible());
        let view = &fixture.engine.conversations("bob", None, 0).unwrap().conversations[0];
        assert_eq!((view.role, view.head), (None, Seq(10)));
        assert_eq!(seen(std::slice::from_ref(view.last.as_ref().unwrap())), of("g", &[(10, "remove bob")]));
    }
}

#[test]
fn a_reader_sees_the_newest_edit_that_it_may_read() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann", "bob"]);
    fixture.send("ann", "g", "first");
    fixture.edit("ann", "g", 2, "second");
    fixture.remove("g", "bob");
    fixture.edit("ann", "g", 2, "third");
    fixture.send("ann", "g", "unseen");
    fixture.engine.persist().unwrap();
    assert_eq!(fixture.whole("bob")[1..], of("g", &[(2, "second*"), (3, "edit 2 second"), (4, "remove bob")]));
    fixture.add("g", "bob");
    fixture.edit("ann", "g", 6, "of what he may not read");
    let bob = fixture.engine.history("bob", "g", HistoryRange::Newest, 0).unwrap();
    let expected = [(1, "create"), (2, "second*"), (3, "edit 2 second"), (4, "remove bob"), (7, "add bob")];
    assert_eq!(seen(&bob), of("g", &expected));
    assert_eq!(fixture.whole("bob"), of("g", &expected));
    let view = &fixture.engine.conversations("bob", None, 0).unwrap().conversations[0];
    assert_eq!(view.head, Seq(8), "an edit that he is not shown is readable, all the same");
    assert_eq!(view.last.as_ref().unwrap().seq, Seq(7));
    fixture.edit("ann", "g", 2, "fourth");
    assert_eq!(fixture.whole("bob")[1..3], of("g", &[(2, "fourth*"), (3, "edit 2 second")]));
    assert_eq!(fixture.whole("bob").last(), of("g", &[(9, "edit 2 fourth")]).last());
    fixture.recall("ann", "g", 2);
    let expected = [
        (1, "create"),
        (2, "recalled"),
        (3, "edit 2"),
        (4, "remove bob"),
        (7, "add bob"),
        (9, "edit 2"),
        (10, "recall 2"),
    ];
    assert_eq!(fixture.whole("bob"), of("g", &expected));
}

#[test]
fn what_came_before_is_read_while_a_member_if_the_settings_allow_it() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann"]);
    fixture.send("ann", "g", "2");
    fixture.add("g", "bob");
    assert_eq!(fixture.history("bob", "g", HistoryRange::Newest, 0), [3]);
    fixture.settings("g", Some(true), None);
    assert_eq!(fixture.history("bob", "g", HistoryRange::Newest, 0), [1, 2, 3, 4]);
    assert_eq!(fixture.whole("bob"), of("g", &[(3, "add bob"), (4, "settings")]), "sync goes by intervals");
    fixture.edit("ann", "g", 2, "two");
    assert_eq!(fixture.whole("bob").last(), of("g", &[(5, "edit 2 two")]).last(), "he may read its target");
    fixture.remove("g", "bob");
    assert_eq!(fixture.history("bob", "g", HistoryRange::Newest, 0), [3, 4, 6]);
}

#[test]
fn followers_of_a_channel_are_told_of_themselves() {
    for fanout in [Fanout::Write, Fanout::Read] {
        let mut fixture = Fixture::new();
        fixture.create(Kind::Channel, "c", &["ann", "bob"]);
        fixture.pin("c", fanout);
        let (caller, conversation) = (Caller::Service, "c".into());
        fixture.service(Command::Add { caller, conversation, members: names(&["cy", "dee"]) });
        let (caller, conversation) = (Caller::Service, "c".into());
        let role = highwater_proto::record::Role::Admin;
        fixture.service(Command::Role { caller, conversation, user: "ann".into(), role });
        fixture.send("ann", "c", "4");
        fixture.remove("c", "cy");
        fixture.send("ann", "c", "5");
        let seen_by_cy = fixture.whole("cy");
        let seqs: Vec<u64> = seen_by_cy.iter().map(|(_, seq, _)| *seq).collect();
        assert_eq!(seqs, [0, 3, 4, 0], "{fanout:?}: {seen_by_cy:?}");
        assert_eq!(seen_by_cy[0].2, "add cy");
        assert_eq!(seen_by_cy[3].2, "remove cy");
        assert_eq!(fixture.whole("bob").len(), 5, "{fanout:?}: create, settings, role and two messages");
    }
}
