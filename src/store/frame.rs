//! One commit in a journal or a backup: a header, the sealed history entry and the
//! sealed answer to remember.
//!
//! The own hash makes a frame checkable alone, so that damage to one does not
//! hide those after it. The chain makes the history checkable as a whole; it is
//! over the entries only, so that whoever reads the history through the port can
//! compute it, and the answer, which is no history, is covered by the own hash.
//!
//! The group is the first sequence of the write that the frame was part of. It
//! is what tells a torn write from damage: a frame of a later group proves that
//! everything before it once was durable.

use sha2::{Digest, Sha256};

use crate::store::record::{MAX_COMMIT_BYTES, link};
use crate::store::{Chain, Head, SealedCommit, Sequence};

/// The bytes before a frame's entry.
pub(in crate::store) const HEADER_BYTES: usize = 4 + 4 + 4 + 8 + 8 + 32 + 32;

const MAGIC: [u8; 4] = *b"rsf1";

/// A frame that checks out.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct Frame<'a> {
    /// Its position.
    pub sequence: Sequence,
    /// The position of the first frame that was written together with it.
    pub group: Sequence,
    /// The chain up to and including it.
    pub chain: Chain,
    /// The sealed history entry.
    pub entry: &'a [u8],
    /// The sealed answer to remember; empty if there is none.
    pub answer: &'a [u8],
}

/// There is no whole frame.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct NoFrame;

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` begin with.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NoFrame> {
        Self::parse(bytes).ok_or(NoFrame)
    }

    /// Appends the frame to `bytes`. Answers with its own hash.
    pub fn write(&self, bytes: &mut Vec<u8>) -> [u8; 32] {
        let start = bytes.len();
        self.write_head(bytes);
        let head = bytes.get(start..).unwrap_or_default();
        let hash = own_hash(head, self.entry, self.answer);
        bytes.extend_from_slice(&hash);
        bytes.extend_from_slice(self.entry);
        bytes.extend_from_slice(self.answer);
        hash
    }

    /// The hash over all of it.
    pub fn own_hash(&self) -> [u8; 32] {
        let mut head = Vec::with_capacity(HEADER_BYTES);
        self.write_head(&mut head);
        own_hash(&head, self.entry, self.answer)
    }

    /// The frame of a commit that is copied. It is a group of its own: whatever came
    /// before it was durable once.
    pub fn of(commit: &'a SealedCommit) -> Self {
        Self {
            sequence: commit.sequence,
            group: commit.sequence,
            chain: commit.chain,
            entry: &commit.entry,
            answer: &commit.answer,
        }
    }

    /// The commit, for a copy.
    pub fn to_commit(&self) -> SealedCommit {
        SealedCommit {
            sequence: self.sequence,
            chain: self.chain,
            entry: self.entry.to_vec(),
            answer: self.answer.to_vec(),
        }
    }

    fn write_head(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&length(self.entry).to_be_bytes());
        bytes.extend_from_slice(&length(self.answer).to_be_bytes());
        bytes.extend_from_slice(&self.sequence.0.to_be_bytes());
        bytes.extend_from_slice(&self.group.0.to_be_bytes());
        bytes.extend_from_slice(&self.chain);
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.entry.len() + self.answer.len()
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (entry_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (answer_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (group, rest) = rest.split_first_chunk::<8>()?;
        let (chain, rest) = rest.split_first_chunk::<32>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let (entry, rest) = rest.split_at_checked(u32::from_be_bytes(*entry_bytes) as usize)?;
        let (answer, _) = rest.split_at_checked(u32::from_be_bytes(*answer_bytes) as usize)?;
        let head = bytes.get(..HEADER_BYTES - 32)?;
        (own_hash(head, entry, answer) == *hash).then_some(Self {
            sequence: Sequence(u64::from_be_bytes(*sequence)),
            group: Sequence(u64::from_be_bytes(*group)),
            chain: *chain,
            entry,
            answer,
        })
    }
}

/// The history with one more frame, if it is the next one.
pub(in crate::store) fn follow(head: &Head, frame: &Frame<'_>) -> Option<Head> {
    let next = Head {
        sequence: Sequence(head.sequence.0.checked_add(1)?),
        chain: link(&head.chain, frame.entry),
    };
    (next.sequence == frame.sequence && next.chain == frame.chain).then_some(next)
}

/// How many bytes the frame with this header has in all, if it is a header at all.
pub(in crate::store) fn announced_size(header: &[u8]) -> Result<usize, NoFrame> {
    let rest = header.strip_prefix(&MAGIC).ok_or(NoFrame)?;
    let (entry, rest) = rest.split_first_chunk::<4>().ok_or(NoFrame)?;
    let (answer, _) = rest.split_first_chunk::<4>().ok_or(NoFrame)?;
    let body = u32::from_be_bytes(*entry) as usize + u32::from_be_bytes(*answer) as usize;
    // An answer is never larger than a commit; anything else is damage, and not worth the memory.
    if body > 2 * MAX_COMMIT_BYTES {
        return Err(NoFrame);
    }
    Ok(HEADER_BYTES + body)
}

/// The first whole frame in `bytes`, wherever it begins, that `wanted` accepts.
pub(in crate::store) fn find<'a>(
    bytes: &'a [u8],
    wanted: impl Fn(&Frame<'a>) -> bool,
) -> Option<Frame<'a>> {
    bytes
        .windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == MAGIC)
        .filter_map(|(start, _)| Frame::read(bytes.get(start..)?).ok())
        .find(|frame| wanted(frame))
}

/// Sizes are checked long before ([`MAX_COMMIT_BYTES`]); a size that does not fit can't be read back.
fn length(part: &[u8]) -> u32 {
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

fn own_hash(head: &[u8], entry: &[u8], answer: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(head)
        .chain_update(entry)
        .chain_update(answer)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Frame<'static>, Vec<u8>) {
        let frame = Frame {
            sequence: Sequence(7),
            group: Sequence(5),
            chain: [3; 32],
            entry: b"entry",
            answer: b"answer",
        };
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        (frame, bytes)
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let (frame, mut bytes) = sample();
        assert_eq!(announced_size(&bytes), Ok(frame.size()));
        assert_eq!(bytes.len(), frame.size());
        bytes.extend(b"more");
        assert_eq!(Frame::read(&bytes).as_ref(), Ok(&frame));
        assert_eq!(bytes[HEADER_BYTES - 32..HEADER_BYTES], frame.own_hash());
        assert_eq!(
            find(&[b"noise rsf1", &bytes[..]].concat(), |_| true),
            Some(frame)
        );
    }

    #[test]
    fn no_flipped_byte_and_no_cut_goes_unnoticed() {
        let (_, bytes) = sample();
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert_eq!(Frame::read(&damaged), Err(NoFrame), "byte {position}");
            assert_eq!(
                Frame::read(&bytes[..position]),
                Err(NoFrame),
                "cut at {position}"
            );
        }
    }
}
