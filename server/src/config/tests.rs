//! Configuration files and command lines, right and wrong.

use super::*;

/// Loads a file with this text and these options, in a directory that holds `token.pem`.
fn load(text: &str, change: impl FnOnce(&mut Overrides)) -> Result<Config, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("highwater.toml");
    std::fs::write(&path, text).expect("the file can be written");
    let key = crate::dev::SigningKey::generate().expect("a key");
    std::fs::write(directory.path().join("token.pem"), key.public_pem()).expect("the key can be written");
    let mut overrides = Overrides { config: Some(path), ..Overrides::default() };
    change(&mut overrides);
    Config::load(overrides).map_err(|error| {
        let message = error.to_string();
        assert!(!message.contains('\n'), "one sentence: {message}");
        message
    })
}

const KEYS: &str =
    "certificate = \"c.pem\"\nprivate_key = \"k.pem\"\n[[tokens.keys]]\nkid = \"a\"\npublic_key = \"token.pem\"\n";

#[test]
fn a_whole_file_is_read() {
    let text = format!(
        "data = \"store\"\nlisten = \"127.0.0.1:9\"\ndurability = \"crash\"\nsync_interval_ms = 7\n{KEYS}\
         [limits]\nbody_bytes_max = 1000\nconnections_max = 3\n[timeouts]\nidle_ms = 1500\n[fanout]\nwrite_members_max = 10\nread_members_min = 8\n"
    );
    let config = load(&text, |_| {}).expect("it is right");
    assert!(config.data.ends_with("store") && config.data.is_absolute(), "paths are relative to the file");
    assert_eq!(config.listen, ([127, 0, 0, 1], 9).into());
    assert_eq!(config.durability, Durability::Crash { sync_interval: Duration::from_millis(7) });
    assert_eq!(config.limits.body_bytes_max, 1000);
    assert_eq!(config.connections.connections_max, 3);
    assert_eq!(config.timeouts.idle, Duration::from_millis(1500));
    assert_eq!(config.timeouts.hello, Timeouts::default().hello);
    assert_eq!(config.fanout.write_members_max, 10);
    assert!(matches!(config.security, Security::Configured { .. }));
}

#[test]
fn the_command_line_wins() {
    let text = format!("data = \"store\"\nlisten = \"127.0.0.1:9\"\n{KEYS}");
    let config = load(&text, |overrides| {
        overrides.data = Some("other".into());
        overrides.listen = Some(([127, 0, 0, 1], 10).into());
        overrides.body_bytes_max = Some(5);
        overrides.durability = Some(DurabilityName::Crash);
    })
    .expect("it is right");
    assert_eq!(config.data, PathBuf::from("other"));
    assert_eq!(config.listen.port(), 10);
    assert_eq!(config.limits.body_bytes_max, 5);
    assert_eq!(config.durability, Durability::Crash { sync_interval: DEFAULT_SYNC_INTERVAL });
}

#[test]
fn what_is_wrong_is_named() {
    let cases: &[(&str, &str)] = &[
        ("", "--data DIR"),
        ("data = \"d\"", "certificate = "),
        ("data = \"d\"\ncertificate = \"c\"", "private_key = "),
        ("data = \"d\"\ncertificate = \"c\"\nprivate_key = \"k\"", "[[tokens.keys]]"),
        ("data = \"d\"\ndatta = 1", "line 2: unknown field `datta`"),
        ("data = ", "line 1"),
        ("listen = \"nowhere\"", "line 1"),
        ("data = \"d\"\ndurability = \"none\"", "none"),
        ("data = \"d\"\nsync_interval_ms = 5", "durability = \"crash\""),
        ("data = \"d\"\n[limits]\nbody_bytes_max = 600000", "524288"),
        ("data = \"d\"\n[limits]\nnames_max = 0", "limits.names_max"),
        (
            "data = \"d\"\ncertificate = \"c\"\nprivate_key = \"k\"\n[[tokens.keys]]\nkid = \"a\"\npublic_key = \"none.pem\"",
            "none.pem",
        ),
        (
            "data = \"d\"\ncertificate = \"c\"\nprivate_key = \"k\"\n[[tokens.keys]]\nkid = \"a\"\npublic_key = \"highwater.toml\"",
            "no Ed25519 public key",
        ),
    ];
    for (text, expected) in cases {
        let error = load(text, |_| {}).expect_err(text);
        assert!(error.contains(expected), "{text:?} gives {error:?}, which does not say {expected:?}");
    }
    let twice = format!("data = \"d\"\n{KEYS}[[tokens.keys]]\nkid = \"a\"\npublic_key = \"token.pem\"\n");
    assert!(load(&twice, |_| {}).expect_err("twice").contains("twice"));
    let timeout = format!("data = \"d\"\n{KEYS}[timeouts]\nidle_ms = 0\n");
    assert!(load(&timeout, |_| {}).expect_err("no time").contains("timeouts.idle_ms"));
    let fanout = format!("data = \"d\"\n{KEYS}[fanout]\nwrite_members_max = 5\n");
    assert!(load(&fanout, |_| {}).expect_err("crossed").contains("fanout.read_members_min"));
}

#[test]
fn development_mode_is_for_loopback_and_makes_its_own_keys() {
    let config = load("data = \"d\"", |overrides| overrides.dev = true).expect("nothing is missing");
    assert_eq!(config.listen, ([127, 0, 0, 1], DEFAULT_PORT).into());
    assert!(config.engine_options().create_named_users);
    for address in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1"] {
        let error = load("data = \"d\"", |overrides| {
            overrides.dev = true;
            overrides.listen = Some(address.parse().expect("an address"));
        });
        assert!(error.expect_err(address).contains("loopback only"));
    }
    let error = load(&format!("data = \"d\"\n{KEYS}"), |overrides| overrides.dev = true);
    assert!(error.expect_err("both").contains("leave out"));
}
