//! The directory that a store lives in: who holds it, how much room is left, and
//! whether its file system can be trusted.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// How long to wait between two attempts to lock.
const PAUSE: Duration = Duration::from_millis(20);

/// The least room that is kept free, unless the operator says otherwise.
const LEAST_FREE_BYTES: u64 = 256 * 1024 * 1024;
const MOST_FREE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// File systems on which sled or `fdatasync` are known to misbehave.
const DISTRUSTED: [(i128, &str); 7] = [
    (0x9123_683E, "btrfs"),
    (0x6573_5546, "FUSE"),
    (0x0000_6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x0102_1997, "9P"),
    (0x00C3_6400, "Ceph"),
];

/// Locks the directory for this process, waiting up to `wait` for another to
/// let go: a process that was killed holds its locks for some milliseconds more.
/// `None` if the other doesn't.
pub(super) fn lock(directory: &Path, wait: Duration) -> io::Result<Option<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))?;
    Ok(acquire(&file, wait)?.then_some(file))
}

/// Locks an open lock file, waiting up to `wait`; whether that succeeded.
pub(super) fn acquire(file: &File, wait: Duration) -> io::Result<bool> {
    for attempt in attempts(wait) {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => pause_after(attempt, wait),
            Err(TryLockError::Error(fault)) => return Err(fault),
        }
    }
    Ok(false)
}

/// The numbers of the attempts that fit into `wait`; at least one.
pub(super) fn attempts(wait: Duration) -> std::ops::RangeInclusive<u128> {
    0..=(wait.as_millis() / PAUSE.as_millis())
}

/// Sleeps between attempts, not after the last.
pub(super) fn pause_after(attempt: u128, wait: Duration) {
    if attempt < *attempts(wait).end() {
        sleep(PAUSE);
    }
}

/// What to keep free in this file system: a tenth, but at least 256 MiB, and at
/// most 4 GiB, so that a large disk that others have filled still takes writes.
pub(super) fn usual_minimum_free(directory: &File) -> io::Result<u64> {
    let room = rustix::fs::fstatvfs(directory)?;
    let tenth = room.f_blocks.saturating_mul(room.f_frsize) / 10;
    Ok(tenth.clamp(LEAST_FREE_BYTES, MOST_FREE_BYTES))
}

/// How many bytes may still be written.
pub(super) fn free_bytes(directory: &File) -> io::Result<u64> {
    let room = rustix::fs::fstatvfs(directory)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// How many bytes the files below a directory take on the disk. Files that go away
/// meanwhile count for nothing.
pub(super) fn size_of(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        let metadata = match file.metadata() {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        bytes = bytes.saturating_add(match metadata.is_dir() {
            true => size_of(&file.path())?,
            // In units of 512 bytes, whatever the file system's blocks are.
            false => metadata.blocks().saturating_mul(512),
        });
    }
    Ok(bytes)
}

/// The name of the file system, if it is one that should not be used.
pub(super) fn distrusted_file_system(directory: &File) -> io::Result<Option<&'static str>> {
    // Its width and sign differ between platforms; the lower 32 bits are the number.
    let kind = i128::from(rustix::fs::fstatfs(directory)?.f_type) & 0xFFFF_FFFF;
    Ok(DISTRUSTED
        .iter()
        .find(|(number, _)| *number == kind)
        .map(|(_, name)| *name))
}
