//! Digits as people write them: groups with something between.
//!
//! A chain is as many groups of digits as follow each other; what is looked for is a window of it. A window that is tied to
//! more digits by a hyphen or a dot is a part of something else (a UUID, a decimal number, a longer reference).

use std::ops::Range;

/// The most groups of a window.
pub(super) const MOST_GROUPS: usize = 7;
/// The most digits of a window.
pub(super) const MOST_DIGITS: usize = 19;
/// The fewest digits of anything that is looked for but an IP address, which has four groups.
const LEAST_DIGITS: usize = 5;
/// The groups of an IP address.
const OCTETS: usize = 4;
/// The most characters between two groups.
const MOST_BETWEEN: usize = 3;

/// A chain; its buffers are used again for the next.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Where it begins in the text. What follows is kept small: a table of numbers is one chain.
    start: usize,
    /// Where each group begins, counted from there.
    starts: Vec<u32>,
    /// Where the digits of each group begin among all; a group has as many as it is long.
    begins: Vec<u32>,
    /// Digits of each group.
    lengths: Vec<u8>,
    /// What is between a group and the next.
    joints: Vec<u8>,
    digits: Vec<u8>,
    /// The chain hangs on something before it, or after.
    tied: (bool, bool),
    /// A plus goes before it.
    pub(super) plus: bool,
}

/// Some groups of a chain.
#[derive(Clone, Debug)]
pub(super) struct Window<'a> {
    pub(super) digits: &'a [u8],
    pub(super) lengths: &'a [u8],
    pub(super) joints: &'a [u8],
    /// In the text.
    pub(super) span: Range<usize>,
    /// It stands free of what is beside it.
    pub(super) free: bool,
    /// It is the whole chain.
    pub(super) whole: bool,
    /// It goes on as it is: more groups of the same length.
    pub(super) one_of_many: bool,
}

/// One way to write a number: lengths of its groups, and what is between.
#[derive(Debug)]
pub(super) struct Form {
    lengths: Vec<u8>,
    joints: Vec<u8>,
}

// === impl Chain ===

impl Chain {
    /// Reads the chain that begins with the digits at `start`; gives its end. What it hangs on is for [`Chain::bind`].
    pub(super) fn read(&mut self, bytes: &[u8], start: usize) -> usize {
        self.start = start;
        self.starts.clear();
        self.begins.clear();
        self.lengths.clear();
        self.joints.clear();
        self.digits.clear();
        let Some(mut end) = group_end(bytes, start) else { return start };
        let mut at = start;
        while self.push(bytes, at..end) {
            let Some((joint, next)) = between(bytes, end) else { break };
            let Some(next_end) = group_end(bytes, next) else { break };
            self.joints.push(joint);
            (at, end) = (next, next_end);
        }
        self.joints.truncate(self.len().saturating_sub(1));
        self.len().checked_sub(1).map_or(start, |last| self.at(last).end)
    }

    /// Where a group is in the text, or its end where it is.
    fn at(&self, group: usize) -> Range<usize> {
        let begin = self.begin(group);
        let start = self.start + self.starts.get(group).map_or(0, |start| *start as usize);
        start..start + (self.begin(group + 1) - begin)
    }

    /// Where the digits of a group begin; behind the last one, where they end.
    fn begin(&self, group: usize) -> usize {
        self.begins.get(group).map_or(self.digits.len(), |begin| *begin as usize)
    }

    /// Looks at what the chain hangs on.
    pub(super) fn bind(&mut self, bytes: &[u8]) {
        let Some(last) = self.len().checked_sub(1) else { return };
        let first = self.at(0);
        self.tied = (tied_before(bytes, first.start), tied_after(bytes, self.at(last).end));
        self.plus = plus_before(bytes, first.start);
    }

    /// Takes a group in; not where the chain becomes longer than 4 GiB.
    fn push(&mut self, bytes: &[u8], Range { start: at, end }: Range<usize>) -> bool {
        let (Ok(start), Ok(begin)) = (u32::try_from(at - self.start), u32::try_from(self.digits.len())) else {
            return false;
        };
        self.starts.push(start);
        self.begins.push(begin);
        // Departments of Corsica: 2A counts as 19 and 2B as 18.
        match &bytes[at..end] {
            [b'2', b'A' | b'a'] => self.digits.extend([1, 9]),
            [b'2', b'B' | b'b'] => self.digits.extend([1, 8]),
            digits => self.digits.extend(digits.iter().map(|digit| digit.wrapping_sub(b'0'))),
        }
        self.lengths.push(u8::try_from(end - at).unwrap_or(u8::MAX));
        true
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether no window of it can be anything: most numbers in most texts.
    pub(super) fn too_little(&self) -> bool {
        self.digits.len() < LEAST_DIGITS && self.len() < OCTETS
    }

    /// Whether so many groups from one on can be anything; as [`Chain::window`], which it saves.
    pub(super) fn worth_it(&self, from: usize, count: usize) -> bool {
        let digits = self.begin(from + count) - self.begin(from);
        digits <= MOST_DIGITS && (digits >= LEAST_DIGITS || count == OCTETS)
    }

    /// Lengths of the groups from one on, a byte each, the first lowest: as [`shape`] has them.
    pub(super) fn shapes(&self, from: usize) -> u64 {
        let lengths = self.lengths.get(from..).unwrap_or_default();
        match lengths.first_chunk::<8>() {
            Some(eight) => u64::from_le_bytes(*eight),
            None => lengths.iter().rev().fold(0, |all, length| all << 8 | u64::from(*length)),
        }
    }

    /// Whether a group goes on as the one before it: whatever of two groups or more begins there is one of many.
    pub(super) fn goes_on_from_before(&self, from: usize) -> bool {
        let before = from.wrapping_sub(1);
        from > 0
            && self.joints.get(from).is_some_and(|joint| self.joints[before] == *joint)
            && self.lengths[before] == self.lengths[from]
    }

    /// Whether so many groups from one on go on as they are; as [`Window::one_of_many`], which it saves.
    pub(super) fn one_of_many(&self, from: usize, count: usize) -> bool {
        let after = || {
            let last = from + count - 1;
            self.joints.get(last).is_some_and(|joint| self.joints[from] == *joint)
                && self.lengths.get(last + 1) == self.lengths.get(from)
        };
        count > 1 && (self.goes_on_from_before(from) || after())
    }

    /// Whether four groups from one on have dots between them.
    pub(super) fn dotted(&self, from: usize) -> bool {
        self.joints.get(from..from + OCTETS - 1) == Some(b"...")
    }

    /// Where so many groups from one on end in the text.
    pub(super) fn end(&self, from: usize, count: usize) -> usize {
        self.at(from + count - 1).end
    }

    /// So many groups from one on; `None` where the chain ends before, or they have too many digits.
    pub(super) fn window(&self, from: usize, count: usize) -> Option<Window<'_>> {
        let to = from + count;
        if count == 0 || to > self.len() {
            return None;
        }
        let (first, last) = (self.at(from), self.at(to - 1));
        let (begin, end) = (self.begin(from), self.begin(to));
        if end - begin > MOST_DIGITS {
            return None;
        }
        let open = |joint: &u8| matches!(joint, b' ' | b'/' | b'(' | b')' | b'\n');
        let before = from.checked_sub(1).map(|at| (self.joints[at], self.lengths[at]));
        let after = self.joints.get(to - 1).copied().zip(self.lengths.get(to).copied());
        let free_before = before.map_or(!self.tied.0, |(joint, _)| open(&joint));
        let free_after = after.map_or(!self.tied.1, |(joint, _)| open(&joint));
        let joints = &self.joints[from..to - 1];
        let lengths = &self.lengths[from..to];
        let same = |(joint, length): (u8, u8)| count > 1 && joints[0] == joint && lengths[0] == length;
        Some(Window {
            digits: &self.digits[begin..end],
            lengths,
            joints,
            span: first.start..last.end,
            free: free_before && free_after,
            whole: count == self.len(),
            one_of_many: before.is_some_and(same) || after.is_some_and(same),
        })
    }

    /// The whole chain, if all its groups but the last have one length: digits that were spaced out.
    pub(super) fn spaced_out(&self) -> Option<Window<'_>> {
        let (first, all) = (self.lengths.first()?, self.lengths.split_last()?.1);
        (self.len() > MOST_GROUPS && *first <= 3 && all.iter().all(|length| length == first))
            .then(|| self.window(0, self.len()))?
    }
}

// === impl Window ===

impl Window<'_> {
    /// Spaces, hyphens and the like between groups; a line may break once, where nothing else is there.
    pub(super) fn even(&self) -> bool {
        let breaks = self.joints.iter().filter(|joint| **joint == b'\n').count();
        let brackets = self.joints.iter().any(|joint| matches!(joint, b'(' | b')'));
        !brackets && (breaks == 0 || (breaks == 1 && self.whole))
    }
}

// === impl Form ===

impl Form {
    /// Reads a form: numbers, and between them a mark or `~`.
    pub(super) fn read(text: &str) -> Self {
        let lengths =
            text.split(|mark: char| !mark.is_ascii_digit()).filter_map(|length| length.parse().ok()).collect();
        Self { lengths, joints: text.bytes().filter(|byte| !byte.is_ascii_digit()).collect() }
    }

    /// The lengths of its groups.
    pub(super) fn shape(&self) -> u64 {
        shape(&self.lengths)
    }

    /// How many groups it has.
    pub(super) fn groups(&self) -> usize {
        self.lengths.len()
    }

    /// Digits of the whole.
    pub(super) fn digits(&self) -> usize {
        self.lengths.iter().map(|length| usize::from(*length)).sum()
    }

    /// Whether a window is written so.
    pub(super) fn fits(&self, window: &Window<'_>) -> bool {
        let fits = |(form, joint): (&u8, &u8)| match joint {
            b'\n' => window.whole,
            b' ' | b'-' | b'.' | b'/' | b'_' => *form == b'~' || form == joint,
            _ => false,
        };
        self.lengths == window.lengths && self.joints.iter().zip(window.joints).all(fits)
    }
}

/// The lengths of groups in one number.
pub(super) fn shape(lengths: &[u8]) -> u64 {
    lengths.iter().rev().fold(0, |all, length| all << 8 | u64::from(*length))
}

/// Whether a word is a number by itself that is nothing without a word beside it.
pub(super) fn wordless_alone(bytes: &[u8], word: &[u8], start: usize) -> bool {
    // An identifier by its form has 11, 13 or more digits, a telephone number a plus.
    let few = matches!(word.len(), 0..=10 | 12);
    few && word.iter().all(u8::is_ascii_digit) && !goes_on(bytes.get(start + word.len())) && !plus_before(bytes, start)
}

/// Whether a word is a number by itself, with too few digits for anything.
pub(super) fn alone(before: Option<u8>, word: &[u8], after: Option<&u8>) -> bool {
    // What goes before a chain is no part of it, but of a MAC address it is.
    let bound = matches!(before, Some(b'-' | b'.'));
    word.len() < LEAST_DIGITS && !goes_on(after) && !bound && word.iter().all(u8::is_ascii_digit)
}

/// Whether a chain may go on with this.
fn goes_on(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t' | b'\r' | b'\n' | b'-' | b'.' | b'/' | b'_' | b'(' | b')'))
}

/// The end of a group of digits that is no part of a word.
fn group_end(bytes: &[u8], at: usize) -> Option<usize> {
    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = at + digits;
    match (digits, &bytes[end..]) {
        (0, _) => None,
        (1, [b'A' | b'B' | b'a' | b'b', rest @ ..])
            if bytes[at] == b'2' && !rest.first().is_some_and(u8::is_ascii_alphanumeric) =>
        {
            Some(end + 1)
        }
        (_, [next, ..]) if next.is_ascii_alphabetic() => None,
        _ => Some(end),
    }
}

/// What is between two groups, and where the next begins.
fn between(bytes: &[u8], end: usize) -> Option<(u8, usize)> {
    let mut joint = b' ';
    for (count, byte) in bytes[end..].iter().enumerate() {
        match byte {
            b'0'..=b'9' if count > 0 => return Some((joint, end + count)),
            b' ' | b'\t' | b'\r' if count < MOST_BETWEEN => {}
            b'\n' if count < MOST_BETWEEN && joint == b' ' => joint = b'\n',
            b'-' | b'.' | b'/' | b'_' | b'(' | b')' if count < MOST_BETWEEN && matches!(joint, b' ' | b')') => {
                joint = *byte
            }
            _ => return None,
        }
    }
    None
}

/// Whether what goes before binds digits: a dot (a decimal number), or a hyphen after something with digits in it.
fn tied_before(bytes: &[u8], start: usize) -> bool {
    match bytes[..start] {
        [.., b'.'] => true,
        [ref rest @ .., b'-' | b'_'] => {
            let word = rest.iter().rev().take(40).take_while(|byte| byte.is_ascii_alphanumeric());
            word.into_iter().any(u8::is_ascii_digit)
        }
        _ => false,
    }
}

/// Whether what goes after binds digits: a hyphen or a dot, and then something with digits in it.
fn tied_after(bytes: &[u8], end: usize) -> bool {
    match &bytes[end..] {
        [b'-' | b'_' | b'.', rest @ ..] => {
            let mut word = rest.iter().take(40).take_while(|byte| byte.is_ascii_alphanumeric());
            // One letter is a check letter.
            let letters = word.clone().count();
            letters > 1 && word.any(u8::is_ascii_digit)
        }
        _ => false,
    }
}

fn plus_before(bytes: &[u8], start: usize) -> bool {
    let mut before = bytes[..start].iter().rev().skip_while(|byte| matches!(byte, b' ' | b'('));
    before.next() == Some(&b'+') && !before.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_end_where_words_begin_and_know_what_they_hang_on() {
        for (text, lengths, joints, free) in [
            ("4111 1111-1111\t1111 x", &[4, 4, 4, 4][..], &b" - "[..], true),
            ("85.07.30-033.28", &[2, 2, 2, 3, 2], b"..-.", true),
            ("(555) 123 - 4567", &[3, 3, 4], b")-", true),
            ("446655440000", &[12], b"", true),
            ("3-446655440000", &[1, 12], b"-", true),
            ("1 85 05 2A 006 084 36", &[1, 2, 2, 2, 3, 3, 2], b"      ", true),
            ("12 34x", &[2], b"", true),
            ("12-34ab", &[2], b"", false),
            ("12\n34", &[2, 2], b"\n", true),
            ("12, 34", &[2], b"", true),
        ] {
            let mut chain = Chain::default();
            let start = text.find(|letter: char| letter.is_ascii_digit()).unwrap();
            chain.read(text.as_bytes(), start);
            chain.bind(text.as_bytes());
            assert_eq!((&chain.lengths[..], &chain.joints[..]), (lengths, joints), "{text}");
            assert_eq!(chain.window(0, chain.len()).unwrap().free, free, "{text}");
        }
        let mut chain = Chain::default();
        for (text, free) in [("a716-4466", false), ("card-4466", true), ("0.4466", false), ("= 4466", true)] {
            chain.read(text.as_bytes(), text.find("4466").unwrap());
            chain.bind(text.as_bytes());
            assert_eq!(chain.window(0, 1).unwrap().free, free, "{text}");
        }
    }
}
