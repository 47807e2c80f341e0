//! Faults that tests inject where no real one can be had: compiled for tests only.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};

/// What is to go wrong next.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The next append writes half of its bytes and then fails so.
    pub append: Mutex<Option<io::ErrorKind>>,
    /// The next append says that it is reached and waits to be let go.
    pub hold: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// No append can be made durable any more.
    pub sync: AtomicBool,
    /// After so many more batches nothing reaches sled, as if the process had been killed.
    pub batches: Mutex<Option<usize>>,
    /// The most operations that any batch had.
    pub largest: AtomicUsize,
}

impl Faults {
    pub fn before_append(
        &self,
        write: impl Fn(&[u8]) -> io::Result<()>,
        frames: &[u8],
    ) -> io::Result<()> {
        let hold = self.hold.lock().unwrap().take();
        if let Some((reached, released)) = hold {
            reached.send(()).unwrap();
            let _ = released.recv();
        }
        let Some(kind) = self.append.lock().unwrap().take() else {
            return Ok(());
        };
        write(&frames[..frames.len() / 2])?;
        Err(kind.into())
    }

    pub fn before_sync(&self) -> io::Result<()> {
        if self.sync.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(())
    }

    pub fn before_batch(&self, operations: usize) -> Result<(), ::sled::Error> {
        self.largest.fetch_max(operations, Ordering::SeqCst);
        match &mut *self.batches.lock().unwrap() {
            None => Ok(()),
            Some(0) => Err(::sled::Error::ReportableBug("killed on purpose".to_owned())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}
