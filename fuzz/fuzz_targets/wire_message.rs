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

/// A delta whose records are read one by one is the delta that is read the general way.
fn check_received(bytes: &[u8]) {
    let general = Delta::decode(bytes);
    let Ok(received) = ReceivedDelta::decode(bytes.to_vec().into()) else {
        assert!(general.is_err(), "only the general way takes it");
        return;
    };
    let records: Result<Vec<Record>, _> = received
        .records()
        .map(|record| match record? {
            ReceivedRecord::Other(record) => Ok(*record),
            ReceivedRecord::Message(message) => {
                let field = PreparedRecord::of_message(&message).into_bytes();
                Delta::decode(field).map(|mut delta| delta.records.remove(0))
            }
        })
        .collect();
    let whole = records.map(|records| Delta { records, ..received.rest.clone() });
    assert_eq!(whole.ok(), general.ok());
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
    check_received(bytes);
    if let Some(failure) = check::<Failure>(bytes) {
        let error = Error::from(failure);
        assert_eq!(Error::from(Failure::from(&error)), error);
    }
});
