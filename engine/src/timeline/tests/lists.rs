//! History, conversations, members and devices.

use super::*;

#[test]
fn history_is_read_in_both_directions_wherever_it_lies() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann"]);
    for seq in 2..=150 {
        fixture.send("ann", "g", &format!("{seq}"));
        if seq % 60 == 0 {
            fixture.engine.persist().unwrap();
        }
    }
    let all: Vec<u64> = (1..=150).collect();
    assert_eq!(fixture.history("ann", "g", HistoryRange::Newest, 0), all);
    for limit in [1, 2, 64, 65, 149] {
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        let mut range = HistoryRange::After(Seq(0));
        loop {
            let page = fixture.history("ann", "g", range, limit);
            let Some(last) = page.last() else { break };
            range = HistoryRange::After(Seq(*last));
            forward.extend(page);
        }
        let mut range = HistoryRange::Newest;
        loop {
            let mut page = fixture.history("ann", "g", range, limit);
            let Some(first) = page.first() else { break };
            range = HistoryRange::Before(Seq(*first));
            page.extend(backward);
            backward = page;
        }
        assert_eq!(forward, all, "pages of {limit}");
        assert_eq!(backward, all, "pages of {limit}");
    }
}

#[test]
fn what_may_not_be_seen_is_answered_like_what_does_not_exist() {
    let fixture = Fixture::new();
    fixture.group("secret", &["ann"]);
    fixture.group("other", &["bob"]);
    let errors = ["secret", "nothing"].map(|name| {
        let read = fixture.engine.history("bob", name, HistoryRange::Newest, 0).unwrap_err();
        let listed = fixture.engine.members(&Caller::User("bob".into()), name, None, 0).unwrap_err();
        assert_eq!(read, listed);
        assert_eq!(read.code, Code::NotFound);
        read.message.replace(name, "")
    });
    assert_eq!(errors[0], errors[1]);
    assert_eq!(code(fixture.engine.members(&Caller::Service, "nothing", None, 0)), Code::NotFound);
}

#[test]
fn conversations_come_by_what_was_last_seen_of_them() {
    let mut fixture = Fixture::new();
    for name in ["a", "b", "c", "d"] {
        fixture.group(name, &["ann", "bob"]);
    }
    fixture.send("bob", "b", "hello");
    fixture.send("bob", "a", "hello");
    fixture.remove("c", "ann");
    fixture.send("bob", "b", "hello again");
    fixture.send("bob", "c", "not for ann");
    for limit in [0, 1, 2, 3] {
        let (mut before, mut listed) = (None, Vec::new());
        loop {
            let page = fixture.engine.conversations("ann", before, limit).unwrap();
            assert_eq!(page.unread_total, 3);
            let view_of = |view: &crate::entry::ConversationView| {
                (view.conversation.to_string(), view.unread, view.last.as_ref().unwrap().seq.0)
            };
            listed.extend(page.conversations.iter().map(view_of));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let expected = [("b", 2, 3), ("c", 0, 2), ("a", 1, 2), ("d", 0, 1)];
        assert_eq!(listed, expected.map(|(name, unread, last)| (name.to_owned(), unread, last)), "pages of {limit}");
    }
}

#[test]
fn unread_counts_what_was_neither_read_nor_recalled_nor_sent_by_oneself() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann", "bob"]);
    let unread = |fixture: &Fixture| fixture.engine.conversations("ann", None, 0).unwrap().unread_total;
    for seq in 2..=6 {
        fixture.send("bob", "g", &format!("{seq}"));
    }
    assert_eq!(unread(&fixture), 5);
    let read = |through| Command::Read { user: "ann".into(), conversation: "g".into(), through: Seq(through) };
    fixture.service(read(3));
    assert_eq!(unread(&fixture), 3);
    fixture.recall("bob", "g", 5);
    fixture.recall("bob", "g", 2);
    assert_eq!(unread(&fixture), 2);
    fixture.send("ann", "g", "mine");
    assert_eq!(unread(&fixture), 0);
    fixture.send("bob", "g", "yours");
    assert_eq!(unread(&fixture), 1);
    fixture.service(Command::Mute { user: "ann".into(), conversation: "g".into(), muted: true });
    assert_eq!(unread(&fixture), 0);
}

#[test]
fn members_are_listed_to_those_who_may_know() {
    let fixture = Fixture::new();
    fixture.group("g", &["ann", "bob", "cy"]);
    fixture.remove("g", "cy");
    fixture.create(Kind::Channel, "c", &["ann", "bob", "cy"]);
    let role = highwater_proto::record::Role::Admin;
    let (caller, conversation, user) = (Caller::Service, "c".into(), "ann".into());
    fixture.service(Command::Role { caller, conversation, user, role });
    let list = |caller: Caller, conversation: &str, limit: usize| {
        let (mut after, mut listed) = (None, Vec::new());
        loop {
            let page = fixture.engine.members(&caller, conversation, after, limit)?;
            listed.extend(page.members.iter().map(|member| member.user.to_string()));
            after = page.next;
            if after.is_none() {
                return Ok((listed, page.count));
            }
        }
    };
    let user = |name: &str| Caller::User(name.into());
    let all = |names: &[&str], count: u64| Ok((names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), count));
    for limit in [0, 1, 2] {
        assert_eq!(list(user("ann"), "g", limit), all(&["ann", "bob"], 2));
        assert_eq!(list(Caller::Service, "g", limit), all(&["ann", "bob"], 2));
        assert_eq!(list(user("ann"), "c", limit), all(&["ann", "bob", "cy"], 3));
        assert_eq!(list(user("bob"), "c", limit), all(&["bob"], 3), "a follower sees itself and the count");
    }
    assert_eq!(code(list(user("cy"), "g", 0)), Code::NotAllowed, "a former member");
}

#[test]
fn registered_devices_are_listed_with_their_numbers() {
    let mut fixture = Fixture::new();
    fixture.group("g", &["ann"]);
    fixture.send("ann", "g", "2");
    fixture.send("ann", "g", "3");
    let devices = fixture.engine.devices("ann").unwrap();
    assert_eq!(devices.iter().map(|device| (&*device.device, device.client_seq)).collect::<Vec<_>>(), [("phone", 2)]);
    fixture.service(Command::Revoke { user: "ann".into(), device: "phone".into() });
    assert!(fixture.engine.devices("ann").unwrap().is_empty());
}
