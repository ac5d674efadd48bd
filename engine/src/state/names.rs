//! Names given by users, and the dense ids that stand for them everywhere else.

use highwater_proto::id::{ConversationId, DeviceId, UserId};
use std::collections::HashMap;
use std::sync::Arc;

/// From name to id; the way back stands in the row of each id.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) users: HashMap<Arc<str>, UserId>,
    pub(crate) conversations: HashMap<Arc<str>, ConversationId>,
    pub(crate) devices: HashMap<UserId, HashMap<Arc<str>, DeviceId>>,
    /// Names of conversations by id (index id - 1): a conversation's name is known before it is created.
    pub(crate) conversation_names: Vec<Arc<str>>,
}

impl Names {
    pub(crate) fn user(&self, name: &str) -> Option<UserId> {
        self.users.get(name).copied()
    }

    pub(crate) fn conversation(&self, name: &str) -> Option<ConversationId> {
        self.conversations.get(name).copied()
    }

    pub(crate) fn device(&self, user: UserId, name: &str) -> Option<DeviceId> {
        self.devices.get(&user)?.get(name).copied()
    }
}
