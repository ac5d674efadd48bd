//! Whatever decodes as a wire message is one: it encodes, and decodes to itself.
//!
//! The same bytes are tried as every message, so that the golden bytes of any are a start for all.
#![no_main]

use highwater_proto::error::Error;
use highwater_proto::wire::*;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fn check<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = message.encode_to_vec();
    assert_eq!(again.len(), message.encoded_len());
    assert_eq!(M::decode(&again[..]).as_ref(), Ok(&message));
    Some(message)
}

macro_rules! check_each {
    ($bytes:ident: $($message:ident)*) => {
        $(check::<$message>($bytes);)*
    };
}

fuzz_target!(|bytes: &[u8]| {
    check_each!(bytes:
        Ack Answer ClientFrame Conversation ConversationsQuery Create CreateUser Delta Device DevicesQuery Edit Gap
        Hello HistoryQuery MarkRead Member Members MembersQuery Mute Query Range Recall Receipt Record Request Reset
        Response Revoke Send ServerFrame SetRole SetSettings Subscribe Subscribed Target Token Welcome
    );
    if let Some(failure) = check::<Failure>(bytes) {
        let error = Error::from(failure);
        assert_eq!(Error::from(Failure::from(&error)), error);
    }
});
