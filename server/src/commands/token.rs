//! `highwater token`

use super::{FAILED, USAGE, exit_code, fail, print};
use clap::ValueEnum;
use highwater_proto::id::check_name;
use highwater_server::StartError;
use highwater_server::auth::{Claims, Scope, mint};
use highwater_server::config::DEFAULT_AUDIENCE;
use highwater_server::dev::{self, Directory, SigningKey};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Whom the token is for
    #[arg(long)]
    user: String,
    /// The only device that it is good for
    #[arg(long)]
    device: Option<String>,
    /// How long it is good for: a number and s, m, h or d
    #[arg(long, default_value = "1h", value_parser = seconds)]
    ttl: u64,
    /// What it allows
    #[arg(long, value_enum, default_value = "user")]
    scope: ScopeName,
    /// The data directory of a server started with --dev, whose key signs
    #[arg(long, value_name = "DIR", conflicts_with = "key")]
    data: Option<PathBuf>,
    /// The private key that signs: Ed25519, PKCS#8 in PEM form
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// With --key: the kid under which the server knows the public key
    #[arg(long, default_value = "default", conflicts_with = "data")]
    kid: String,
    /// With --key: the server's audience
    #[arg(long, default_value = DEFAULT_AUDIENCE, conflicts_with = "data")]
    audience: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScopeName {
    User,
    Service,
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let names = [("--user", Some(&arguments.user)), ("--device", arguments.device.as_ref())];
    for (option, name) in names {
        if let Some(Err(error)) = name.map(|name| check_name(option, name)) {
            return fail(USAGE, error.message);
        }
    }
    let (key, kid) = match signing_key(&arguments) {
        Ok(found) => found,
        Err(error) => return fail(exit_code(&error), error),
    };
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let scope = match arguments.scope {
        ScopeName::User => None,
        ScopeName::Service => Some(Scope::Service.as_str().to_owned()),
    };
    let claims = Claims {
        sub: arguments.user,
        dev: arguments.device,
        exp: now_s.saturating_add(arguments.ttl).into(),
        aud: arguments.audience.into(),
        scope,
    };
    let token = key.encoding_key().map_err(|error| error.to_string()).and_then(|key| mint(&claims, &kid, &key));
    match token.and_then(|token| print(&format!("{token}\n"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, error),
    }
}

fn signing_key(arguments: &Arguments) -> Result<(SigningKey, String), StartError> {
    let config = |message| StartError::Config(message);
    match (&arguments.data, &arguments.key) {
        (Some(data), _) => Ok((Directory::of(data).signing_key()?, dev::KID.to_owned())),
        (None, Some(path)) => {
            let pem = std::fs::read(path)
                .map_err(|error| config(format!("cannot read the key {}: {error}", path.display())))?;
            let key = SigningKey::from_pem(&pem)
                .ok_or_else(|| config(format!("{} is no Ed25519 private key in PKCS#8 PEM form", path.display())))?;
            Ok((key, arguments.kid.clone()))
        }
        (None, None) => Err(config("there is no key to sign with: give --data DIR or --key FILE".to_owned())),
    }
}

/// Reads `90s`, `15m`, `1h` or `7d`.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "give a number and s, m, h or d, for example 90s or 1h".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.get(..text.len() - 1).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    match number.checked_mul(unit) {
        // JSON numbers are exact up to 2^53, and so is the end of a token that is good for a thousand years.
        Some(seconds) if (1..=31_622_400_000).contains(&seconds) => Ok(seconds),
        _ => Err("a token is good for at least a second and at most a thousand years".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read() {
        for (text, expected) in [("1s", 1), ("15m", 900), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "h", "1", "0s", "-1h", "1.5h", "1w", "1é", "99999999999999999999d", "18446744073709551615d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
