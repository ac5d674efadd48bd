//! Users and devices.

use super::{Answer, Draft, Rules, Step, Verdict, refuse, unchanged};
use crate::command::OpenSession;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, UserId, check_name};
use highwater_proto::record::Fact;
use std::sync::Arc;

impl Rules<'_> {
    pub(super) fn create_user(&self, user: &Arc<str>) -> Step<Verdict> {
        check_name("user", user).map_err(Verdict::refuse)?;
        if self.known.user(user).is_some() {
            return Ok(unchanged(&Arc::from("")));
        }
        self.room_for_names(1)?;
        let id = UserId(self.known.ahead.users + 1);
        let fact = Fact::User { id, name: user.as_ref().to_owned() };
        Ok(Verdict::Accept(vec![draft(UserId::ZERO, true, fact)], Answer::Changed))
    }

    pub(super) fn open_session(&self, open: &OpenSession) -> Step<Verdict> {
        check_name("device", &open.device).map_err(Verdict::refuse)?;
        let user = self.caller(&open.user)?;
        let known = self.known.device_id(user, &open.device);
        if let Some(device) = known {
            // The takeover is a barrier for its device: the last number is told once nothing of it is in flight.
            if !self.known.is_device_settled(device) {
                return Err(Verdict::Wait);
            }
            if self.known.state.device(device).is_some_and(|row| row.registered) {
                return Ok(Verdict::Accept(Vec::new(), Answer::Session(device)));
            }
        } else {
            self.room_for_names(1)?;
        }
        let limit = self.options.limits.devices_per_user_max;
        let what = format!("user {:?} has that many devices; revoke one first", open.user);
        self.within(self.known.registered_devices(user), 1, limit, "devices_per_user_max", &what)?;
        let id = known.unwrap_or(DeviceId(self.known.ahead.devices_count + 1));
        let fact = Fact::Device { id, user, name: open.device.as_ref().to_owned() };
        Ok(Verdict::Accept(vec![draft(user, open.by_service, fact)], Answer::Session(id)))
    }

    pub(super) fn revoke(&self, user: &Arc<str>, device: &Arc<str>) -> Step<Verdict> {
        let author = self.caller(user)?;
        let id = self.known.device_id(author, device);
        let id = id.ok_or_else(|| refuse(Code::NotFound, format!("user {user:?} has no device {device:?}")))?;
        if !self.known.is_device_settled(id) {
            return Err(Verdict::Wait);
        }
        if !self.known.state.device(id).is_some_and(|row| row.registered) {
            return Ok(unchanged(&Arc::from("")));
        }
        Ok(Verdict::Accept(vec![draft(author, false, Fact::Revoke { id })], Answer::Changed))
    }

    /// Refuses more names than resident state is made for.
    pub(super) fn room_for_names(&self, more: usize) -> Step<()> {
        let ahead = self.known.ahead;
        let names = ahead.users as usize + ahead.devices_count as usize + ahead.conversations_count as usize;
        let limit = self.options.limits.names_max;
        if names + more > limit {
            return Err(Verdict::refuse(Error::limit(
                "names_max",
                limit as u64,
                "too many users, devices and conversations",
            )));
        }
        Ok(())
    }
}

fn draft(author: UserId, by_service: bool, fact: Fact) -> Draft {
    Draft::unnumbered((author, by_service), ConversationId::ZERO, fact)
}
