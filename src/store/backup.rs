//! A backup: the whole history up to one commit, as one file.
//!
//! The history is all there is. The state follows from it, and so do events and
//! remembered answers, so a store that is made of a backup goes on as the one that it
//! was taken from: with the same revisions, the same events and the same chain. Because
//! a history only grows, a backup may be read while more is written: what is in it was
//! decided when it began.
//!
//! ```text
//! header   "rosterb1", commits (8 bytes), chain (32), SHA-256 of these (32)
//! commits  frames as the journal has them, each with its own hash
//! trailer  "rosterbe", SHA-256 of everything before (32)
//! ```
//!
//! Numbers are big-endian. The last character of the first word is the version of the
//! format. Every byte is covered by a hash, and the header says how the history ends:
//! neither a flipped byte nor an end that is missing goes unnoticed.

use std::io::{self, ErrorKind, Read};

use sha2::{Digest, Sha256};

use super::frame::{Frame, HEADER_BYTES, announced_size, follow};
use super::{Chain, Head, SealedCommit, Sequence};

/// The format that is written.
const MAGIC: [u8; 8] = *b"rosterb1";
/// What every version of the format begins with.
const FAMILY: &[u8] = b"rosterb";
const TRAILER: [u8; 8] = *b"rosterbe";
const HASH_BYTES: usize = 32;
/// The bytes that the header's hash is over.
const HEAD_BYTES: usize = 8 + 8 + 32;

/// Why a file is no backup that can be relied on.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It can't be read.
    #[error("it can't be read")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no backup of roster")]
    NoBackup,
    /// A later release wrote it.
    #[error(
        "it has version `{0}` of the format, which this release does not know; restore it with the release that wrote it or a later one"
    )]
    Version(char),
    /// It is not as it was written.
    #[error("it is damaged or cut short after commit {}: {what} does not check out; take another backup", after.0)]
    Damaged {
        /// The last commit that checks out.
        after: Sequence,
        /// What does not.
        what: &'static str,
    },
}

/// Turns a history into the bytes of a backup, piece by piece.
pub struct BackupEncoder {
    digest: Sha256,
}

impl BackupEncoder {
    /// Begins the backup of a history that ends so. Answers with its first bytes.
    pub fn begin(head: &Head) -> (Self, Vec<u8>) {
        let mut encoder = Self {
            digest: Sha256::new(),
        };
        let bytes = header(head);
        encoder.digest.update(&bytes);
        (encoder, bytes)
    }

    /// The bytes of the next commits.
    pub fn commits<'a>(&mut self, commits: impl IntoIterator<Item = &'a SealedCommit>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for commit in commits {
            Frame::of(commit).write(&mut bytes);
        }
        self.digest.update(&bytes);
        bytes
    }

    /// The last bytes.
    pub fn end(mut self) -> Vec<u8> {
        self.digest.update(TRAILER);
        [&TRAILER[..], &self.digest.finalize()].concat()
    }
}

fn header(head: &Head) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&head.sequence.0.to_be_bytes());
    bytes.extend_from_slice(&head.chain);
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

/// Reads a backup and checks every byte of it on the way.
pub struct BackupReader<R> {
    from: R,
    digest: Sha256,
    /// Where the history ends, as the header says.
    end: Head,
    /// How far it was read.
    reached: Head,
    ended: bool,
}

impl<R: Read> BackupReader<R> {
    /// Reads the header.
    pub fn open(mut from: R) -> Result<Self, BackupError> {
        let mut bytes = Vec::new();
        (&mut from)
            .take((HEAD_BYTES + HASH_BYTES) as u64)
            .read_to_end(&mut bytes)?;
        let version = bytes
            .strip_prefix(FAMILY)
            .and_then(|rest| rest.first())
            .ok_or(BackupError::NoBackup)?;
        if !bytes.starts_with(&MAGIC) && version.is_ascii_digit() {
            return Err(BackupError::Version(char::from(*version)));
        }
        let end = read_header(&bytes).ok_or(BackupError::Damaged {
            after: Sequence(0),
            what: "the header",
        })?;
        Ok(Self {
            from,
            digest: Sha256::new_with_prefix(&bytes),
            end,
            reached: Head::default(),
            ended: false,
        })
    }

    /// Where the history in it ends.
    pub fn head(&self) -> Head {
        self.end
    }

    /// The next commit; nothing once the end was reached and everything checks out.
    pub fn next_commit(&mut self) -> Result<Option<SealedCommit>, BackupError> {
        if self.reached.sequence >= self.end.sequence {
            return self.finish().map(|()| None);
        }
        let mut bytes = vec![0; HEADER_BYTES];
        self.fill(&mut bytes, "a commit")?;
        let size = announced_size(&bytes).map_err(|_| self.damaged("a commit"))?;
        let mut body = vec![0; size.saturating_sub(HEADER_BYTES)];
        self.fill(&mut body, "a commit")?;
        bytes.extend_from_slice(&body);
        let frame = Frame::read(&bytes).map_err(|_| self.damaged("a commit"))?;
        let head = follow(&self.reached, &frame);
        self.reached = head.ok_or_else(|| self.damaged("the chain of commits"))?;
        Ok(Some(frame.to_commit()))
    }

    fn finish(&mut self) -> Result<(), BackupError> {
        if self.ended {
            return Ok(());
        }
        if self.reached != self.end {
            return Err(self.damaged("the chain at the end"));
        }
        let mut trailer = [0; TRAILER.len()];
        self.fill(&mut trailer, "the trailer")?;
        let expected: [u8; HASH_BYTES] = self.digest.clone().finalize().into();
        let mut hash = [0; HASH_BYTES];
        self.fill(&mut hash, "the trailer")?;
        let mut more = [0; 1];
        if trailer != TRAILER || hash != expected || self.from.read(&mut more)? > 0 {
            return Err(self.damaged("the trailer"));
        }
        self.ended = true;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8], what: &'static str) -> Result<(), BackupError> {
        match self.from.read_exact(bytes) {
            Ok(()) => {
                self.digest.update(&*bytes);
                Ok(())
            }
            Err(fault) if fault.kind() == ErrorKind::UnexpectedEof => Err(self.damaged(what)),
            Err(fault) => Err(fault.into()),
        }
    }

    fn damaged(&self, what: &'static str) -> BackupError {
        BackupError::Damaged {
            after: self.reached.sequence,
            what,
        }
    }
}

impl<R: Read> Iterator for BackupReader<R> {
    type Item = Result<SealedCommit, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_commit().transpose()
    }
}

fn read_header(bytes: &[u8]) -> Option<Head> {
    let sequence = bytes.get(8..16)?.try_into().ok()?;
    let chain: Chain = bytes.get(16..HEAD_BYTES)?.try_into().ok()?;
    let head = Head {
        sequence: Sequence(u64::from_be_bytes(sequence)),
        chain,
    };
    (header(&head) == bytes).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::link;

    fn sample(count: u64) -> (Head, Vec<u8>) {
        let mut head = Head::default();
        let mut commits = Vec::new();
        for number in 1..=count {
            let entry = format!("entry {number}").into_bytes();
            head = Head {
                sequence: Sequence(number),
                chain: link(&head.chain, &entry),
            };
            commits.push(SealedCommit {
                sequence: head.sequence,
                chain: head.chain,
                entry,
                answer: b"answer".to_vec(),
            });
        }
        let (mut encoder, mut bytes) = BackupEncoder::begin(&head);
        for commit in &commits {
            bytes.extend(encoder.commits([commit]));
        }
        bytes.extend(encoder.end());
        (head, bytes)
    }

    fn read(bytes: &[u8]) -> Result<Vec<SealedCommit>, BackupError> {
        BackupReader::open(bytes)?.collect()
    }

    #[test]
    fn a_backup_is_read_as_it_was_written() {
        for count in [0, 1, 3] {
            let (head, bytes) = sample(count);
            assert_eq!(BackupReader::open(&bytes[..]).unwrap().head(), head);
            let commits = read(&bytes).unwrap();
            assert_eq!(commits.len() as u64, count);
            assert!(commits.iter().all(|commit| commit.answer == b"answer"));
        }
    }

    #[test]
    fn no_flipped_byte_no_cut_and_no_more_goes_unnoticed() {
        let (_, bytes) = sample(3);
        for position in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut damaged = bytes.clone();
                damaged[position] ^= bit;
                assert!(read(&damaged).is_err(), "byte {position}");
            }
            assert!(read(&bytes[..position]).is_err(), "cut at {position}");
        }
        assert!(read(&[&bytes[..], b"x"].concat()).is_err());
        assert!(matches!(
            read(b"something else"),
            Err(BackupError::NoBackup)
        ));
        assert!(matches!(
            read(b"rosterb2..."),
            Err(BackupError::Version('2'))
        ));
    }
}
