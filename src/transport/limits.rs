//! How much one client, and all together, may ask and hold.
//!
//! Sizes and numbers bound what memory can be taken; times bound for how long. Whatever
//! no field is for is a constant here: it is what any client keeps to that means well.

use std::time::Duration;

/// The largest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes of all headers of a request.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// The most requests at a time on one connection. They wait for each other, so it is also
/// what bounds how late the last of them is answered, and how much of the processor's
/// caches those take that wait. Many clients begin a hundred before they know what they
/// may.
pub const MAX_STREAMS: u32 = 100;
/// How many bytes may be on their way to the daemon for one request, before they are read.
pub const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same for all requests of a connection together.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The largest frame that is taken, in bytes: long messages come in fewer pieces.
pub const FRAME_BYTES: u32 = 64 * 1024;
/// How many bytes of an answer are kept until the client takes them, beyond one message.
pub const SEND_BUFFER: usize = 64 * 1024;
/// How many bytes of answers may wait on a connection before no more calls are let in
/// there, but for single checks.
pub const MAX_WAITING_BYTES: u64 = 8 * 1024 * 1024;
/// The most batches at a time on one connection.
pub const MAX_BATCHES: usize = 64;
/// How many streams a client may reset before they were answered until it is ended.
pub const MAX_RESETS: usize = 1_024;
/// How often a silent connection is asked whether it still lives.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long it may take to say that it does.
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// How many bytes begin every connection: the preface and an empty frame of settings.
pub const PREFACE_BYTES: u64 = 24 + 9;

/// What the operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most connections at a time.
    pub connections: usize,
    /// The most calls at a time that are no checks, over all connections. A quarter of
    /// them is kept for those that change nothing.
    pub managed: usize,
    /// The most of them on one connection.
    pub managed_on_one: usize,
    /// How long a connection may take to begin.
    pub handshake: Duration,
    /// How long a client may take no bytes of what it is sent, or send none of what it
    /// has begun.
    pub stall: Duration,
    /// How long a connection may stay on which nothing is asked and nothing is under way.
    pub idle: Duration,
    /// How late what is ready may get its turn on a serving thread before calls are
    /// refused.
    pub lag: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            managed: 1_024,
            managed_on_one: 100,
            handshake: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            idle: Duration::from_secs(900),
            lag: Duration::from_millis(100),
        }
    }
}

impl Limits {
    /// The most changes at a time.
    pub fn changes(&self) -> usize {
        (self.managed - self.managed / 4).max(1)
    }
}
