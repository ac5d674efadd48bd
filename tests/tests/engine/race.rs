//! Commands of many threads at once, checked against the model in the order that the engine gave them.

use crate::fixture::Seed;
use highwater_engine::proto::record::{Fanout, Kind, Role};
use highwater_tests::model::{Ask, Create, Message, Name, Session, To};
use highwater_tests::plan::{Case, Loss};
use highwater_tests::world::{Check, World, user_name};

const RACES: usize = 60;
const THREADS: usize = 4;
const COMMANDS: usize = 120;
const CONVERSATIONS: [&str; 4] = ["c0", "c1", "two", "new"];

fn command(seed: &mut Seed, session: &Session) -> Ask {
    let conversation: Name = CONVERSATIONS[seed.below(4) as usize].into();
    let somebody = user_name(seed.below(6) as usize);
    let (session, client_seq) = (session.clone(), 0);
    let target = 1 + seed.below(12);
    match seed.below(40) {
        0..18 => {
            let is_direct = seed.below(4) == 0;
            let to = if is_direct { To::User(somebody) } else { To::Conversation(conversation) };
            let body = seed.below(1 << 40).to_le_bytes().to_vec();
            Ask::Send(Message { session, client_seq, to, body, quote: None, mentions: Vec::new(), sent_at_ms: None })
        }
        18..21 => Ask::Edit { session, client_seq, conversation, target, body: b"edited".to_vec() },
        21..23 => Ask::Recall { session, client_seq, conversation, target },
        23..27 => Ask::Add { caller: None, conversation, members: vec![somebody, user_name(seed.below(6) as usize)] },
        27..31 => Ask::Remove { caller: None, conversation, members: vec![somebody] },
        31..33 => {
            let fanout = Some([Fanout::Auto, Fanout::Write, Fanout::Read][seed.below(3) as usize]);
            let history = (conversation.as_ref() != "two").then(|| seed.below(2) == 0);
            Ask::Settings { caller: None, conversation, open: None, history, fanout }
        }
        33 => Ask::Join { user: somebody, conversation: "c1".into() },
        34 => Ask::Leave { user: somebody, conversation },
        35 => Ask::Role { caller: None, conversation, user: somebody, role: Role::Admin },
        36 => Ask::Mute { user: somebody, conversation, muted: seed.below(2) == 0 },
        37 => Ask::Create(Create {
            caller: None,
            kind: Kind::Group,
            conversation: Some("new".into()),
            owner: None,
            members: (0..1 + seed.below(5) as usize).map(user_name).collect(),
            open: false,
            history: false,
        }),
        _ => Ask::Read { user: somebody, conversation, through: target },
    }
}

fn race(seed: &mut Seed) -> Check<u64> {
    let case = Case { create_named_users: false, is_head_small: true, may_lose: false, steps: Vec::new() };
    let mut world = World::new(&case)?;
    let mut scripts = Vec::new();
    for thread in 0..THREADS {
        // The sessions of half of them are the service's, which may send in anybody's name.
        let session = world.open_session(&user_name(thread), &"d0".into(), thread % 2 == 0)?;
        scripts.push((0..COMMANDS).map(|_| command(seed, &session)).collect());
    }
    world.race(scripts)?;
    world.crash(Loss::All)?;
    world.replay_whole_log()?;
    Ok(world.coverage.of("raced records"))
}

#[test]
fn commands_of_many_threads_have_one_order() {
    let mut seed = Seed::random("races");
    let mut records = 0;
    for number in 0..RACES {
        records += race(&mut seed).unwrap_or_else(|error| panic!("race {number}: {error}"));
    }
    println!("races: {RACES} with {THREADS} threads, {records} records");
    assert!(records as usize > RACES * COMMANDS, "most commands are accepted");
}
