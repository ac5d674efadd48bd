//! Who is in which group, who sends where and who reads: decided by the workload alone, before anything is connected.
//!
//! Names carry a mark of what decides them, so that the same workload finds its users and groups again on the same
//! server, and another one does not get into its way.

use super::workload::{STAMP_BYTES, Size, Weighted, Workload};
use crate::crowd::groups::Group;
use crate::random::Random;
use highwater_client::Recipient;
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// The device that senders send from.
pub(super) const DEVICE: &str = "bench";

/// A workload with all its choices made.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    mark: String,
    /// The users in each group.
    members: Vec<Vec<u32>>,
    /// Which kind of group each one is.
    kinds: Vec<u32>,
    /// What each sender is.
    pub(super) senders: Vec<SenderPlan>,
    /// The user of each device that is online.
    pub(super) readers: Vec<u32>,
}

/// A sender, and where it sends.
#[derive(Debug)]
pub(super) struct SenderPlan {
    pub(super) user: u32,
    /// Its groups, by kind, each kind with its weight.
    groups: Weighted<Vec<u32>>,
    /// The others that it writes to.
    peers: Vec<u32>,
}

/// Where one message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Group(u32),
    /// The direct conversation with this user.
    User(u32),
}

impl Plan {
    /// Makes all choices.
    pub(super) fn new(workload: Workload) -> Self {
        let mut random = Random::new(workload.seed);
        let mark = mark(&workload);
        let everybody: Vec<u32> = (0..workload.users as u32).collect();
        let senders = random.choose(everybody.clone(), workload.senders);
        let order = random.choose(everybody, workload.users);
        let readers = order.iter().cycle().take(workload.devices_online).copied().collect();
        let (members, kinds) = seat(&workload, &senders, &mut random);
        let mut by_sender: Vec<Vec<Vec<u32>>> = vec![vec![Vec::new(); workload.groups.len()]; senders.len()];
        let mut sender_of: Vec<Option<usize>> = vec![None; workload.users];
        for (number, user) in senders.iter().enumerate() {
            sender_of[*user as usize] = Some(number);
        }
        for (group, members) in (0u32..).zip(&members) {
            for sender in members.iter().filter_map(|user| sender_of[*user as usize]) {
                by_sender[sender][kinds[group as usize] as usize].push(group);
            }
        }
        let senders = senders.into_iter().zip(by_sender).map(|(user, groups)| {
            let kinds = groups.into_iter().zip(&workload.groups).filter(|(groups, _)| !groups.is_empty());
            let peers = workload.direct.as_ref().map_or(0, |direct| direct.peers);
            SenderPlan {
                user,
                groups: Weighted::new(kinds.map(|(groups, kind)| (kind.weight, groups))),
                peers: distinct(&mut random, workload.users, peers, &[user])[1..].to_vec(),
            }
        });
        Self { mark, members, kinds, senders: senders.collect(), readers, workload }
    }

    /// How many groups there are.
    pub(super) fn group_count(&self) -> usize {
        self.members.len()
    }

    /// A user's name.
    pub(super) fn user_name(&self, user: u32) -> String {
        user_name(&self.mark, user)
    }

    /// By what names are told apart from those of other workloads.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// A group as it is made.
    pub(super) fn group(&self, number: usize) -> Group {
        Group {
            id: self.group_name(number as u32),
            members: self.members[number].iter().map(|user| self.user_name(*user)).collect(),
            fanout: self.workload.groups[self.kinds[number] as usize].fanout,
        }
    }

    fn group_name(&self, group: u32) -> String {
        format!("bench-{}-g{group}", self.mark)
    }

    /// The users in a group.
    pub(super) fn members(&self, group: u32) -> &[u32] {
        &self.members[group as usize]
    }

    /// A destination as the client library names it.
    pub(super) fn recipient(&self, destination: Destination) -> Recipient {
        match destination {
            Destination::Group(group) => Recipient::Conversation(self.group_name(group)),
            Destination::User(user) => Recipient::User(self.user_name(user)),
        }
    }

    /// Where a sender's next message goes.
    pub(super) fn choose(&self, sender: usize, random: &mut Random) -> Destination {
        let sender = &self.senders[sender];
        let share = self.workload.direct.as_ref().map_or(0.0, |direct| direct.share);
        let is_direct = !sender.peers.is_empty() && (sender.groups.is_empty() || random.fraction() < share);
        match sender.groups.pick(random).filter(|_| !is_direct) {
            Some(groups) => Destination::Group(groups[random.below(groups.len())]),
            None => Destination::User(sender.peers[random.below(sender.peers.len())]),
        }
    }
}

/// A user's name in the workload of this mark.
pub(super) fn user_name(mark: &str, user: u32) -> String {
    format!("bench-{mark}-u{user}")
}

/// A mark of everything that decides who is in which group.
fn mark(workload: &Workload) -> String {
    let decisive = (workload.seed, workload.users, workload.senders, &workload.groups);
    let digest = Sha256::digest(format!("{decisive:?}").as_bytes());
    digest[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fills all groups: senders first, by turns, so that each finds a group of every kind while there is room; then
/// whoever.
fn seat(workload: &Workload, senders: &[u32], random: &mut Random) -> (Vec<Vec<u32>>, Vec<u32>) {
    let mut members = Vec::new();
    let mut kinds = Vec::new();
    // Goes on from kind to kind, so that those whom one kind had no room for come first in the next one.
    let mut next = 0;
    for (number, kind) in (0u32..).zip(&workload.groups) {
        let seated = senders.len().min(kind.count * kind.members);
        let mut groups: Vec<Vec<u32>> = vec![Vec::new(); kind.count];
        for place in 0..seated {
            groups[place % kind.count].push(senders[(next + place) % senders.len()]);
        }
        next = (next + seated) % senders.len();
        for group in groups {
            members.push(distinct(random, workload.users, kind.members - group.len(), &group));
            kinds.push(number);
        }
    }
    (members, kinds)
}

/// These users, and so many others than these of `users`, none twice.
fn distinct(random: &mut Random, users: usize, count: usize, first: &[u32]) -> Vec<u32> {
    let wanted = (first.len() + count).min(users);
    let mut chosen = first.to_vec();
    let mut known: HashSet<u32> = chosen.iter().copied().collect();
    if wanted * 2 > users {
        let others = (0..users as u32).filter(|user| !known.contains(user)).collect();
        chosen.extend(random.choose(others, wanted - first.len()));
        return chosen;
    }
    while chosen.len() < wanted {
        let user = random.below(users) as u32;
        if known.insert(user) {
            chosen.push(user);
        }
    }
    chosen
}

/// Lengths of bodies, and what is in them.
#[derive(Debug)]
pub(super) struct Bodies {
    sizes: Weighted<usize>,
    text: Vec<u8>,
}

impl Bodies {
    /// Text that compresses about as well as what people write.
    pub(super) fn new(sizes: &[Size], seed: u64) -> Self {
        const TEXT_BYTES_MIN: usize = 1 << 20;
        let longest = sizes.iter().map(|size| size.bytes).max().unwrap_or(0);
        Self {
            sizes: Weighted::new(sizes.iter().map(|size| (size.weight, size.bytes))),
            text: crate::sample::words(&mut Random::new(seed), TEXT_BYTES_MIN.max(2 * longest)),
        }
    }

    /// A body that begins with this stamp.
    pub(super) fn body(&self, stamp: [u8; STAMP_BYTES], random: &mut Random) -> Vec<u8> {
        let bytes = self.sizes.pick(random).copied().unwrap_or(STAMP_BYTES);
        let rest = bytes.saturating_sub(STAMP_BYTES);
        let begin = random.below(self.text.len() - rest);
        let mut body = Vec::with_capacity(bytes);
        body.extend_from_slice(&stamp);
        body.extend_from_slice(&self.text[begin..begin + rest]);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::{Direct, GroupKind, Length};
    use super::*;
    use std::collections::HashMap;

    fn kind(members: usize, count: usize, weight: f64) -> GroupKind {
        GroupKind { members, count, weight, fanout: None }
    }

    fn workload(users: usize, senders: usize, groups: Vec<GroupKind>, direct: Option<Direct>) -> Workload {
        Workload {
            seed: 5,
            users,
            devices_online: users + 3,
            groups,
            direct,
            body_bytes: vec![Size { bytes: 100, weight: 1.0 }],
            senders,
            in_flight: 1,
            rate_per_second: None,
            length: Length::Messages(1),
            warmup_seconds: 0.0,
            reconnect: None,
            sockets: 1,
        }
    }

    #[test]
    fn groups_have_their_size_and_nobody_twice() {
        let plan = Plan::new(workload(50, 7, vec![kind(3, 9, 1.0), kind(50, 2, 1.0), kind(1, 4, 1.0)], None));
        let sizes: Vec<usize> = (0..15).map(|group| plan.members(group).len()).collect();
        assert_eq!(sizes, [[3; 9].as_slice(), &[50; 2], &[1; 4]].concat());
        assert_eq!(plan.group_count(), 15);
        for group in 0..15 {
            let distinct: HashSet<_> = plan.members(group).iter().collect();
            assert_eq!(distinct.len(), plan.members(group).len());
        }
        let senders: HashSet<u32> = plan.senders.iter().map(|sender| sender.user).collect();
        assert_eq!(senders.len(), 7);
        let seated = |groups: std::ops::Range<u32>| -> HashSet<u32> {
            groups.flat_map(|group| plan.members(group)).filter(|user| senders.contains(user)).copied().collect()
        };
        assert_eq!((seated(0..9).len(), seated(9..11).len()), (7, 7), "each sender has a group of every kind");
        assert_eq!(seated(11..15).len(), 4, "as long as there is room");
        // Every user reads, and three of them on two devices.
        let readers: HashSet<_> = plan.readers.iter().collect();
        assert_eq!((plan.readers.len(), readers.len()), (53, 50));
    }

    #[test]
    fn senders_send_where_they_are_members_by_weight() {
        let direct = Some(Direct { share: 0.2, peers: 4 });
        let plan = Plan::new(workload(60, 10, vec![kind(5, 20, 1.0), kind(30, 2, 3.0)], direct));
        let mut random = Random::new(1);
        let mut counts: HashMap<&str, u32> = HashMap::new();
        const PER_SENDER: u32 = 4_000;
        for (number, sender) in plan.senders.iter().enumerate() {
            for _ in 0..PER_SENDER {
                match plan.choose(number, &mut random) {
                    Destination::Group(group) => {
                        assert!(plan.members(group).contains(&sender.user));
                        *counts.entry(if group < 20 { "small" } else { "large" }).or_default() += 1;
                    }
                    Destination::User(user) => {
                        assert!(sender.peers.contains(&user) && user != sender.user);
                        *counts.entry("direct").or_default() += 1;
                    }
                }
            }
        }
        for (what, share) in [("direct", 0.2), ("small", 0.2), ("large", 0.6)] {
            let seen = f64::from(counts[what]) / f64::from(10 * PER_SENDER);
            assert!((seen - share).abs() < 0.02, "{what}: {seen}");
        }
    }

    #[test]
    fn nobody_is_left_without_a_destination() {
        // Three seats in all for three senders, of whom each needs one.
        let plan = Plan::new(workload(9, 3, vec![kind(1, 1, 1.0), kind(2, 1, 1.0)], None));
        let mut random = Random::new(1);
        assert!((0..3).all(|sender| matches!(plan.choose(sender, &mut random), Destination::Group(_))));
        let plan = Plan::new(workload(9, 3, vec![kind(1, 1, 1.0)], Some(Direct { share: 0.0, peers: 8 })));
        for sender in 0..3 {
            plan.choose(sender, &mut random);
        }
    }

    #[test]
    fn the_same_workload_has_the_same_names() {
        let groups = vec![kind(3, 2, 1.0)];
        let one = Plan::new(workload(9, 2, groups.clone(), None));
        let same = Plan::new(workload(9, 2, groups.clone(), None));
        let other = Plan::new(workload(10, 2, groups, None));
        assert_eq!((one.mark(), &one.members), (same.mark(), &same.members));
        assert_ne!(one.mark(), other.mark());
        assert!(one.group(1).id.starts_with("bench-") && one.group(1).id.len() < 64);
    }

    #[test]
    fn bodies_have_their_length_and_begin_with_the_stamp() {
        let sizes = [Size { bytes: STAMP_BYTES, weight: 1.0 }, Size { bytes: 5_000, weight: 1.0 }];
        let bodies = Bodies::new(&sizes, 1);
        let mut random = Random::new(2);
        let lengths: HashSet<usize> = (0..100)
            .map(|number| {
                let body = bodies.body([number; STAMP_BYTES], &mut random);
                assert_eq!(body[..STAMP_BYTES], [number; STAMP_BYTES]);
                body.len()
            })
            .collect();
        assert_eq!(lengths, HashSet::from([STAMP_BYTES, 5_000]));
    }
}
