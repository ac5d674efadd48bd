//! The keys that let a client notice at once that its server was restarted.
//!
//! A server that gets a packet of a connection it does not know answers with a stateless reset, which the client
//! believes if it can tell that the same server made it. So the reset key has to survive a restart; and so has the key
//! of the connection ids, since ids that the generator does not recognise as its own are dropped without an answer.

use crate::config::StartError;
use crate::files::{read_if_present, write_private};
use quinn::{ConnectionIdGenerator, EndpointConfig};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The file's name in the data directory.
const FILE: &str = "quic.key";
const RESET_KEY_BYTES: usize = 64;
const CONNECTION_ID_KEY_BYTES: usize = 8;

/// After a restart every client gets its reset with its first packet. Any interval above nothing would spare only one
/// client of each batch of packets, which are all looked at with the same time; the others would back off for seconds.
/// Loops and amplification are out of the question: a reset is shorter than what it answers, and packets that are not of
/// this server's ids are dropped before this matters.
const RESET_INTERVAL_MIN: Duration = Duration::ZERO;

/// Keys of the QUIC endpoint, the same for as long as the data directory lives.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EndpointKeys {
    reset: [u8; RESET_KEY_BYTES],
    connection_id: u64,
}

impl EndpointKeys {
    /// Reads the keys of a data directory, or makes them.
    pub(crate) fn load_or_create(data: &Path) -> Result<Self, StartError> {
        let path = data.join(FILE);
        if let Some(bytes) = read_if_present(&path)? {
            return Self::decode(&bytes).ok_or_else(|| {
                StartError::Failed(format!("{} is damaged; remove it to have new keys made", path.display()))
            });
        }
        let mut bytes = [0; RESET_KEY_BYTES + CONNECTION_ID_KEY_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| StartError::Failed("the system gives no random numbers".to_owned()))?;
        write_private(&path, &bytes)?;
        Self::decode(&bytes).ok_or_else(|| StartError::Failed("new keys are malformed".to_owned()))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (reset, connection_id) = bytes.split_first_chunk::<RESET_KEY_BYTES>()?;
        Some(Self { reset: *reset, connection_id: u64::from_be_bytes(connection_id.try_into().ok()?) })
    }

    fn connection_ids(&self) -> Box<dyn ConnectionIdGenerator> {
        Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(self.connection_id))
    }

    /// The configuration of an endpoint with these keys.
    pub(crate) fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.reset)));
        let keys = self.clone();
        config.cid_generator(move || keys.connection_ids());
        config.min_reset_interval(RESET_INTERVAL_MIN);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_the_same_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = EndpointKeys::load_or_create(directory.path()).expect("keys are made");
        let again = EndpointKeys::load_or_create(directory.path()).expect("keys are read");
        assert!(first == again);
        let id = first.connection_ids().generate_cid();
        assert!(again.connection_ids().validate(&id).is_ok(), "an id of the first run is known to the second");

        let other = tempfile::tempdir().expect("a directory");
        let stranger = EndpointKeys::load_or_create(other.path()).expect("keys are made");
        assert!(first != stranger);
        assert!(stranger.connection_ids().validate(&id).is_err());
    }

    #[test]
    fn key_file_is_private_and_damage_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        EndpointKeys::load_or_create(directory.path()).expect("keys are made");
        let path = directory.path().join(FILE);
        let mode = std::fs::metadata(&path).expect("the file is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        std::fs::write(&path, [0; 71]).expect("the file can be written");
        let error = EndpointKeys::load_or_create(directory.path()).err().expect("71 bytes are no keys");
        assert!(error.to_string().contains("quic.key"), "{error}");
    }
}
