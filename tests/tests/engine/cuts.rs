//! The power is cut at every sync of a scripted run (promises P1-P5).
//!
//! Killing a process would pass without a single sync: what was written is in the page cache. The simulated disk
//! forgets whatever was not synced, directory entries included.

use highwater_engine::proto::record::{Fanout, Kind, Role};
use highwater_tests::model::{Ask, Create, Message, Name, Session, To};
use highwater_tests::plan::{Case, Loss};
use highwater_tests::world::{World, user_name};

/// Rounds of the script; each has about ten commands.
const ROUNDS: usize = 30;

/// What the script does next.
enum Act {
    Ask(Ask),
    Send { user: usize, conversation: &'static str, body: Vec<u8> },
    Edit { user: usize, conversation: &'static str },
    Recall { user: usize, conversation: &'static str },
    Persist,
    Reopen,
}

fn script() -> Vec<Act> {
    let service = |conversation: &str, fanout| {
        let conversation: Name = conversation.into();
        Act::Ask(Ask::Settings { caller: None, conversation, open: None, history: None, fanout: Some(fanout) })
    };
    let mut acts = vec![Act::Ask(Ask::Create(Create {
        caller: Some(user_name(2)),
        kind: Kind::Group,
        conversation: Some("g".into()),
        owner: None,
        members: vec![user_name(0), user_name(1), user_name(3)],
        open: false,
        history: true,
    }))];
    for round in 0..ROUNDS {
        let send = |user: usize, conversation| Act::Send { user, conversation, body: vec![round as u8; 3 + round] };
        let guest = vec![user_name(3 + round % 3)];
        acts.extend([send(0, "g"), send(1, "c0"), send(2, "g"), Act::Edit { user: 0, conversation: "g" }]);
        acts.push(send(0, "two"));
        acts.push(match round % 6 {
            0 => service("g", Fanout::Read),
            1 => Act::Ask(Ask::Remove { caller: Some(user_name(2)), conversation: "g".into(), members: guest }),
            2 => Act::Ask(Ask::Add { caller: Some(user_name(2)), conversation: "g".into(), members: guest }),
            3 => service("g", Fanout::Write),
            4 => Act::Recall { user: 2, conversation: "g" },
            _ => Act::Ask(Ask::Role { caller: None, conversation: "g".into(), user: user_name(1), role: Role::Admin }),
        });
        acts.push(Act::Ask(Ask::Read { user: user_name(3), conversation: "g".into(), through: round as u64 }));
        acts.push(send(1, "c1"));
        match round % 10 {
            4 => acts.push(Act::Persist),
            7 => acts.push(Act::Reopen),
            _ => {}
        }
    }
    acts
}

/// Runs the script until the disk fails. Returns the command in flight then, or `None` if it came to the end.
fn play(world: &mut World, acts: &[Act]) -> Result<Option<Option<Ask>>, proptest::test_runner::TestCaseError> {
    for act in acts {
        let ask = match act {
            Act::Ask(ask) => ask.clone(),
            Act::Persist => {
                if !world.persist_uncertain()? {
                    return Ok(Some(None));
                }
                continue;
            }
            Act::Reopen => {
                if !world.reopen_uncertain()? {
                    return Ok(Some(None));
                }
                continue;
            }
            Act::Send { user, .. } | Act::Edit { user, .. } | Act::Recall { user, .. } => {
                let (user, device): (Name, Name) = (user_name(*user), "d0".into());
                let Some(session) = world.session_uncertain(&user, &device)? else {
                    return Ok(Some(Some(Ask::Open { user, device, by_service: false })));
                };
                numbered(world, act, session)
            }
        };
        if !world.ask_uncertain(&ask)? {
            return Ok(Some(Some(ask)));
        }
    }
    Ok(None)
}

fn numbered(world: &World, act: &Act, session: Session) -> Ask {
    let state = world.model.state();
    let client_seq = state.device(&session.user, &session.device).unwrap().numbered.len() as u64 + 1;
    let last_own = |conversation: &str| {
        let outbox = &state.conversations[conversation].outbox;
        let is_own = |position: &&u64| {
            let record = world.model.record(**position);
            record.is_message() && record.author == session.user
        };
        outbox.iter().rev().find(is_own).map_or(1, |position| world.model.record(*position).seq)
    };
    match act {
        Act::Send { conversation, body, .. } => Ask::Send(Message {
            to: To::Conversation((*conversation).into()),
            client_seq,
            body: body.clone(),
            quote: None,
            mentions: Vec::new(),
            sent_at_ms: Some(client_seq),
            session,
        }),
        Act::Edit { conversation, .. } => Ask::Edit {
            client_seq,
            conversation: (*conversation).into(),
            target: last_own(conversation),
            body: format!("edited {client_seq}").into_bytes(),
            session,
        },
        Act::Recall { conversation, .. } => {
            Ask::Recall { client_seq, conversation: (*conversation).into(), target: last_own(conversation), session }
        }
        _ => unreachable!("only sends, edits and recalls are numbered"),
    }
}

fn world() -> World {
    let case = Case { create_named_users: false, is_head_small: true, may_lose: false, steps: Vec::new() };
    World::new(&case).unwrap()
}

#[test]
fn the_power_is_cut_at_every_sync() {
    let acts = script();
    let mut whole = world();
    let before = whole.disk.syncs();
    assert!(play(&mut whole, &acts).unwrap().is_none(), "without a fault it comes to the end");
    let syncs = whole.disk.syncs() - before;
    whole.check_everything().unwrap();
    assert!(syncs >= 200, "{syncs} syncs are few for {} commands", acts.len());
    // How many syncs a run takes depends on what shares a group; a run that ends before its cut is no test.
    let mut cuts = 0;
    for cut in 0..syncs {
        let mut world = world();
        world.disk.cut_after(cut);
        let in_flight = match play(&mut world, &acts) {
            Ok(Some(in_flight)) => in_flight,
            Ok(None) => continue,
            Err(error) => panic!("cut after {cut} syncs: {error}"),
        };
        let loss = [Loss::All, Loss::Some(cut), Loss::None][cut as usize % 3];
        if let Err(error) = world.recover(in_flight.as_ref(), loss) {
            panic!("cut after {cut} syncs, {loss:?}: {error}");
        }
        if cut % 16 == 0 {
            world.crash_while_opening().unwrap();
            world.check_everything().unwrap();
        }
        // The client sends what it does not know of again, and goes on.
        if let Some(ask) = in_flight.filter(|ask| !matches!(ask, Ask::Send(_) | Ask::Edit { .. } | Ask::Recall { .. }))
        {
            world.ask(ask).unwrap();
        }
        cuts += 1;
    }
    println!("cuts: {cuts} of {syncs} syncs, {} commands", acts.len());
    assert!(cuts * 10 >= syncs * 9, "only {cuts} of {syncs} cuts happened");
}
