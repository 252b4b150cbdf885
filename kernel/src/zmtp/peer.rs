//! One connection: handshake, decoded messages in, a byte-bounded queue out. Never blocks.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::frame::{self, Decoder, Frame, FrameError};

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

#[derive(Debug)]
pub struct Peer {
    stream: Stream,
    decoder: Decoder,
    parts: Vec<Vec<u8>>,
    out: VecDeque<Encoded>,
    /// Bytes of `out[0]` already written.
    written: usize,
    /// Bytes queued and not yet written.
    pub queued_bytes: usize,
    pub identity: Vec<u8>,
    pub established: bool,
    pub topics: Vec<Vec<u8>>,
    /// Stream messages dropped for this peer since its queue was last below its bound.
    pub dropped: u64,
}

impl Peer {
    pub fn new(stream: Stream, socket_type: &str) -> Self {
        let mut peer = Self {
            stream,
            decoder: Decoder::default(),
            parts: Vec::new(),
            out: VecDeque::new(),
            written: 0,
            queued_bytes: 0,
            identity: Vec::new(),
            established: false,
            topics: Vec::new(),
            dropped: 0,
        };
        let mut hello = frame::greeting().to_vec();
        hello.extend_from_slice(&frame::encode_ready(socket_type));
        peer.queue(Arc::new(hello));
        peer
    }

    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Bytes that would be lost if the process ended now: queued here, or not yet acknowledged by the peer's TCP. What is
    /// written to a local socket is in the peer's hands at once.
    pub fn unsent_bytes(&self) -> u64 {
        self.queued_bytes as u64
            + match &self.stream {
                Stream::Tcp(stream) => crate::sys::unsent_bytes(stream.as_raw_fd()),
                Stream::Ipc(_) => 0,
            }
    }

    pub fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    pub fn queue(&mut self, bytes: Encoded) {
        self.queued_bytes += bytes.len();
        self.out.push_back(bytes);
    }

    /// Whole messages not yet begun, to be handed to the peer's next connection.
    pub fn take_unsent(&mut self) -> VecDeque<Encoded> {
        if self.written > 0 {
            self.out.pop_front();
            self.written = 0;
        }
        self.queued_bytes = 0;
        std::mem::take(&mut self.out)
    }

    /// Writes as much as the socket takes now.
    pub fn flush(&mut self) -> Result<(), Gone> {
        while let Some(front) = self.out.front() {
            match self.stream.write(&front[self.written..]) {
                Ok(0) => return Err(Gone::Closed),
                Ok(count) => {
                    self.written += count;
                    self.queued_bytes -= count;
                    if self.written == front.len() {
                        self.out.pop_front();
                        self.written = 0;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(Gone::Broken(err)),
            }
        }
        Ok(())
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
            self.accept(frame, events).map_err(Gone::Misbehaved)?;
        }
        Ok(())
    }

    fn accept(&mut self, frame: Frame, events: &mut Vec<Event>) -> Result<(), FrameError> {
        match frame {
            Frame::Command { name, data } if name == b"READY" && !self.established => {
                let ready = frame::decode_ready(&data)?;
                self.established = true;
                self.decoder.established = true;
                events.push(Event::Ready(ready));
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
                self.parts.push(body);
                if self.parts.len() > frame::PARTS_MAX {
                    return Err(FrameError::TooManyParts);
                }
                if !more {
                    events.push(Event::Message(std::mem::take(&mut self.parts)));
                }
            }
        }
        Ok(())
    }
}
