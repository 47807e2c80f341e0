//! How many requests a client may have open on its connection, as HTTP/2 tells it.
//!
//! Where many connections have as many open as HTTP/2 commonly allows, a round of their
//! thread takes so long that nobody is answered in time, and what is refused then has cost
//! almost as much as an answer. So each may have its share of what the thread can answer
//! in time ([`Pace::open`]). Their clients heed that by themselves, and what they hold
//! back costs the thread nothing. hyper tells once what may be, and the same to all; so it
//! is told here, in its first frame and between later ones, and the client's word for
//! having read the latter is kept from hyper, which would not know what it is for.
//!
//! A client that heeds nothing is bounded by what hyper knows
//! ([`MAX_STREAMS`](super::limits::MAX_STREAMS)).
//!
//! [`Pace::open`]: super::pace::Pace::open

/// How many bytes come before the first frame.
const PREFACE: usize = 24;
/// How many bytes each frame begins with: three of length, its kind, its flags, and four
/// that name a stream.
const HEAD: usize = 9;
/// The kind of a frame that tells settings.
const SETTINGS: u8 = 4;
/// The flag of one that says that they were read.
const ACKNOWLEDGED: u8 = 1;
/// A kind that there isn't: HTTP/2 has everybody skip what they don't know.
const UNKNOWN: u8 = 0xff;
/// How many bytes a setting takes, and the one of how many may be open.
const SETTING: usize = 6;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// How much is said at a time of what is owed.
const AT_ONCE: u32 = 64;

/// What is said to a client beside what hyper says, and what it answers to that.
#[derive(Debug)]
pub struct Allowance {
    /// What hyper knows of.
    most: u32,
    /// What the client was told last.
    told: u32,
    /// Whether it was told anything.
    has_begun: bool,
    /// How many bytes are left until the next frame begins.
    skip: usize,
    /// What is known of how that begins.
    head: [u8; HEAD],
    known: usize,
    /// Whether the client has said that it read hyper's settings, which are the first.
    is_settled: bool,
    /// Whether it has still to say that it read what it was told here.
    is_awaited: bool,
    /// Whether hyper is not told of the frame that begins.
    is_hidden: bool,
    /// How often it is to be told that settings of its own were read, which were taken for
    /// its word.
    owes: u32,
    /// What is to be written before anything else.
    unwritten: Vec<u8>,
}

impl Allowance {
    /// hyper would tell the client that it may have so many open.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            told: most,
            has_begun: false,
            skip: PREFACE,
            head: [0; HEAD],
            known: 0,
            is_settled: false,
            is_awaited: false,
            is_hidden: false,
            owes: 0,
            unwritten: Vec::new(),
        }
    }

    /// The first of what hyper says is the frame that tells its settings. It is said here
    /// instead, with how many may be open; of so many bytes.
    #[inline]
    pub fn begin(&mut self, open: u32, bytes: &[u8]) -> Option<usize> {
        if self.has_begun {
            return None;
        }
        self.has_begun = true;
        self.begin_now(open, bytes)
    }

    #[cold]
    fn begin_now(&mut self, open: u32, bytes: &[u8]) -> Option<usize> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let settings = rest.get(..length(head))?;
        if head[3] != SETTINGS {
            return None;
        }
        self.told = open.min(self.most);
        self.unwritten.extend(head);
        for setting in settings.chunks(SETTING) {
            if setting.starts_with(&MAX_CONCURRENT_STREAMS.to_be_bytes()) {
                self.unwritten.extend(may_be_open(self.told));
            } else {
                self.unwritten.extend(setting);
            }
        }
        Some(self.unwritten.len())
    }

    /// Everything was written that was begun, so that something may be said: how many may
    /// be open, if what is left of what was told is not about that. `long` are open that
    /// take longer, and are no hindrance to as many others.
    #[inline]
    pub fn say(&mut self, share: u32, long: u64) {
        let long = u32::try_from(long).unwrap_or(u32::MAX);
        let open = share.saturating_add(long).min(self.most);
        if (open != self.told || self.owes > 0) && self.unwritten.is_empty() {
            self.say_now(open, long);
        }
    }

    #[cold]
    fn say_now(&mut self, open: u32, long: u32) {
        for _ in 0..self.owes.min(AT_ONCE) {
            self.owes -= 1;
            frame(&mut self.unwritten, ACKNOWLEDGED, &[]);
        }
        // One thing at a time, so that it is known what the client's word is for.
        if self.is_settled && !self.is_awaited && self.is_new(open, long) {
            self.told = open;
            self.is_awaited = true;
            frame(&mut self.unwritten, 0, &may_be_open(open));
        }
    }

    /// Whether it is worth telling that so many may be open.
    fn is_new(&self, open: u32, long: u32) -> bool {
        let [left, told] = [open, self.told].map(|open| u64::from(open.saturating_sub(long)));
        let is_about = left * 4 >= told * 3 && told * 4 >= left * 3;
        open != self.told && (open == self.most || !is_about)
    }

    /// What is to be written before anything else.
    #[inline]
    pub fn unwritten(&self) -> &[u8] {
        &self.unwritten
    }

    /// So much of that was written.
    pub fn wrote(&mut self, bytes: usize) {
        self.unwritten.drain(..bytes.min(self.unwritten.len()));
    }

    /// Goes through what came from the client, and makes what is the client's word for
    /// what it was told here a frame that nobody knows.
    pub fn sift(&mut self, bytes: &mut [u8]) {
        let mut left = bytes;
        loop {
            let skipped = self.skip.min(left.len());
            self.skip -= skipped;
            left = left.get_mut(skipped..).unwrap_or_default();
            if left.is_empty() {
                return;
            }
            let known = self.known;
            let come = (HEAD - known).min(left.len());
            let (head, rest) = left.split_at_mut(come);
            for (known, come) in self.head.iter_mut().skip(known).zip(head.iter()) {
                *known = *come;
            }
            self.known += come;
            let [_, _, _, kind, flags, ..] = self.head;
            if kind == SETTINGS {
                self.settings(known, head, flags);
            }
            left = rest;
            if self.known == HEAD {
                self.skip = length(&self.head);
                self.head = [0; HEAD];
                self.known = 0;
                self.is_hidden = false;
            }
        }
    }

    /// A frame of settings begins, of which so many bytes were known before.
    fn settings(&mut self, known: usize, came: &mut [u8], flags: u8) {
        const KIND: usize = 3;
        const FLAGS: usize = 4;
        if length(&self.head) > 0 {
            return;
        }
        // Whoever is told of a frame of that kind is told of it before its flags may have
        // come.
        if self.is_awaited
            && let Some(kind) = KIND.checked_sub(known)
            && let Some(kind) = came.get_mut(kind)
        {
            *kind = UNKNOWN;
            self.is_hidden = true;
        }
        let flags_came = known <= FLAGS && self.known > FLAGS;
        match (flags_came, flags & ACKNOWLEDGED != 0, self.is_hidden) {
            (true, true, true) => self.is_awaited = false,
            (true, true, false) => self.is_settled = true,
            // It changes nothing, and so there was nothing to tell but this.
            (true, false, true) => self.owes = self.owes.saturating_add(1),
            _ => {}
        }
    }
}

/// How long what follows the beginning of a frame is, as far as that is known.
fn length(head: &[u8; HEAD]) -> usize {
    let [first, second, third, ..] = *head;
    u32::from_be_bytes([0, first, second, third]) as usize
}

/// The setting that so many may be open.
fn may_be_open(open: u32) -> [u8; SETTING] {
    let [first, second] = MAX_CONCURRENT_STREAMS.to_be_bytes();
    let [a, b, c, d] = open.to_be_bytes();
    [first, second, a, b, c, d]
}

/// A frame of settings.
fn frame(into: &mut Vec<u8>, flags: u8, settings: &[u8]) {
    let length = u8::try_from(settings.len()).unwrap_or(u8::MAX);
    into.extend([0, 0, length, SETTINGS, flags, 0, 0, 0, 0]);
    into.extend(settings);
}

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: [u8; HEAD] = [0, 0, 0, SETTINGS, ACKNOWLEDGED, 0, 0, 0, 0];
    const EMPTY: [u8; HEAD] = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    const NOBODY_KNOWS: [u8; HEAD] = [0, 0, 0, UNKNOWN, ACKNOWLEDGED, 0, 0, 0, 0];
    /// A setting, as a client tells it first, and data that look like its word.
    const FIRST: [u8; HEAD + 6] = [0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0];
    const DATA: [u8; HEAD + HEAD] = [
        0,
        0,
        9,
        0,
        1,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        SETTINGS,
        ACKNOWLEDGED,
        0,
        0,
        0,
        0,
    ];

    /// A client that has read hyper's settings.
    fn settled() -> Allowance {
        let mut allowance = Allowance::new(100);
        let mut begins = [[b'P'; PREFACE].as_slice(), &FIRST, &WORD].concat();
        let came = begins.clone();
        allowance.sift(&mut begins);
        assert_eq!(begins, came);
        allowance
    }

    /// What is said to a client that has nothing open.
    fn said(allowance: &mut Allowance, open: u32) -> Vec<u8> {
        allowance.say(open, 0);
        let said = allowance.unwritten().to_vec();
        allowance.wrote(said.len());
        said
    }

    fn setting(open: u8) -> Vec<u8> {
        vec![0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, open]
    }

    /// What becomes of bytes that come in two pieces, or one by one.
    fn sifted(allowance: impl Fn() -> Allowance, bytes: &[u8]) -> Vec<(Vec<u8>, Allowance)> {
        let in_two = (0..=bytes.len()).map(|at| {
            let (mut bytes, mut allowance) = (bytes.to_vec(), allowance());
            let (first, second) = bytes.split_at_mut(at);
            allowance.sift(first);
            allowance.sift(second);
            (bytes, allowance)
        });
        let mut one_by_one = bytes.to_vec();
        let mut last = allowance();
        one_by_one.chunks_mut(1).for_each(|byte| last.sift(byte));
        in_two.chain([(one_by_one, last)]).collect()
    }

    #[test]
    fn a_client_is_told_what_changes_and_nothing_else() {
        let mut allowance = settled();
        assert!(said(&mut allowance, 100).is_empty());
        assert_eq!(said(&mut allowance, 25), setting(25));
        assert!(said(&mut allowance, 25).is_empty());
        // One thing at a time.
        assert!(said(&mut allowance, 50).is_empty());
        allowance.sift(&mut WORD.to_vec());
        assert_eq!(said(&mut allowance, 50), setting(50));
    }

    #[test]
    fn what_takes_longer_is_no_hindrance_and_nobody_may_more_than_hyper_knows() {
        let mut allowance = settled();
        allowance.say(25, 7);
        assert_eq!(allowance.unwritten(), setting(32));
        let mut allowance = settled();
        said(&mut allowance, 25);
        allowance.sift(&mut WORD.to_vec());
        allowance.say(25, u64::MAX);
        assert_eq!(allowance.unwritten(), setting(100));
    }

    #[test]
    fn however_many_take_longer_others_may_be_open_besides() {
        for share in [3_u32, 6, 12, 20] {
            let mut allowance = settled();
            let mut told = 0;
            for long in 0..100 - share {
                allowance.say(share, long.into());
                if let [.., open] = allowance.unwritten() {
                    told = u32::from(*open);
                    allowance.wrote(usize::MAX);
                    allowance.sift(&mut WORD.to_vec());
                }
                let left = told - long;
                assert!(left * 4 >= share * 3, "{left} of {share} with {long}");
                assert!(left * 3 <= share * 4, "{left} of {share} with {long}");
            }
        }
    }

    #[test]
    fn settings_of_a_client_are_acknowledged_once_if_they_come_before_and_after_it_is_told() {
        let mut allowance = settled();
        let mut settings = EMPTY.to_vec();
        let (kind, flags) = settings.split_at_mut(4);
        allowance.sift(kind);
        assert_eq!(said(&mut allowance, 25), setting(25));
        allowance.sift(flags);
        assert_eq!(settings, EMPTY, "hyper does it");
        assert!(said(&mut allowance, 25).is_empty());
        allowance.sift(&mut WORD.to_vec());
        assert_eq!(said(&mut allowance, 100), setting(100));
    }

    #[test]
    fn a_little_more_or_less_is_not_told_but_all_is() {
        for (told, about, far) in [
            (3, [3, 4], [2, 5]),
            (12, [9, 16], [8, 17]),
            (74, [56, 98], [55, 99]),
            (90, [68, 99], [67, 100]),
        ] {
            for open in about.into_iter().chain(far) {
                let mut allowance = settled();
                for open in [1, told] {
                    assert_eq!(said(&mut allowance, open), setting(open as u8));
                    allowance.sift(&mut WORD.to_vec());
                }
                let is_told = !said(&mut allowance, open).is_empty();
                assert_eq!(is_told, far.contains(&open), "{open} after {told}");
            }
        }
    }

    #[test]
    fn what_hyper_says_first_tells_a_share_of_it() {
        let settings = |open: u8| {
            let mut frame = vec![0, 0, 18, SETTINGS, 0, 0, 0, 0, 0];
            frame.extend([0, 4, 0, 1, 0, 3]);
            frame.extend([0, 3, 0, 0, 0, open]);
            frame.extend([0, 5, 0, 0, 64, 0]);
            frame
        };
        let written = [settings(100), vec![0; 13]].concat();
        for (open, told) in [(12, 12), (100, 100), (101, 100)] {
            let mut allowance = Allowance::new(100);
            assert_eq!(allowance.begin(open, &written), Some(HEAD + 18));
            assert_eq!(allowance.unwritten(), settings(told as u8));
            assert_eq!(allowance.begin(open, &written), None);
            allowance.wrote(HEAD + 18);
            // It knows what was told.
            let mut begins = [[b'P'; PREFACE].as_slice(), &FIRST, &WORD].concat();
            allowance.sift(&mut begins);
            assert!(said(&mut allowance, told).is_empty());
            assert_eq!(said(&mut allowance, 50), setting(50));
        }
        // Whatever else came first is left as it is.
        for other in [&settings(100)[..20], &DATA, &[]] {
            let mut allowance = Allowance::new(100);
            assert_eq!(allowance.begin(12, other), None);
            assert!(allowance.unwritten().is_empty());
        }
    }

    #[test]
    fn nothing_is_said_before_the_client_has_read_what_hyper_says() {
        let begins = [[b'P'; PREFACE].as_slice(), &FIRST, &DATA].concat();
        for (_, mut allowance) in sifted(|| Allowance::new(100), &begins) {
            assert!(said(&mut allowance, 25).is_empty());
            allowance.sift(&mut WORD.to_vec());
            assert_eq!(said(&mut allowance, 25), setting(25));
        }
    }

    #[test]
    fn the_word_for_what_was_told_is_kept_from_hyper_however_it_comes() {
        let told = || {
            let mut allowance = settled();
            said(&mut allowance, 25);
            allowance
        };
        let come = [DATA.as_slice(), &WORD, &DATA, &FIRST].concat();
        let kept = [DATA.as_slice(), &NOBODY_KNOWS, &DATA, &FIRST].concat();
        for (come, mut allowance) in sifted(told, &come) {
            assert_eq!(come, kept);
            assert_eq!(said(&mut allowance, 12), setting(12));
        }
    }

    #[test]
    fn a_word_that_was_not_asked_for_is_left_for_hyper_to_judge() {
        for (come, _) in sifted(settled, &WORD) {
            assert_eq!(come, WORD);
        }
    }

    #[test]
    fn empty_settings_of_a_client_are_acknowledged_though_hyper_does_not_see_them() {
        let told = || {
            let mut allowance = settled();
            said(&mut allowance, 25);
            allowance
        };
        for (come, mut allowance) in sifted(told, &[EMPTY, EMPTY, WORD].concat()) {
            assert!(come.chunks(HEAD).all(|head| head[3] == UNKNOWN));
            assert_eq!(said(&mut allowance, 25), [WORD, WORD].concat());
            assert!(said(&mut allowance, 25).is_empty());
        }
        for (come, mut allowance) in sifted(settled, &EMPTY) {
            assert_eq!(come, EMPTY, "hyper does it");
            assert!(said(&mut allowance, 100).is_empty());
        }
    }

    #[test]
    fn what_is_owed_to_one_who_asks_for_much_takes_little_room() {
        let mut allowance = settled();
        said(&mut allowance, 25);
        let mut many = EMPTY.repeat(1_000);
        allowance.sift(&mut many);
        allowance.say(25, 0);
        allowance.say(25, 0);
        assert_eq!(allowance.unwritten().len(), HEAD * AT_ONCE as usize);
        let mut all = 0;
        while !allowance.unwritten().is_empty() {
            all += allowance.unwritten().len().min(10);
            allowance.wrote(10);
            allowance.say(25, 0);
        }
        assert_eq!(all, HEAD * 1_000);
    }
}
