//! Workload files that are taken, and what is said of those that are not.

use super::*;

const DOCUMENTED: &str = include_str!("../../../../../../docs/bench-workload.md");

fn toml(text: &str) -> Result<Workload, String> {
    Workload::parse(text, false)
}

#[test]
fn a_short_file_has_defaults() {
    let workload = toml("users = 40\ngroups = [{members = 20}]").expect("is taken");
    let expected = Workload {
        seed: 1,
        users: 40,
        devices_online: 40,
        groups: vec![GroupKind { members: 20, count: 1, weight: 1.0, fanout: None }],
        direct: None,
        body_bytes: vec![Size { bytes: 200, weight: 1.0 }],
        senders: 1,
        in_flight: 16,
        rate_per_second: None,
        length: Length::Seconds(10.0),
        warmup_seconds: 0.0,
        reconnect: None,
        sockets: 16,
    };
    assert_eq!(workload, expected);
}

#[test]
fn toml_and_json_say_the_same() {
    let from_toml = toml(
        "seed = 7\nusers = 1000\nsenders = 3\nrate_per_second = 12.5\nmessages = 50\nbody_bytes = \
         [{bytes = 16}, {bytes = 400, weight = 0.5}]\n[direct]\nshare = 0.25\n[reconnect]\nevery_seconds = 2\nshare = \
         0.1\naway_ms = 30\n[[groups]]\nmembers = 3\ncount = 9\nweight = 2\nfanout = \"read\"",
    );
    let from_json = Workload::parse(
        r#"{"seed":7,"users":1000,"senders":3,"rate_per_second":12.5,"messages":50,
            "body_bytes":[{"bytes":16},{"bytes":400,"weight":0.5}],"direct":{"share":0.25},
            "reconnect":{"every_seconds":2,"share":0.1,"away_ms":30},
            "groups":[{"members":3,"count":9,"weight":2,"fanout":"read"}]}"#,
        true,
    );
    assert_eq!(from_toml, from_json);
    let workload = from_json.expect("is taken");
    assert_eq!(workload.direct, Some(Direct { share: 0.25, peers: 10 }));
    assert_eq!(workload.groups[0].fanout, Some(Fanout::Read));
    assert_eq!((workload.length, workload.body_bytes_max()), (Length::Messages(50), 400));
}

/// What the documentation shows is what is read, and names every field.
#[test]
fn the_documented_example_is_taken() {
    let example = DOCUMENTED.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let workload = toml(example).expect("is taken");
    assert_eq!(workload.groups.len(), 2);
    assert!(workload.direct.is_some() && workload.reconnect.is_some() && workload.rate_per_second.is_some());
    for field in ["seed", "devices_online", "warmup_seconds", "sockets", "in_flight", "messages", "away_ms", "fanout"] {
        assert!(DOCUMENTED.contains(&format!("`{field}`")) || DOCUMENTED.contains(&format!(".{field}`")), "{field}");
    }
}

#[test]
fn every_error_names_its_field_and_what_is_possible() {
    let groups = "groups = [{members = 2}]";
    for (text, said) in [
        ("", "users is missing"),
        ("users = 1", "users is 1; a whole number from 2 to 1000000 is expected"),
        ("users = -5", "users is -5; a whole number"),
        ("users = \"many\"", "users is \"many\"; a whole number"),
        ("users = 9", "nobody to write to: give groups, direct, or both"),
        ("user = 9", "unknown field user; known are seed, users,"),
        ("users = 9\ngroups = 3", "groups is 3; a list is expected"),
        ("users = 9\ngroups = [3]", "groups[0] is 3; a table of members, count, weight, fanout is expected"),
        ("users = 9\ngroups = [{count = 3}]", "groups[0].members is missing"),
        ("users = 9\ngroups = [{members = 2}, {members = 10}]", "groups[1].members is 10; a whole number from 1 to 9"),
        ("users = 9\ngroups = [{members = 2, size = 1}]", "unknown field groups[0].size; known are members,"),
        ("users = 9\ngroups = [{members = 2, weight = 0}]", "groups[0].weight is 0; a number from 0.000001 to 1000000"),
        ("users = 9\ngroups = [{members = 2, fanout = \"x\"}]", "groups[0].fanout is \"x\"; \"auto\", \"write\""),
        ("users = 9\ngroups = [{members = 2, count = 1000001}]", "groups[0].count is 1000001; a whole number"),
        ("users = 900000\ngroups = [{members = 900000, count = 900}]", "members × count add up to 810000000; 20000000"),
        ("users = 9\ndirect = {}", "direct.share is missing"),
        ("users = 9\ndirect = {share = 1.5}", "direct.share is 1.5; a number from 0 to 1 is expected"),
        ("users = 9\ndirect = {share = 1, peers = 9}", "direct.peers is 9; a whole number from 1 to 8 is expected"),
        ("users = 9\nreconnect = {share = 1}", "reconnect.every_seconds is missing"),
        ("users = 9\nreconnect = {every_seconds = 0}", "reconnect.every_seconds is 0; a number from 0.1 to 86400"),
        ("users = 9\nbody_bytes = 15", "body_bytes is 15; a whole number from 16 to 524288 is expected"),
        ("users = 9\nbody_bytes = []", "body_bytes has 0 entries; 1 to 64 are possible"),
        ("users = 9\nbody_bytes = [{weight = 1}]", "body_bytes[0].bytes is missing"),
        ("users = 9\nsenders = 10", "senders is 10; a whole number from 1 to 9 is expected"),
        ("users = 9\nin_flight = 0", "in_flight is 0; a whole number from 1 to 65536 is expected"),
        ("users = 9\nrate_per_second = 0", "rate_per_second is 0; a number from 0.1 to 10000000 is expected"),
        ("users = 9\nseconds = 1\nmessages = 1", "seconds and messages are both given"),
        ("users = 9\nseconds = 0.01", "seconds is 0.01; a number from 0.1 to 86400 is expected"),
        ("users = 9\ndevices_online = 20001", "devices_online is 20001; a whole number from 0 to 20000 is expected"),
        ("users = 9\nsockets = 0", "sockets is 0; a whole number from 1 to 256 is expected"),
        ("users = ", "line 1"),
    ] {
        let error = toml(text).expect_err(text);
        assert!(error.contains(said), "{text}: {error}");
        // Beside something that is in order the same is said.
        if !text.contains("groups") && text.starts_with("users = 9\n") {
            let error = toml(&format!("{text}\n{groups}")).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
    let error = toml("users = 9\nsenders = 9\ngroups = [{members = 2, count = 4}]").expect_err("too few seats");
    assert!(error.contains("senders is 9, but all groups together have room for 8"), "{error}");
    assert!(Workload::parse("{\"users\": 9,}", true).expect_err("is no JSON").contains("line 1"));
    let failure = Workload::read(Path::new("/nowhere/workload.toml")).expect_err("no file");
    assert_eq!(failure.exit(), 2);
}

#[test]
fn choices_follow_their_weights() {
    let weighted = Weighted::new([(1.0, 'a'), (2.0, 'b'), (7.0, 'c')]);
    let mut random = Random::new(3);
    let mut counts = std::collections::HashMap::new();
    const PICKS: u32 = 100_000;
    for _ in 0..PICKS {
        *counts.entry(*weighted.pick(&mut random).expect("there is one")).or_insert(0u32) += 1;
    }
    for (item, share) in [('a', 0.1), ('b', 0.2), ('c', 0.7)] {
        let seen = f64::from(counts[&item]) / f64::from(PICKS);
        assert!((seen - share).abs() < 0.01, "{item}: {seen}");
    }
    assert_eq!(Weighted::new([(5.0, 'x')]).pick(&mut random), Some(&'x'));
    assert!(Weighted::<char>::new([]).is_empty() && Weighted::<char>::new([]).pick(&mut random).is_none());
}
