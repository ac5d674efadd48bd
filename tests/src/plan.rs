//! Random commands as small data.
//!
//! A [`Step`] names users, conversations and seqs by small numbers, which the [world](crate::world) interprets when it
//! comes to it: most often as something that exists. So a case stays meaningful when steps before it are taken away,
//! which is how a failing one is shrunk.

use proptest::collection::vec;
use proptest::prelude::*;

/// Users that a case may name; the first [`KNOWN_USERS`] exist from the beginning.
pub const USERS: usize = 8;
/// Users that exist from the beginning.
pub const KNOWN_USERS: usize = 6;
/// Conversations that a case may create, besides canonical direct ones.
pub const CONVERSATIONS: usize = 5;
/// Devices of a user that a case may name.
pub const DEVICES: usize = 4;
/// Reading devices of each user.
pub const READERS: usize = 2;

/// Which number a numbered command is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// The next one.
    Next,
    /// An earlier one, with the record's own contents.
    Repeat(u8),
    /// An earlier one, with these contents.
    Reuse(u8),
    /// One that is too high by so much.
    Ahead(u8),
    /// Zero.
    Zero,
}

/// What a numbered command is sent by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// Who: usually one of the conversation's members.
    pub actor: u16,
    /// Which of its devices.
    pub device: u8,
    /// Its number.
    pub number: Number,
    /// In a session that was opened by the service.
    pub by_service: bool,
}

/// How much of a sync is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records of a page; 0: the most.
    pub records: u8,
    /// Bytes of a page; 0: the most.
    pub bytes: u8,
    /// Messages per conversation; 0: all.
    pub cap: u8,
    /// Break off after so many pages; 0: go on to the end.
    pub pages: u8,
}

/// Where a sync begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Where the reader's last one ended.
    Checkpoint,
    /// At the cursor of the reader's last page.
    Cursor,
    /// At the start.
    Beginning,
    /// Anew, with a snapshot.
    Snapshot,
    /// At a checkpoint of another history.
    OtherHistory,
    /// At a checkpoint of a position that does not exist.
    Lost,
}

/// What a crash does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is lost.
    All,
    /// Some of it is.
    Some(u64),
    /// Nothing is.
    None,
}

/// One command of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see highwater_engine::Command; numbers are interpreted by the world")]
pub enum Step {
    CreateUser { user: u8 },
    Open { user: u8, device: u8, by_service: bool },
    Revoke { user: u8, device: u8 },
    Create { caller: u8, kind: u8, slot: u8, members: u8, owner: u8, open: bool, history: bool },
    Send { conversation: u8, by: By, body: u8, quote: Option<u8>, mentions: u8 },
    SendTo { user: u8, other: u8, by: By, body: u8 },
    SendStale { session: u8, conversation: u8 },
    Edit { conversation: u8, by: By, target: u8, body: u8 },
    Recall { conversation: u8, by: By, target: u8 },
    Add { caller: u8, conversation: u8, members: u8 },
    Remove { caller: u8, conversation: u8, members: u8 },
    Join { user: u8, conversation: u8 },
    Leave { actor: u16, conversation: u8 },
    Role { caller: u8, conversation: u8, actor: u16, role: u8 },
    Settings { caller: u8, conversation: u8, open: Option<bool>, history: Option<bool>, fanout: Option<u8> },
    Mute { actor: u16, conversation: u8, muted: bool },
    Read { actor: u16, conversation: u8, through: u8 },
    Sync { user: u8, reader: u8, from: From, limits: Limits },
    History { user: u8, conversation: u8, range: u8, seq: u8, limit: u8 },
    Lists { user: u8, conversation: u8, limit: u8 },
    Persist,
    Reopen,
    Crash { loss: Loss },
    Burst { user: u8, device: u8, sends: Vec<(u8, u8)>, cut: Option<(u8, Loss)> },
}

/// A case: how the engine is configured, and what is done with it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Users come into being when they are named.
    pub create_named_users: bool,
    /// Persist often by itself.
    pub is_head_small: bool,
    /// Durability mode `crash`: a power cut may lose what was not synced, and says so.
    pub may_lose: bool,
    /// What is done.
    pub steps: Vec<Step>,
}

/// Random cases of `steps` commands.
pub fn cases(steps: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    let flags = (any::<bool>(), prop::bool::weighted(0.3), prop::bool::weighted(0.2));
    (flags, vec(step(), steps)).prop_map(|((create_named_users, is_head_small, may_lose), steps)| Case {
        create_named_users,
        is_head_small,
        may_lose,
        steps,
    })
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        20 => Just(Number::Next),
        2 => any::<u8>().prop_map(Number::Repeat),
        1 => any::<u8>().prop_map(Number::Reuse),
        1 => (1_u8..4).prop_map(Number::Ahead),
        1 => Just(Number::Zero),
    ]
}

fn by() -> impl Strategy<Value = By> {
    let device = prop_oneof![4 => Just(0_u8), 2 => Just(1), 1 => 0_u8..DEVICES as u8];
    (any::<u16>(), device, number(), prop::bool::weighted(0.1)).prop_map(|(actor, device, number, by_service)| By {
        actor,
        device,
        number,
        by_service,
    })
}

fn user() -> impl Strategy<Value = u8> {
    prop_oneof![12 => 0_u8..KNOWN_USERS as u8, 1 => 0_u8..USERS as u8]
}

fn limits() -> impl Strategy<Value = Limits> {
    let small = || prop_oneof![2 => Just(0_u8), 3 => 1_u8..8, 1 => any::<u8>()];
    (small(), small(), small(), prop_oneof![3 => Just(0_u8), 1 => 1_u8..4])
        .prop_map(|(records, bytes, cap, pages)| Limits { records, bytes, cap, pages })
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        10 => Just(From::Checkpoint),
        4 => Just(From::Cursor),
        6 => Just(From::Beginning),
        2 => Just(From::Snapshot),
        1 => Just(From::OtherHistory),
        1 => Just(From::Lost),
    ]
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![Just(Loss::All), any::<u64>().prop_map(Loss::Some), Just(Loss::None)]
}

fn step() -> BoxedStrategy<Step> {
    prop_oneof![
        110 => talking(),
        45 => changing(),
        40 => reading(),
        12 => storing(),
    ]
    .boxed()
}

fn talking() -> impl Strategy<Value = Step> {
    let quote = prop::option::weighted(0.2, any::<u8>());
    let mentions = prop_oneof![4 => Just(0_u8), 1 => any::<u8>()];
    prop_oneof![
        45 => (any::<u8>(), by(), any::<u8>(), quote, mentions)
            .prop_map(|(conversation, by, body, quote, mentions)| Step::Send { conversation, by, body, quote, mentions }),
        7 => (user(), 0_u8..USERS as u8, by(), any::<u8>())
            .prop_map(|(user, other, by, body)| Step::SendTo { user, other, by, body }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(session, conversation)| Step::SendStale { session, conversation }),
        9 => (any::<u8>(), by(), any::<u8>(), any::<u8>())
            .prop_map(|(conversation, by, target, body)| Step::Edit { conversation, by, target, body }),
        7 => (any::<u8>(), by(), any::<u8>())
            .prop_map(|(conversation, by, target)| Step::Recall { conversation, by, target }),
        6 => (any::<u16>(), any::<u8>(), any::<u8>())
            .prop_map(|(actor, conversation, through)| Step::Read { actor, conversation, through }),
    ]
}

fn changing() -> impl Strategy<Value = Step> {
    let flag = || prop::option::weighted(0.4, any::<bool>());
    prop_oneof![
        8 => (any::<u8>(), any::<u8>(), 0_u8..CONVERSATIONS as u8, any::<u8>(), any::<u8>(), any::<bool>(), any::<bool>())
            .prop_map(|(caller, kind, slot, members, owner, open, history)| {
                Step::Create { caller, kind, slot, members, owner, open, history }
            }),
        8 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(caller, conversation, members)| Step::Add { caller, conversation, members }),
        6 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(caller, conversation, members)| Step::Remove { caller, conversation, members }),
        4 => (user(), any::<u8>()).prop_map(|(user, conversation)| Step::Join { user, conversation }),
        3 => (any::<u16>(), any::<u8>()).prop_map(|(actor, conversation)| Step::Leave { actor, conversation }),
        4 => (any::<u8>(), any::<u8>(), any::<u16>(), 0_u8..3)
            .prop_map(|(caller, conversation, actor, role)| Step::Role { caller, conversation, actor, role }),
        9 => (any::<u8>(), any::<u8>(), flag(), flag(), prop::option::weighted(0.6, 0_u8..3))
            .prop_map(|(caller, conversation, open, history, fanout)| {
                Step::Settings { caller, conversation, open, history, fanout }
            }),
        2 => (any::<u16>(), any::<u8>(), any::<bool>())
            .prop_map(|(actor, conversation, muted)| Step::Mute { actor, conversation, muted }),
        1 => (0_u8..USERS as u8).prop_map(|user| Step::CreateUser { user }),
        3 => (user(), 0_u8..DEVICES as u8, any::<bool>())
            .prop_map(|(user, device, by_service)| Step::Open { user, device, by_service }),
        1 => (user(), 0_u8..DEVICES as u8).prop_map(|(user, device)| Step::Revoke { user, device }),
    ]
}

fn reading() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (user(), 0_u8..READERS as u8, from(), limits())
            .prop_map(|(user, reader, from, limits)| Step::Sync { user, reader, from, limits }),
        4 => (user(), any::<u8>(), 0_u8..3, any::<u8>(), prop_oneof![1_u8..6, Just(0_u8)])
            .prop_map(|(user, conversation, range, seq, limit)| Step::History { user, conversation, range, seq, limit }),
        2 => (user(), any::<u8>(), prop_oneof![1_u8..4, Just(0_u8)])
            .prop_map(|(user, conversation, limit)| Step::Lists { user, conversation, limit }),
    ]
}

fn storing() -> impl Strategy<Value = Step> {
    let cut = prop::option::weighted(0.4, (0_u8..12, loss()));
    prop_oneof![
        4 => Just(Step::Persist),
        2 => Just(Step::Reopen),
        2 => loss().prop_map(|loss| Step::Crash { loss }),
        5 => (user(), 0_u8..2, vec((any::<u8>(), any::<u8>()), 1..12), cut)
            .prop_map(|(user, device, sends, cut)| Step::Burst { user, device, sends, cut }),
    ]
}
