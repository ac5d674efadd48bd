//! Who may do what, over the wire. The whole matrix stands in the engine's tests; here is what a stranger can learn.

use crate::fixture::{Server, soon};
use highwater_client::{
    Change, Client, Code, Error, Kind, Message, NewConversation, Page, Role, SettingsChange, SubscribeOptions,
};

/// What came of every call about a conversation, in words.
async fn every_call(client: &Client, conversation: &str) -> Vec<(&'static str, Result<(), Error>)> {
    let done = |change: Result<Change, Error>| change.map(|_| ());
    let rename = SettingsChange { history: Some(true), ..Default::default() };
    let message = Message::to_conversation(conversation, "x");
    vec![
        ("send", client.send(message).await.map(|_| ())),
        ("edit", client.edit(conversation, 2, "y").await.map(|_| ())),
        ("recall", client.recall(conversation, 2).await.map(|_| ())),
        ("add", done(client.add(conversation, vec!["dan".to_owned()]).await)),
        ("remove", done(client.remove(conversation, vec!["bob".to_owned()]).await)),
        ("join", done(client.join(conversation).await)),
        ("leave", done(client.leave(conversation).await)),
        ("role", done(client.role(conversation, "bob", Role::Admin).await)),
        ("settings", done(client.settings(conversation, rename).await)),
        ("mute", done(client.mute(conversation).await)),
        ("read", done(client.mark_read(conversation, 1).await)),
        ("history", client.history(conversation, Page::Newest, 0).await.map(|_| ())),
        ("members", client.members(conversation, 0, None).await.map(|_| ())),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_conversation_looks_like_none() {
    let server = Server::start();
    server.group("known", &["ann", "bob"]).await;
    let ann = server.sender("ann", "phone").await;
    soon("a receipt", ann.send(Message::to_conversation("known", "secret"))).await.unwrap();
    let direct = soon("a receipt", ann.send(Message::to_user("bob", "secret"))).await.unwrap().conversation;
    let eve = server.sender("eve", "phone").await;
    let without_names = |calls: Vec<(&'static str, Result<(), Error>)>, name: &str| -> Vec<_> {
        calls
            .into_iter()
            .map(|(call, result)| {
                let error = result.err().unwrap_or_else(|| panic!("{call} was done"));
                (call, error.code, error.message.replace(name, "?"), error.limit, error.value)
            })
            .collect()
    };
    let nothing = without_names(soon("answers", every_call(&eve, "never made")).await, "never made");
    assert!(nothing.iter().all(|(_, code, ..)| *code == Code::NotFound), "{nothing:?}");
    for foreign in ["known", &direct] {
        assert_eq!(without_names(soon("answers", every_call(&eve, foreign)).await, foreign), nothing);
    }
    let seen = soon("an answer", eve.conversations(0, None)).await.unwrap();
    assert!(seen.conversations.is_empty() && seen.unread_total == 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_decide_and_a_former_member_keeps_its_past() {
    let server = Server::start();
    server.group("g", &["ann", "bob", "carol"]).await;
    let (ann, bob) = (server.sender("ann", "phone").await, server.sender("bob", "phone").await);
    for text in ["one", "two"] {
        soon("a receipt", ann.send(Message::to_conversation("g", text))).await.unwrap();
    }
    let member = |result: Result<Change, Error>| result.unwrap_err().code;
    assert_eq!(member(bob.add("g", vec!["dan".to_owned()]).await), Code::NotAllowed);
    assert_eq!(member(bob.remove("g", vec!["carol".to_owned()]).await), Code::NotAllowed);
    assert_eq!(member(bob.role("g", "bob", Role::Owner).await), Code::NotAllowed);
    assert_eq!(soon("a refusal", bob.edit("g", 2, "mine")).await.unwrap_err().code, Code::NotAllowed);
    assert_eq!(soon("a refusal", bob.recall("g", 2)).await.unwrap_err().code, Code::NotAllowed);
    assert_eq!(member(ann.leave("g").await), Code::NotAllowed);

    ann.remove("g", vec!["bob".to_owned()]).await.unwrap();
    soon("a receipt", ann.send(Message::to_conversation("g", "after bob"))).await.unwrap();
    assert!(soon("a refusal", bob.send(Message::to_conversation("g", "still here?"))).await.is_err());
    let past = soon("an answer", bob.history("g", Page::Newest, 0)).await.unwrap();
    assert_eq!(past.last().unwrap().seq, Some(4), "its own removal is the last that it may read: {past:?}");
    let newer = soon("an answer", bob.history("g", Page::After(4), 0)).await.unwrap();
    assert_eq!(newer, []);
    let texts = crate::fixture::all_texts(&server, "bob").await;
    assert_eq!(texts, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_channel_is_joined_and_only_its_owner_posts() {
    let server = Server::start();
    let ann = server.sender("ann", "phone").await;
    let new = NewConversation { id: Some("news".to_owned()), open: true, ..NewConversation::new(Kind::Channel) };
    ann.create(new).await.unwrap();
    let bob = server.sender("bob", "phone").await;
    assert!(matches!(bob.join("news").await.unwrap(), Change::Changed(_)));
    assert!(matches!(bob.join("news").await.unwrap(), Change::Unchanged { .. }));
    let refused = soon("a refusal", bob.send(Message::to_conversation("news", "me too"))).await;
    assert_eq!(refused.unwrap_err().code, Code::NotAllowed);
    let mut live = bob.subscribe(SubscribeOptions::default());
    soon("a receipt", ann.send(Message::to_conversation("news", "first"))).await.unwrap();
    assert_eq!(crate::fixture::text(&crate::fixture::messages(&mut live, 1).await[0]).unwrap(), "first");
    let members = soon("an answer", bob.members("news", 0, None)).await.unwrap();
    let seen: Vec<&str> = members.members.iter().map(|member| member.user.as_str()).collect();
    assert_eq!((seen, members.member_count), (vec!["bob"], 2), "followers see themselves and the count");
    let members = soon("an answer", ann.members("news", 0, None)).await.unwrap();
    assert_eq!(members.members.len(), 2);
    bob.leave("news").await.unwrap();
}
