//! One connection: handshake, decoded messages in, a byte-bounded queue out. Never blocks.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use super::curve::{self, Keys, Step};
use super::frame::{self, Decoder, Frame, FrameError, Mechanism};

/// What one `read` takes at most; a fast sender cannot keep the loop from the other peers.
const READ_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Ipc(UnixStream),
}

impl Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.read(into),
            Stream::Ipc(s) => s.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.write(bytes),
            Stream::Ipc(s) => s.write(bytes),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(s) => s.as_raw_fd(),
            Stream::Ipc(s) => s.as_raw_fd(),
        }
    }
}

/// Why a peer is to be forgotten.
#[derive(Debug)]
pub enum Gone {
    Closed,
    Broken(io::Error),
    Misbehaved(FrameError),
}

/// What a peer did, in order.
#[derive(Debug)]
pub enum Event {
    /// The handshake is over.
    Ready(frame::Ready),
    Message(Vec<Vec<u8>>),
    Subscribe(Vec<u8>),
    Cancel(Vec<u8>),
}

/// An encoded message, shared by all subscribers it goes to.
pub type Encoded = Arc<Vec<u8>>;

/// What is being written: the message, what it is on the wire, and how much of that is out.
#[derive(Debug)]
struct Writing {
    /// `None` for greetings and handshakes, which belong to this connection only.
    message: Option<Encoded>,
    wire: Encoded,
    written: usize,
}

#[derive(Debug)]
pub struct Peer {
    stream: Stream,
    decoder: Decoder,
    curve: Option<curve::Connection>,
    parts: Vec<Vec<u8>>,
    parts_bytes: usize,
    /// What goes out before any message: greeting and handshake.
    handshake: Vec<u8>,
    writing: Option<Writing>,
    /// Messages not yet begun, in plain.
    out: VecDeque<Encoded>,
    /// Bytes queued and not yet written.
    pub queued_bytes: usize,
    pub identity: Vec<u8>,
    pub established: bool,
    /// Nothing more will be written: the peer has been told.
    finished: bool,
    pub since: Instant,
    pub topics: Vec<Vec<u8>>,
    /// Stream messages dropped for this peer since its queue was last below its bound.
    pub dropped: u64,
}

impl Peer {
    /// A connection just accepted; with `keys` it is encrypted or refused.
    pub fn new(stream: Stream, socket_type: &'static str, keys: Option<&Arc<Keys>>) -> Self {
        let mechanism = if keys.is_some() {
            Mechanism::Curve
        } else {
            Mechanism::Null
        };
        let mut handshake = frame::greeting(mechanism).to_vec();
        if mechanism == Mechanism::Null {
            handshake.extend_from_slice(&frame::encode_ready(socket_type));
        }
        Self {
            stream,
            decoder: Decoder::expecting(mechanism),
            curve: keys.map(|keys| curve::Connection::new(keys.clone(), socket_type)),
            parts: Vec::new(),
            parts_bytes: 0,
            queued_bytes: handshake.len(),
            handshake,
            writing: None,
            out: VecDeque::new(),
            identity: Vec::new(),
            established: false,
            finished: false,
            since: Instant::now(),
            topics: Vec::new(),
            dropped: 0,
        }
    }

    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Bytes that would be lost if the process ended now: queued here, or not yet acknowledged by the peer's TCP. What is
    /// written to a local socket is in the peer's hands at once.
    pub fn unsent_bytes(&self) -> u64 {
        let unacknowledged = match &self.stream {
            // The end that `finish` sends counts as a byte.
            Stream::Tcp(stream) => crate::sys::unsent_bytes(stream.as_raw_fd()).saturating_sub(self.finished.into()),
            Stream::Ipc(_) => 0,
        };
        self.queued_bytes as u64 + unacknowledged
    }

    /// Tells the peer that this was all, once everything is written. Its TCP may wait 40 ms before it acknowledges data;
    /// a peer that sees the end closes its side, which acknowledges at once.
    pub fn finish(&mut self) {
        if !self.finished && !self.wants_write() {
            self.finished = true;
            // A connection that is broken already has nothing to be told.
            let _ = match &self.stream {
                Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
                Stream::Ipc(stream) => stream.shutdown(Shutdown::Write),
            };
        }
    }

    pub fn wants_write(&self) -> bool {
        self.queued_bytes > 0
    }

    pub fn queue(&mut self, bytes: Encoded) {
        self.queued_bytes += bytes.len();
        self.out.push_back(bytes);
    }

    fn queue_handshake(&mut self, bytes: &[u8]) {
        self.queued_bytes += bytes.len();
        self.handshake.extend_from_slice(bytes);
    }

    /// Whole messages not yet begun, to be handed to the peer's next connection.
    pub fn take_unsent(&mut self) -> VecDeque<Encoded> {
        if let Some(Writing {
            message: Some(message),
            written: 0,
            ..
        }) = self.writing.take()
        {
            self.out.push_front(message);
        }
        self.queued_bytes = 0;
        std::mem::take(&mut self.out)
    }

    /// What is to be written next, encrypted if this connection is.
    fn begin(&mut self) -> Option<Writing> {
        if !self.handshake.is_empty() {
            let wire = Arc::new(std::mem::take(&mut self.handshake));
            return Some(Writing {
                message: None,
                wire,
                written: 0,
            });
        }
        let message = self.out.pop_front()?;
        let wire = match &mut self.curve {
            None => message.clone(),
            Some(curve) => {
                let wire = Arc::new(curve.seal(&message));
                self.queued_bytes += wire.len() - message.len();
                wire
            }
        };
        Some(Writing {
            message: Some(message),
            wire,
            written: 0,
        })
    }

    /// Writes as much as the socket takes now.
    pub fn flush(&mut self) -> Result<(), Gone> {
        loop {
            if self.writing.is_none() {
                self.writing = self.begin();
            }
            let Some(writing) = &mut self.writing else {
                return Ok(());
            };
            match self.stream.write(&writing.wire[writing.written..]) {
                Ok(0) => return Err(Gone::Closed),
                Ok(count) => {
                    writing.written += count;
                    self.queued_bytes -= count;
                    if writing.written == writing.wire.len() {
                        self.writing = None;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(Gone::Broken(err)),
            }
        }
    }

    /// Reads what is there and appends what it means to `events`.
    pub fn receive(&mut self, events: &mut Vec<Event>) -> Result<(), Gone> {
        let mut chunk = [0u8; READ_BYTES];
        let count = match self.stream.read(&mut chunk) {
            Ok(0) => return Err(Gone::Closed),
            Ok(count) => count,
            Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return Ok(()),
            Err(err) => return Err(Gone::Broken(err)),
        };
        self.decoder.feed(&chunk[..count]);
        while let Some(frame) = self.decoder.next_frame().map_err(Gone::Misbehaved)? {
            self.take(frame, events).map_err(Gone::Misbehaved)?;
        }
        Ok(())
    }

    /// A frame as it came: decrypted if this connection is encrypted.
    fn take(&mut self, frame: Frame, events: &mut Vec<Event>) -> Result<(), FrameError> {
        let Some(curve) = &mut self.curve else {
            return self.accept(frame, events);
        };
        match curve.receive(frame)? {
            Step::Answer(bytes) => self.queue_handshake(&bytes),
            Step::Ready(ready, bytes) => {
                self.queue_handshake(&bytes);
                self.establish(ready, events);
            }
            Step::Frame(frame) => self.accept(frame, events)?,
        }
        Ok(())
    }

    fn establish(&mut self, ready: frame::Ready, events: &mut Vec<Event>) {
        self.established = true;
        self.decoder.established = true;
        events.push(Event::Ready(ready));
    }

    fn accept(&mut self, frame: Frame, events: &mut Vec<Event>) -> Result<(), FrameError> {
        match frame {
            Frame::Command { name, data } if name == b"READY" && !self.established => {
                self.establish(frame::decode_ready(&data)?, events);
            }
            Frame::Command { name, data } if name == b"PING" && self.established => {
                // Two bytes of time-to-live, then up to 16 bytes of context to send back.
                let context = data.get(2..).unwrap_or_default();
                if context.len() > 16 {
                    return Err(FrameError::Command("a PING context is longer than 16 bytes"));
                }
                self.queue(Arc::new(frame::encode_command(b"PONG", context)));
            }
            Frame::Command { name, data } if name == b"SUBSCRIBE" && self.established => {
                events.push(Event::Subscribe(data));
            }
            Frame::Command { name, data } if name == b"CANCEL" && self.established => events.push(Event::Cancel(data)),
            Frame::Command { .. } if self.established => {}
            Frame::Command { .. } | Frame::Part { .. } if !self.established => {
                return Err(FrameError::Command("something other than READY came first"));
            }
            Frame::Command { .. } => {}
            Frame::Part { body, more } => {
                self.parts_bytes += body.len();
                self.parts.push(body);
                if self.parts.len() > frame::PARTS_MAX {
                    return Err(FrameError::TooManyParts);
                }
                if self.parts_bytes as u64 > frame::MESSAGE_BYTES_MAX {
                    return Err(FrameError::TooLarge {
                        claimed: self.parts_bytes as u64,
                        limit: frame::MESSAGE_BYTES_MAX,
                    });
                }
                if !more {
                    self.parts_bytes = 0;
                    events.push(Event::Message(std::mem::take(&mut self.parts)));
                }
            }
        }
        Ok(())
    }
}
