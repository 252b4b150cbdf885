//! ZMTP 3.1 framing: greeting, frames, commands. Pure: bytes in, frames out.
//!
//! ```text
//! greeting  FF 00*8 7F | 03 01 | "NULL" or "CURVE" padded to 20 | as-server | 00*31    64 bytes
//! frame     flags | size (1 byte, or 8 big-endian when LONG) | body
//! flags     bit 0 MORE, bit 1 LONG, bit 2 COMMAND, others zero
//! command   name length (1) | name | data
//! ```
//!
//! Invariants
//!
//! - Memory follows bytes received, never sizes claimed: a header that claims 2^40 bytes is an error, not an allocation.
//! - A decoder that has returned an error returns it for ever; its connection is to be closed.

use thiserror::Error;

pub const GREETING_BYTES: usize = 64;
/// Frames before the handshake is over are small commands.
pub const HANDSHAKE_BYTES_MAX: u64 = 8 << 10;
/// One message part; a front end's upload of a large comm buffer fits, a hostile header does not.
pub const FRAME_BYTES_MAX: u64 = 1 << 30;
/// All parts of one message.
pub const MESSAGE_BYTES_MAX: u64 = 2 << 30;
/// Parts of one message, so that a peer cannot grow one for ever.
pub const PARTS_MAX: usize = 4096;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    #[error("the peer does not speak ZMTP: its greeting starts with {0:02x?}")]
    Greeting([u8; 10]),
    #[error("the peer speaks ZMTP {major}.{minor}; at least 3.0 is needed")]
    Version { major: u8, minor: u8 },
    #[error("the peer wants mechanism `{wanted}`; this server has {}", has.name())]
    Mechanism { wanted: String, has: Mechanism },
    #[error("reserved flag bits are set in frame flags {0:#04x}")]
    Flags(u8),
    #[error("{claimed} bytes are claimed; the limit is {limit}")]
    TooLarge { claimed: u64, limit: u64 },
    #[error("a message has more than {PARTS_MAX} parts")]
    TooManyParts,
    #[error("malformed command: {0}")]
    Command(&'static str),
    #[error("encryption: {0}")]
    Curve(&'static str),
}

/// How a connection is secured; both ends must name the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mechanism {
    #[default]
    Null,
    Curve,
}

impl Mechanism {
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Null => "NULL",
            Mechanism::Curve => "CURVE",
        }
    }
}

/// What a peer sent: a message part or a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Part { body: Vec<u8>, more: bool },
    Command { name: Vec<u8>, data: Vec<u8> },
}

/// A server's greeting.
pub fn greeting(mechanism: Mechanism) -> [u8; GREETING_BYTES] {
    let mut out = [0u8; GREETING_BYTES];
    out[0] = 0xff;
    out[9] = 0x7f;
    out[10] = 3;
    out[11] = 1;
    let name = mechanism.name().as_bytes();
    out[12..12 + name.len()].copy_from_slice(name);
    out[32] = u8::from(mechanism == Mechanism::Curve);
    out
}

fn check_greeting(bytes: &[u8], has: Mechanism) -> Result<(), FrameError> {
    let head: [u8; 10] = bytes[..10].try_into().expect("ten bytes");
    if head[0] != 0xff || head[9] & 1 != 1 {
        return Err(FrameError::Greeting(head));
    }
    if bytes[10] < 3 {
        return Err(FrameError::Version {
            major: bytes[10],
            minor: bytes[11],
        });
    }
    let name = &bytes[12..32];
    let name = &name[..name.iter().position(|b| *b == 0).unwrap_or(name.len())];
    if name != has.name().as_bytes() {
        let wanted = String::from_utf8_lossy(name).into_owned();
        return Err(FrameError::Mechanism { wanted, has });
    }
    Ok(())
}

/// Incremental decoder of one peer's byte stream.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already consumed; compacted when it pays.
    at: usize,
    mechanism: Mechanism,
    greeted: bool,
    /// Set once the handshake is over: frames may be large from then on.
    pub established: bool,
    failed: Option<FrameError>,
}

impl Decoder {
    /// For a peer that must greet with `mechanism`; `default` expects NULL.
    pub fn expecting(mechanism: Mechanism) -> Self {
        Self {
            mechanism,
            ..Self::default()
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at > 0 && (self.at == self.buffer.len() || self.at > 1 << 16) {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, `None` when more bytes are needed.
    ///
    /// # Errors
    /// The first violation of the protocol; the stream cannot be used after it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(err) = &self.failed {
            return Err(err.clone());
        }
        let got = self.decode();
        if let Err(err) = &got {
            self.failed = Some(err.clone());
            self.buffer = Vec::new();
            self.at = 0;
        }
        got
    }

    fn decode(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buffer[self.at..];
        if !self.greeted {
            if rest.len() >= 10 && (rest[0] != 0xff || rest[9] & 1 != 1) {
                return Err(FrameError::Greeting(rest[..10].try_into().expect("ten bytes")));
            }
            if rest.len() < GREETING_BYTES {
                return Ok(None);
            }
            check_greeting(&rest[..GREETING_BYTES], self.mechanism)?;
            self.greeted = true;
            self.at += GREETING_BYTES;
            return self.decode();
        }
        let Some(&flags) = rest.first() else { return Ok(None) };
        if flags & !(MORE | LONG | COMMAND) != 0 || (flags & COMMAND != 0 && flags & MORE != 0) {
            return Err(FrameError::Flags(flags));
        }
        let (head, claimed) = if flags & LONG != 0 {
            if rest.len() < 9 {
                return Ok(None);
            }
            (9, u64::from_be_bytes(rest[1..9].try_into().expect("eight bytes")))
        } else {
            if rest.len() < 2 {
                return Ok(None);
            }
            (2, u64::from(rest[1]))
        };
        let limit = if self.established {
            FRAME_BYTES_MAX
        } else {
            HANDSHAKE_BYTES_MAX
        };
        if claimed > limit {
            return Err(FrameError::TooLarge { claimed, limit });
        }
        let size = claimed as usize;
        if rest.len() < head + size {
            return Ok(None);
        }
        let body = &rest[head..head + size];
        let frame = if flags & COMMAND != 0 {
            command(body)?
        } else {
            Frame::Part {
                body: body.to_vec(),
                more: flags & MORE != 0,
            }
        };
        self.at += head + size;
        Ok(Some(frame))
    }
}

pub(super) fn push_header(out: &mut Vec<u8>, flags: u8, size: usize) {
    if size > 255 {
        out.push(flags | LONG);
        out.extend_from_slice(&(size as u64).to_be_bytes());
    } else {
        out.push(flags);
        out.push(size as u8);
    }
}

/// One message as bytes; `parts` must not be empty.
pub fn encode_message<P: AsRef<[u8]>>(parts: &[P]) -> Vec<u8> {
    let total: usize = parts.iter().map(|p| p.as_ref().len() + 9).sum();
    let mut out = Vec::with_capacity(total);
    for (i, part) in parts.iter().enumerate() {
        let part = part.as_ref();
        push_header(&mut out, if i + 1 < parts.len() { MORE } else { 0 }, part.len());
        out.extend_from_slice(part);
    }
    out
}

pub fn encode_command(name: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + data.len() + 10);
    push_header(&mut out, COMMAND, 1 + name.len() + data.len());
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    out.extend_from_slice(data);
    out
}

/// One frame of bytes that `encode_message` or `encode_command` made, and the bytes behind it.
pub(super) struct Piece<'a> {
    pub more: bool,
    pub command: bool,
    pub body: &'a [u8],
}

/// The frames of `encoded`, which must come from this module.
pub(super) fn pieces(mut encoded: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let (&flags, rest) = encoded.split_first()?;
        let (size, rest) = if flags & LONG != 0 {
            let (size, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*size) as usize, rest)
        } else {
            let (&size, rest) = rest.split_first()?;
            (usize::from(size), rest)
        };
        let (body, rest) = rest.split_at(size);
        encoded = rest;
        Some(Piece {
            more: flags & MORE != 0,
            command: flags & COMMAND != 0,
            body,
        })
    })
}

/// Splits a command's body into its name and its data.
pub(super) fn command(body: &[u8]) -> Result<Frame, FrameError> {
    let (&length, after) = body.split_first().ok_or(FrameError::Command("it is empty"))?;
    let length = usize::from(length);
    if after.len() < length {
        return Err(FrameError::Command("its name is cut short"));
    }
    Ok(Frame::Command {
        name: after[..length].to_vec(),
        data: after[length..].to_vec(),
    })
}

/// The properties of a READY (or, encrypted, of an INITIATE): those of a socket of `socket_type`.
pub fn encode_properties(socket_type: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for (name, value) in [("Socket-Type", socket_type), ("Identity", "")] {
        data.push(name.len() as u8);
        data.extend_from_slice(name.as_bytes());
        data.extend_from_slice(&(value.len() as u32).to_be_bytes());
        data.extend_from_slice(value.as_bytes());
    }
    data
}

/// The READY command of a socket of `socket_type` ("ROUTER", "XPUB", "REP").
pub fn encode_ready(socket_type: &str) -> Vec<u8> {
    encode_command(b"READY", &encode_properties(socket_type))
}

/// What a peer's READY says of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ready {
    pub socket_type: String,
    pub identity: Vec<u8>,
}

/// Reads the properties of a READY or INITIATE command; unknown ones are skipped, as the specification asks.
///
/// # Errors
/// [`FrameError::Command`] when a length runs past the end or an identity is over 255 bytes.
pub fn decode_ready(mut data: &[u8]) -> Result<Ready, FrameError> {
    const CUT: FrameError = FrameError::Command("a property is cut short");
    let mut ready = Ready::default();
    while let Some((&length, rest)) = data.split_first() {
        let name = rest.get(..usize::from(length)).ok_or(CUT)?;
        let rest = &rest[name.len()..];
        let size: [u8; 4] = rest.get(..4).ok_or(CUT)?.try_into().expect("four bytes");
        let value = rest[4..].get(..u32::from_be_bytes(size) as usize).ok_or(CUT)?;
        data = &rest[4 + value.len()..];
        if name.eq_ignore_ascii_case(b"socket-type") {
            ready.socket_type = String::from_utf8_lossy(value).into_owned();
        } else if name.eq_ignore_ascii_case(b"identity") {
            if value.len() > 255 {
                return Err(FrameError::Command("an identity is longer than 255 bytes"));
            }
            ready.identity = value.to_vec();
        }
    }
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ready_decoder() -> Decoder {
        let mut decoder = Decoder::default();
        decoder.feed(&greeting(Mechanism::Null));
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.established = true;
        decoder
    }

    #[test]
    fn a_message_fed_byte_by_byte_comes_out_as_its_parts() {
        let parts: [&[u8]; 3] = [b"", b"abc", &[7; 300]];
        let mut decoder = ready_decoder();
        let mut seen = Vec::new();
        for byte in encode_message(&parts) {
            decoder.feed(&[byte]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                seen.push(frame);
            }
        }
        let expected: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(i, p)| Frame::Part {
                body: p.to_vec(),
                more: i < 2,
            })
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_header_claiming_2_to_the_40_bytes_is_an_error_and_allocates_nothing() {
        let mut decoder = ready_decoder();
        let mut bytes = vec![LONG];
        bytes.extend_from_slice(&(1u64 << 40).to_be_bytes());
        decoder.feed(&bytes);
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::TooLarge {
                claimed: 1 << 40,
                limit: FRAME_BYTES_MAX
            })
        );
        assert!(decoder.buffer.capacity() < 1024);
        decoder.feed(b"more");
        assert!(decoder.next_frame().is_err(), "a failed stream stays failed");
    }

    #[test]
    fn large_frames_wait_for_the_handshake() {
        let mut decoder = Decoder::default();
        decoder.feed(&greeting(Mechanism::Null));
        let mut bytes = vec![LONG];
        bytes.extend_from_slice(&(HANDSHAKE_BYTES_MAX + 1).to_be_bytes());
        decoder.feed(&bytes);
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn http_and_old_versions_are_refused_by_name() {
        let mut decoder = Decoder::default();
        decoder.feed(b"GET / HTTP/1.1\r\n");
        assert!(matches!(decoder.next_frame(), Err(FrameError::Greeting(_))));
        let mut old = greeting(Mechanism::Null);
        old[10] = 2;
        let mut decoder = Decoder::default();
        decoder.feed(&old);
        assert_eq!(decoder.next_frame(), Err(FrameError::Version { major: 2, minor: 1 }));
    }

    #[test]
    fn ready_round_trips_and_survives_cutting_anywhere() {
        let mut data = Vec::new();
        for (name, value) in [("Socket-Type", "DEALER"), ("Identity", "me"), ("X-Other", "1")] {
            data.push(name.len() as u8);
            data.extend_from_slice(name.as_bytes());
            data.extend_from_slice(&(value.len() as u32).to_be_bytes());
            data.extend_from_slice(value.as_bytes());
        }
        assert_eq!(
            decode_ready(&data).unwrap(),
            Ready {
                socket_type: "DEALER".into(),
                identity: b"me".to_vec()
            }
        );
        let whole = [22, 37, 50];
        for cut in 1..data.len() {
            assert_eq!(decode_ready(&data[..cut]).is_ok(), whole.contains(&cut), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), greet: bool) {
            let mut decoder = if greet { ready_decoder() } else { Decoder::default() };
            for chunk in bytes.chunks(13) {
                decoder.feed(chunk);
                while let Ok(Some(_)) = decoder.next_frame() {}
            }
            let _ = decode_ready(&bytes);
        }
    }
}
