//! Append-only lists of ascending 32-bit numbers, one for each id, in one arena.
//!
//! Fan-out appends one number to each of many lists, most of which nobody has touched for a while: what it costs is the
//! cache lines that it touches. So the end of a list lies in the same line of 64 bytes as its counters; an append touches
//! that one line and, once in [`TAIL`] times, a block of the arena. Lines come in pages, made when an id of theirs is
//! first used, so that sparse ids cost little. Nothing is ever moved, and a list of so many entries takes at most about
//! twice their bytes.

/// Entries at the end of a list, in the line of its counters.
const TAIL: usize = 13;
/// Lists of a page.
const PAGE: usize = 64;
/// Entries of a list's first block, and of its largest; each block is twice as large as the one before.
const BLOCK_ENTRIES: (u32, u32) = (2 * TAIL as u32, 64 * TAIL as u32);
/// Words before a block's entries: the block before it, how many entries it holds, how many fit.
const BLOCK_HEADER: usize = 3;
/// Words of one piece of the arena. A block lies in one piece.
const PIECE_WORDS: usize = 1 << 16;

/// The end of a list, and where its beginning is.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line {
    /// Entries in all.
    len: u32,
    /// Entries in blocks; the others are the tail.
    in_blocks: u32,
    /// The newest block: its place in the arena plus one, or 0 for none.
    block: u32,
    tail: [u32; TAIL],
}

const _: () = assert!(size_of::<Line>() == 64);

/// Lists by id.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pages: Vec<Option<Box<[Line; PAGE]>>>,
    /// Made once, emptied by [`Lists::clear`], filled again.
    pieces: Vec<Vec<u32>>,
    /// The piece that is being filled.
    piece: usize,
    /// Memory that lines in use and blocks take, in bytes.
    bytes: usize,
}

/// The parts of one list, oldest first.
pub(super) struct Parts<'a>(Vec<&'a [u32]>);

impl Lists {
    /// Appends a number that is above 0 and not below the last one. Returns false, and does nothing, if it is the last one.
    #[inline]
    pub(super) fn push(&mut self, id: u32, number: u32) -> bool {
        let page = id as usize / PAGE;
        if self.pages.get(page).is_none_or(Option::is_none) {
            self.make_page(page);
        }
        let Some(Some(lines)) = self.pages.get_mut(page) else { return false };
        let line = &mut lines[id as usize % PAGE];
        // Of a list that is not empty the tail is not empty: it is moved when there is something to come after it.
        let mut at = (line.len - line.in_blocks) as usize;
        if at > 0 && line.tail[at - 1] == number {
            return false;
        }
        if line.len == 0 {
            self.bytes += size_of::<Line>();
        }
        if at == TAIL {
            self.bytes += spill(&mut self.pieces, &mut self.piece, line);
            at = 0;
        }
        line.tail[at] = number;
        line.len += 1;
        true
    }

    /// How many entries a list has.
    pub(super) fn len(&self, id: u32) -> usize {
        self.line(id).map_or(0, |line| line.len as usize)
    }

    /// The parts of a list that hold whatever of it is above `after`, and perhaps older ones.
    pub(super) fn parts_after(&self, id: u32, after: u32) -> Parts<'_> {
        let mut parts = Vec::new();
        let Some(line) = self.line(id) else { return Parts(parts) };
        let tail = &line.tail[..(line.len - line.in_blocks) as usize];
        parts.push(tail);
        let (mut block, mut is_whole) = (line.block, tail.first().is_some_and(|first| *first <= after));
        while block != 0 && !is_whole {
            let (before, entries) = self.block(block);
            is_whole = entries.first().is_some_and(|first| *first <= after);
            parts.push(entries);
            block = before;
        }
        parts.reverse();
        Parts(parts)
    }

    /// The parts of a list that hold its entries from an index on, and perhaps older ones; and the index of their first.
    pub(super) fn parts_from(&self, id: u32, index: usize) -> (usize, Parts<'_>) {
        let mut parts = Vec::new();
        let Some(line) = self.line(id) else { return (0, Parts(parts)) };
        let mut first = line.in_blocks as usize;
        parts.push(&line.tail[..line.len as usize - first]);
        let mut block = line.block;
        while block != 0 && first > index {
            let (before, entries) = self.block(block);
            first -= entries.len();
            parts.push(entries);
            block = before;
        }
        parts.reverse();
        (first, Parts(parts))
    }

    /// All of a list.
    pub(super) fn parts(&self, id: u32) -> Parts<'_> {
        // All numbers are above 0.
        self.parts_after(id, 0)
    }

    /// Ids with entries, ascending.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        let pages = self.pages.iter().enumerate().filter_map(|(number, page)| Some((number, page.as_ref()?)));
        pages.flat_map(|(number, lines)| {
            let used = lines.iter().enumerate().filter(|(_, line)| line.len > 0);
            used.map(move |(index, _)| (number * PAGE + index) as u32)
        })
    }

    /// Memory that the lists take, in bytes: their lines and blocks. What an earlier use has left, and lines of a page that
    /// no list uses, do not count; pages take at most a line for each id.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Empties all lists and keeps their memory.
    pub(super) fn clear(&mut self) {
        for lines in self.pages.iter_mut().flatten() {
            **lines = [Line::default(); PAGE];
        }
        self.pieces.iter_mut().for_each(Vec::clear);
        self.piece = 0;
        self.bytes = 0;
    }

    #[cold]
    fn make_page(&mut self, page: usize) {
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page] = Some(Box::new([Line::default(); PAGE]));
    }

    /// Empties one list; its blocks stay taken.
    #[cfg(test)]
    pub(super) fn empty(&mut self, id: u32) {
        if let Some(Some(lines)) = self.pages.get_mut(id as usize / PAGE) {
            lines[id as usize % PAGE] = Line::default();
        }
    }

    fn line(&self, id: u32) -> Option<&Line> {
        let lines = self.pages.get(id as usize / PAGE)?.as_ref()?;
        Some(&lines[id as usize % PAGE]).filter(|line| line.len > 0)
    }

    /// The block before a block, and its entries.
    fn block(&self, block: u32) -> (u32, &[u32]) {
        let place = block as usize - 1;
        let words = &self.pieces[place / PIECE_WORDS][place % PIECE_WORDS..];
        (words[0], &words[BLOCK_HEADER..BLOCK_HEADER + words[1] as usize])
    }
}

/// Moves a full tail to the list's newest block, or to a new one. Returns how many bytes a new one takes.
#[cold]
fn spill(pieces: &mut Vec<Vec<u32>>, piece: &mut usize, line: &mut Line) -> usize {
    let mut capacity = BLOCK_ENTRIES.0;
    if line.block != 0 {
        let place = line.block as usize - 1;
        let words = &mut pieces[place / PIECE_WORDS][place % PIECE_WORDS..];
        let (held, fit) = (words[1], words[2]);
        if held < fit {
            // Capacities are multiples of a tail.
            let at = BLOCK_HEADER + held as usize;
            words[at..at + TAIL].copy_from_slice(&line.tail);
            words[1] = held + TAIL as u32;
            line.in_blocks += TAIL as u32;
            return 0;
        }
        capacity = (fit * 2).min(BLOCK_ENTRIES.1);
    }
    let words = BLOCK_HEADER + capacity as usize;
    while pieces.get(*piece).is_some_and(|piece| piece.len() + words > PIECE_WORDS) {
        *piece += 1;
    }
    if *piece == pieces.len() {
        pieces.push(Vec::with_capacity(PIECE_WORDS));
    }
    let filled = &mut pieces[*piece];
    let place = *piece * PIECE_WORDS + filled.len();
    filled.extend_from_slice(&[line.block, TAIL as u32, capacity]);
    filled.extend_from_slice(&line.tail);
    filled.resize(filled.len() + capacity as usize - TAIL, 0);
    line.block = u32::try_from(place + 1).expect("a head is persisted long before its lists take 16 GiB");
    line.in_blocks += TAIL as u32;
    words * size_of::<u32>()
}

impl<'a> Parts<'a> {
    /// The numbers in `(after, through]`, ascending.
    pub(super) fn range(self, after: u32, through: u32) -> impl Iterator<Item = u32> + 'a {
        let within = move |part: &'a [u32]| {
            let first = part.partition_point(|number| *number <= after);
            let end = part.partition_point(|number| *number <= through);
            part.get(first..end).unwrap_or(&[])
        };
        self.0.into_iter().flat_map(within).copied()
    }

    /// All numbers of the parts, ascending.
    pub(super) fn all(self) -> impl Iterator<Item = u32> + 'a {
        self.0.into_iter().flatten().copied()
    }

    /// The number with this index, counted from the beginning of the parts.
    pub(super) fn get(&self, index: usize) -> Option<u32> {
        let mut left = index;
        for part in &self.0 {
            match part.get(left) {
                Some(number) => return Some(*number),
                None => left -= part.len(),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Appends to lists and to plain vectors alike, and compares whatever can be asked.
    fn check(lists: &mut Lists, appends: impl Iterator<Item = (u32, u32)>) {
        let mut plain: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (id, number) in appends {
            let list = plain.entry(id).or_default();
            let is_new = list.last() != Some(&number);
            assert_eq!(lists.push(id, number), is_new, "{number} to list {id} of {}", list.len());
            if is_new {
                list.push(number);
            }
        }
        assert!(lists.ids().eq(plain.keys().copied()));
        for (id, list) in &plain {
            assert_eq!(lists.len(*id), list.len());
            assert!(lists.parts(*id).all().eq(list.iter().copied()), "list {id}");
            let highest = *list.last().expect("no list is empty");
            for (index, number) in list.iter().enumerate().step_by(list.len() / 50 + 1) {
                assert_eq!(lists.parts(*id).get(index), Some(*number));
                let (first, parts) = lists.parts_from(*id, index);
                assert!(first <= index && parts.all().skip(index - first).eq(list[index..].iter().copied()));
                for (after, through) in
                    [(*number, highest), (number - 1, highest - 1), (0, *number), (*number, number - 1)]
                {
                    let expected = list.iter().copied().filter(|entry| after < *entry && *entry <= through);
                    let found = lists.parts_after(*id, after).range(after, through);
                    assert!(found.eq(expected), "list {id} in ({after}, {through}]");
                }
            }
            assert_eq!(lists.parts(*id).get(list.len()), None);
            let (first, parts) = lists.parts_from(*id, list.len() + 1_000);
            assert!(first <= list.len() && parts.all().count() == list.len() - first, "list {id}");
        }
        assert_eq!(lists.len(u32::MAX - 1), 0);
        assert_eq!(lists.parts(5_000_000).all().count(), 0);
    }

    #[test]
    fn lists_hold_what_was_appended() {
        let mut lists = Lists::default();
        // Lists of all lengths around the tail and the blocks, some numbers twice, ids near and far.
        let lengths = [1, 2, 12, 13, 14, 26, 27, 39, 40, 100, 1_000, 20_000];
        let ids = || (0..).map(|n: u32| n * 37 + n.pow(4)).zip(lengths);
        let appends = |step: u32| ids().flat_map(move |(id, length)| (1..=length).map(move |n| (id, n * step / 2 + 1)));
        check(&mut lists, appends(3));
        let filled = lists.bytes();
        lists.clear();
        assert!(filled > 0 && lists.ids().next().is_none() && lists.bytes() == 0);
        check(&mut lists, appends(5));
        lists.clear();
        // In turns, as fan-out does it.
        check(&mut lists, (1..30_000).flat_map(|n| (0..n % 70).map(move |id| (id, n))));
    }

    #[test]
    fn a_list_takes_at_most_about_twice_its_bytes() {
        let mut lists = Lists::default();
        for number in 1..=100_000 {
            (0..10).for_each(|id| assert!(lists.push(id, number)));
        }
        let entries = 10 * 100_000 * size_of::<u32>();
        assert!(lists.bytes() < entries * 2, "{} bytes for {entries}", lists.bytes());
    }
}
