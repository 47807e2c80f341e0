//! What lies on the disk: frames of the journal and leaves of the state.

use super::frame::{Frame, announced_size, find};
use super::leaf::{Entry, Leaf, Reader};
use crate::store::Sequence;

/// A frame is read only as it was written, wherever it lies.
pub fn frames(bytes: &[u8]) {
    if let Ok(frame) = Frame::read(bytes) {
        assert_eq!(announced_size(bytes), Ok(frame.size()));
        let mut written = Vec::new();
        frame.write(&mut written);
        assert_eq!(bytes.get(..written.len()), Some(&*written));
    }
    if let Some(frame) = find(bytes, |_| true) {
        assert!(frame.size() <= bytes.len());
    }
    // The same bytes as what a frame carries, cut and damaged where the first says.
    let Some((&place, content)) = bytes.split_first() else {
        return;
    };
    let (entry, answer) = content.split_at(usize::from(place).min(content.len()));
    let frame = Frame {
        sequence: Sequence(u64::from(place)),
        group: Sequence(1),
        chain: [place; 32],
        entry,
        answer,
    };
    let mut written = Vec::new();
    frame.write(&mut written);
    assert_eq!(Frame::read(&written).as_ref(), Ok(&frame));
    // Anywhere, the end included, as the content says.
    let drawn = content.iter().fold(usize::from(place), |drawn, byte| {
        drawn.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    let position = drawn % written.len();
    assert!(Frame::read(written.get(..position).unwrap_or_default()).is_err());
    if let Some(byte) = written.get_mut(position) {
        *byte ^= place | 1;
    }
    assert!(Frame::read(&written).is_err(), "damage goes unnoticed");
}

/// A leaf is read or refused, and what is read is written again as it was; its entries
/// are found where their keys say.
pub fn leaves(bytes: &[u8]) {
    let fence = bytes.get(..bytes.len().min(2)).unwrap_or_default();
    for fence in [&[][..], fence] {
        let Ok(leaf) = Leaf::decode(fence, bytes) else {
            continue;
        };
        let written = leaf.encode();
        let again = Leaf::decode(fence, &written);
        assert!(again.is_ok_and(|again| again == leaf), "a leaf changed");
        for entry in leaf.entries() {
            assert!(leaf.get(&entry.key).is_some(), "an entry is lost");
            // Damaged or not: to be told, not to be trusted.
            drop(entry.checked().map(<[u8]>::len));
        }
    }
    if let Ok(mut reader) = Reader::open(&[], bytes) {
        while let Ok(true) = reader.advance() {
            drop(reader.value().map(<[u8]>::len));
        }
    }
    edit(bytes);
}

/// Puts, removes and splits as the bytes say; nothing gets lost.
fn edit(bytes: &[u8]) {
    let mut leaf = Leaf::default();
    for piece in bytes.chunks(5) {
        let Some((&first, rest)) = piece.split_first() else {
            continue;
        };
        if first % 5 == 0 {
            leaf.remove(rest);
            assert!(leaf.get(rest).is_none());
        } else {
            leaf.put(Entry::new(rest.to_vec(), vec![first; usize::from(first)]));
            let found = leaf.get(rest).map(Entry::checked);
            assert!(matches!(found, Some(Ok(value)) if value.len() == usize::from(first)));
        }
    }
    let count = leaf.entries().len();
    let written = leaf.encode();
    let read = Leaf::decode(&[], &written);
    assert!(read.is_ok_and(|read| read == leaf), "a leaf changed");
    if leaf.is_overfull() {
        let upper = leaf.split(bytes.len().is_multiple_of(2));
        assert_eq!(leaf.entries().len() + upper.entries().len(), count);
        assert!(!leaf.entries().is_empty() && !upper.entries().is_empty());
        leaf.append(upper);
        assert_eq!(leaf.encode(), written);
    }
}
