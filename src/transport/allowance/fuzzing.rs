//! Whatever a client says, and whenever it is told something: hyper gets every byte, but
//! for the kind of empty settings that may be the client's word for what it was told here.

use super::{ACKNOWLEDGED, Allowance, HEAD, PREFACE, SETTINGS, UNKNOWN, length};

/// Below this, a byte says how many of the bytes that follow come from the client at a
/// time; otherwise the client is told that so many beyond it may be open.
const TOLD: u8 = 0x80;
/// What hyper knows of.
const MOST: u32 = 100;
/// The same, as it is said.
const MOST_SAID: u8 = 100;

/// What happens, as bytes.
pub fn allowances(mut bytes: &[u8]) {
    let mut allowance = Allowance::new(MOST);
    let mut came = vec![0; PREFACE];
    let mut kept = came.clone();
    allowance.sift(&mut kept);
    let (mut told, mut owed) = (0, 0);
    while let Some((&what, rest)) = bytes.split_first() {
        bytes = rest;
        if what < TOLD {
            let (piece, rest) = bytes.split_at(bytes.len().min(what.into()));
            bytes = rest;
            let mut piece = piece.to_vec();
            came.extend(&piece);
            allowance.sift(&mut piece);
            kept.extend(piece);
        } else {
            allowance.say((what - TOLD).into(), 0);
            for (flags, settings) in frames(allowance.unwritten()) {
                match flags {
                    ACKNOWLEDGED => owed += 1,
                    _ => {
                        let is_alone = matches!(settings, [0, 3, 0, 0, 0, 0..=MOST_SAID]);
                        assert!(is_alone, "no other setting is told: {settings:?}");
                        told += 1;
                    }
                }
            }
            let said = allowance.unwritten().len();
            allowance.wrote(said);
            assert!(allowance.unwritten().is_empty());
        }
    }
    let (words, empty) = hidden(&came, &kept);
    assert!(words <= told, "{words} words for {told} settings");
    assert!(owed <= empty, "{owed} acknowledged of {empty}");
}

/// The frames of settings in what is said to a client, which are whole.
fn frames(mut said: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = said.split_first_chunk::<HEAD>() {
        let (settings, rest) = rest.split_at(length(head));
        let &[_, _, _, kind, flags, stream @ ..] = head;
        assert_eq!((kind, stream), (SETTINGS, [0; 4]));
        frames.push((flags, settings));
        said = rest;
    }
    assert!(said.is_empty());
    frames
}

/// How many words and how many empty settings of a client hyper does not get.
fn hidden(came: &[u8], kept: &[u8]) -> (usize, usize) {
    assert_eq!(came.len(), kept.len());
    let (mut words, mut empty) = (0, 0);
    let (mut came, mut kept) = (came.split_at(PREFACE).1, kept.split_at(PREFACE).1);
    while !came.is_empty() {
        let is_whole = came.len() >= HEAD;
        let head: [u8; HEAD] = std::array::from_fn(|at| came.get(at).copied().unwrap_or(0));
        let [a, b, c, kind, flags, ..] = head;
        let end = (HEAD + if is_whole { length(&head) } else { 0 }).min(came.len());
        let ((this, rest), (seen, after)) = (came.split_at(end), kept.split_at(end));
        if this != seen {
            assert_eq!(([a, b, c], kind), ([0; 3], SETTINGS));
            let expected = this.iter().enumerate().map(|(at, byte)| match at {
                3 => UNKNOWN,
                _ => *byte,
            });
            assert!(seen.iter().copied().eq(expected), "{seen:?} of {this:?}");
            match flags & ACKNOWLEDGED {
                // Its flags may not have come.
                0 => empty += usize::from(this.len() > 4),
                _ => words += 1,
            }
        }
        (came, kept) = (rest, after);
    }
    (words, empty)
}
