//! The workloads: who talks to whom, how densely in time, and what they say. Everything follows from a seed.
//!
//! *Text.* Bodies are sentences of a made-up language: words of one to four syllables, the more frequent ones short and
//! chosen by Zipf's law, so that they compress about as prose does. A body has a fixed length where a program varies
//! lengths, and otherwise one of a skewed distribution: half are below 40 bytes, one in a hundred is above 400.
//!
//! *Direct messages.* Every user has [`PARTNERS`] partners, the first of whom gets half of what the user sends. Partner k
//! of user u is u with some bits turned over, so that partners are mutual. Some users send more than others: the more
//! active half sends three messages of four.
//!
//! *Density.* What makes packing easy or hard is how many positions a list has gained when it is written to the index:
//! [`Density::Dense`] is 64 users among whom everything happens, so that every list gains thousands;
//! [`Density::Realistic`] is 131,072 users of whom each receives about [`MESSAGES_PER_USER`] messages between two
//! persists: a few messages an hour, since a head holds an hour at most.
//!
//! *Groups.* The members of a group are spread over all users by a stride of its own, so that groups overlap by chance.

/// Partners of a user in direct messages.
pub const PARTNERS: usize = 4;
/// Messages that a user receives between two persists at realistic density.
pub const MESSAGES_PER_USER: usize = 5;

/// How many positions a list has gained when it is persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Density {
    /// Few users, everything among them.
    Dense,
    /// So many users that each receives a few messages between two persists.
    Realistic,
}

impl Density {
    /// As tables say it.
    pub const fn name(self) -> &'static str {
        match self {
            Density::Dense => "dense",
            Density::Realistic => "realistic",
        }
    }

    /// How many users there are; a power of two.
    pub const fn users(self) -> usize {
        match self {
            Density::Dense => 64,
            Density::Realistic => 1 << 17,
        }
    }
}

/// Numbers that depend on nothing but the seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of 0 to `end - 1`; `end` must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.number()) * end as u128) >> 64) as usize
    }

    /// One of 0 to below 1.
    pub fn part(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Makes bodies.
#[derive(Clone, Debug)]
pub struct Text {
    random: Random,
    words: Vec<String>,
    /// How often a word or a more frequent one is chosen, added up.
    cumulated: Vec<f64>,
    /// Prose from which bodies are cut.
    prose: Vec<u8>,
}

const WORDS: usize = 4_096;
const PROSE_BYTES: usize = 1 << 20;

impl Text {
    /// Bodies of this seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7465_7874);
        let words: Vec<String> = (0..WORDS).map(|rank| word(&mut random, rank)).collect();
        let mut sum = 0.0;
        let cumulated = (0..WORDS).map(|rank| {
            sum += 1.0 / (rank as f64 + 2.7);
            sum
        });
        let mut text = Self { cumulated: cumulated.collect(), words, random, prose: Vec::new() };
        while text.prose.len() < PROSE_BYTES {
            text.sentence();
        }
        text
    }

    /// A body of this many bytes.
    pub fn body(&mut self, bytes: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(bytes);
        while body.len() < bytes {
            let from = self.random.below(self.prose.len());
            let to = self.prose.len().min(from + bytes - body.len());
            body.extend_from_slice(&self.prose[from..to]);
        }
        body
    }

    /// A body of a length as people's messages have it.
    pub fn message(&mut self) -> Vec<u8> {
        let bytes = self.length();
        self.body(bytes)
    }

    /// A length as people's messages have it, in bytes: log-normal around 38.
    pub fn length(&mut self) -> usize {
        // Twelve uniform numbers add up to a normal one, closely enough.
        let normal: f64 = (0..12).map(|_| self.random.part()).sum::<f64>() - 6.0;
        ((38f64.ln() + normal).exp() as usize).clamp(1, 4_096)
    }

    fn sentence(&mut self) {
        let words = 3 + self.random.below(14);
        let total = self.cumulated[WORDS - 1];
        for number in 0..words {
            let at = self.random.part() * total;
            let rank = self.cumulated.partition_point(|sum| *sum < at).min(WORDS - 1);
            let from = self.prose.len() + usize::from(number > 0);
            if number > 0 {
                self.prose.push(b' ');
            }
            self.prose.extend_from_slice(self.words[rank].as_bytes());
            if number == 0 {
                self.prose[from].make_ascii_uppercase();
            }
        }
        let end: &[u8] = [&b". "[..], b". ", b"? ", b"! ", b"\n"][self.random.below(5)];
        self.prose.extend_from_slice(end);
    }
}

/// A word; the rarer, the longer.
fn word(random: &mut Random, rank: usize) -> String {
    const ONSETS: [&str; 16] = ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "br"];
    const VOWELS: [&str; 7] = ["a", "e", "i", "o", "u", "ei", "ou"];
    const ENDS: [&str; 6] = ["", "", "n", "r", "s", "nd"];
    let syllables = 1 + (rank + 1).ilog2() as usize / 4 + random.below(2);
    let syllable = |random: &mut Random| {
        let (onset, vowel) = (ONSETS[random.below(ONSETS.len())], VOWELS[random.below(VOWELS.len())]);
        format!("{onset}{vowel}{}", ENDS[random.below(ENDS.len())])
    };
    (0..syllables).map(|_| syllable(random)).collect()
}

/// Who sends to whom in direct messages.
#[derive(Clone, Debug)]
pub struct Direct {
    random: Random,
    users: usize,
}

impl Direct {
    /// Among so many users.
    ///
    /// # Panics
    /// If that is no power of two, or below 16.
    pub fn among(users: usize, seed: u64) -> Self {
        assert!(users.is_power_of_two() && users >= 16, "{users} users have no mutual partners");
        Self { random: Random::new(seed ^ 0x6469_7265), users }
    }

    /// Partner 0 to [`PARTNERS`]` - 1` of a user; the user is the partner's partner of the same number.
    pub fn partner(&self, user: usize, number: usize) -> usize {
        // Bits to turn over: never none of the lowest four, and never the same for two numbers.
        const MASKS: [usize; PARTNERS] = [0x1d4c1, 0x0b6a2, 0x15394, 0x0e8f8];
        user ^ (MASKS[number] & (self.users - 1))
    }

    /// The sender and the receiver of the next message.
    pub fn next_pair(&mut self) -> (usize, usize) {
        // Squeezed towards the low end, then spread over all users.
        let squeezed = self.random.part().powf(2.4) * self.users as f64;
        let sender = (squeezed as usize).wrapping_mul(0x9e37_79b1) & (self.users - 1);
        let number = match self.random.below(16) {
            0..8 => 0,
            8..12 => 1,
            12..15 => 2,
            _ => 3,
        };
        (sender, self.partner(sender, number))
    }

    /// Every pair that may talk, once.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let pairs = move |user| (0..PARTNERS).map(move |number| (user, self.partner(user, number)));
        (0..self.users).flat_map(pairs).filter(|(one, other)| one < other)
    }
}

/// The members of a group, without doubles: `size` of `users`.
///
/// # Panics
/// If there are not so many users.
pub fn members(group: usize, size: usize, users: usize) -> Vec<usize> {
    assert!(size <= users, "a group of {size} among {users} users");
    // Steps that have no divisor in common with the number of users reach everybody.
    let first = Random::new(group as u64).below(users);
    let mut step = 1 + Random::new(group as u64 ^ 0x7374_6570).below(users);
    while gcd(step, users) != 1 {
        step += 1;
    }
    (0..size).map(|number| (first + number * step) % users).collect()
}

fn gcd(one: usize, other: usize) -> usize {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn partners_are_mutual_and_distinct() {
        for users in [64, Density::Realistic.users()] {
            let direct = Direct::among(users, 1);
            for user in [0, 1, 17, users - 1] {
                let partners: HashSet<usize> = (0..PARTNERS).map(|number| direct.partner(user, number)).collect();
                assert!(partners.len() == PARTNERS && !partners.contains(&user), "user {user}: {partners:?}");
                assert!((0..PARTNERS).all(|number| direct.partner(direct.partner(user, number), number) == user));
            }
            assert_eq!(direct.pairs().count(), users * PARTNERS / 2);
        }
    }

    #[test]
    fn the_active_half_sends_three_of_four() {
        let mut direct = Direct::among(1 << 10, 1);
        let mut sent = vec![0u32; 1 << 10];
        for _ in 0..100_000 {
            let (sender, receiver) = direct.next_pair();
            assert!(sender != receiver && receiver < 1 << 10);
            sent[sender] += 1;
        }
        sent.sort_unstable();
        let active: u32 = sent[512..].iter().sum();
        assert!((70_000..80_000).contains(&active), "{active}");
    }

    #[test]
    fn bodies_have_the_lengths_that_are_written_down() {
        let mut text = Text::new(1);
        let mut lengths: Vec<usize> = (0..10_000).map(|_| text.message().len()).collect();
        lengths.sort_unstable();
        assert!((34..42).contains(&lengths[5_000]), "median {}", lengths[5_000]);
        assert!((300..500).contains(&lengths[9_900]), "p99 {}", lengths[9_900]);
        assert_eq!(text.body(200).len(), 200);
        // About as prose does.
        let packed = zstd::bulk::compress(&text.prose, 1).expect("it compresses").len();
        assert!((PROSE_BYTES / 4..PROSE_BYTES / 2).contains(&packed), "{packed}");
        assert_eq!(Text::new(1).body(100), Text::new(1).body(100));
    }

    #[test]
    fn members_are_distinct() {
        for group in 0..20 {
            let found: HashSet<usize> = members(group, 200, 1_000).into_iter().collect();
            assert_eq!(found.len(), 200);
        }
    }
}
