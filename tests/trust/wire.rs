//! A client that speaks as much HTTP/2 as it takes to misbehave: it says what it likes,
//! when it likes, and reads only when told.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::KEY;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The setting that says how much an answer may hold before more is allowed.
const INITIAL_WINDOW: u16 = 4;

/// A connection.
pub struct Wire(pub TcpStream);

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it is the last of its stream.
    pub fn is_last(&self) -> bool {
        self.kind == RST_STREAM
            || (matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0)
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header as it is, in no table.
fn literal(name: &str, value: &str, block: &mut Vec<u8>) {
    let text = |text: &str, block: &mut Vec<u8>| {
        // Lengths above 126 go on in further bytes.
        match u8::try_from(text.len()) {
            Ok(length) if length < 127 => block.push(length),
            _ => {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128 + 128).expect("a byte"));
                    rest /= 128;
                }
                block.push(u8::try_from(rest).expect("a byte"));
            }
        }
        block.extend(text.as_bytes());
    };
    block.push(0);
    text(name, block);
    text(value, block);
}

/// The headers of a call with the key of the harness or a given one, and further ones.
pub fn head(path: &str, further: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let key = format!("Bearer {KEY}");
    let has_own_key = further.iter().any(|(name, _)| *name == "authorization");
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "roster"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("authorization", &key),
    ] {
        if name != "authorization" || !has_own_key {
            literal(name, value, &mut block);
        }
    }
    for (name, value) in further {
        literal(name, value, &mut block);
    }
    block
}

/// A message with its header.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message");
    let mut framed = vec![0];
    framed.extend(length.to_be_bytes());
    framed.extend(bytes);
    framed
}

impl Wire {
    /// Connects and says nothing.
    pub async fn silent(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // So that a client that does not read is noticed soon.
        socket.set_recv_buffer_size(4_096).expect("a small buffer");
        let stream = socket.connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("no delay");
        Self(stream)
    }

    /// Connects and begins; answers may hold so many bytes each, and any number together.
    pub async fn begin(address: SocketAddr, window: u32) -> Self {
        let mut wire = Self::silent(address).await;
        let mut settings = INITIAL_WINDOW.to_be_bytes().to_vec();
        settings.extend(window.to_be_bytes());
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &settings));
        bytes.extend(frame(WINDOW_UPDATE, 0, 0, &0x3fff_ffff_u32.to_be_bytes()));
        wire.send(&bytes).await;
        wire
    }

    /// Sends bytes; a connection that is closed meanwhile takes them as well.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Begins a request.
    pub async fn open(&mut self, stream: u32, path: &str, further: &[(&str, &str)]) {
        let block = head(path, further);
        self.send(&frame(HEADERS, END_HEADERS, stream, &block))
            .await;
    }

    /// Sends some of its body, in as many frames as that takes.
    pub async fn body(&mut self, stream: u32, bytes: &[u8], is_last: bool) {
        let mut pieces = bytes.chunks(16_000).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if is_last && pieces.peek().is_none() {
                END_STREAM
            } else {
                0
            };
            self.send(&frame(DATA, flags, stream, piece)).await;
        }
    }

    /// The next frame; `None` when the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        if kind == SETTINGS && flags == 0 {
            self.send(&frame(SETTINGS, 1, 0, &[])).await;
        }
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// Reads until the last frame of a stream, which is answered.
    pub async fn last_of(&mut self, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.stream == stream && frame.is_last() {
                return Some(frame);
            }
        }
    }

    /// Reads until the connection is closed, and says nothing to anything.
    pub async fn only_read(&mut self) {
        let mut buffer = [0; 1024];
        while self.0.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    }

    /// Reads until the connection is closed; whether it was told to go first.
    pub async fn closed(&mut self) -> bool {
        let mut was_told = false;
        while let Some(frame) = self.next().await {
            was_told |= frame.kind == GOAWAY;
        }
        was_told
    }
}
