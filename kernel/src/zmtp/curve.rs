//! CURVE, the server's side: who does not know the server's public key gets no further than the greeting.
//!
//! ```text
//! client                                   server            boxes are X25519, XSalsa20 and Poly1305
//! HELLO     C', box(zeros)(C'->S)      ->                    the client knows S
//!                                      <-  WELCOME           box(S', cookie)(S->C')
//! INITIATE  cookie, box(C, vouch,      ->                    vouch = box(C', S)(C->S'): whoever owns C speaks
//!           properties)(C'->S')
//!                                      <-  READY             box(properties)(S'->C')
//! MESSAGE   box(flags, body)(C'<->S')  <>                    one per frame, each with a larger number than the last
//! ```
//!
//! S and C are the long-term keys, S' and C' live as long as the connection, so a key that leaks later opens nothing that
//! was recorded. Any C is accepted, as libzmq does without an authenticator: Jupyter gives S only to the front ends of a
//! kernel, and they make keys of their own for their heartbeats.
//!
//! Invariants
//!
//! - Nothing is decrypted twice: numbers of a peer only grow, and so do ours.
//! - A key without a secret (a point of small order) is refused, so every box proves knowledge of a secret key.
//!
//! Sources: CurveZMQ (ZeroMQ RFC 26), ZMTP CURVE (RFC 25); Z85 (RFC 32).

use std::sync::Arc;

use crypto_box::aead::AeadInPlace;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use curve25519_dalek::MontgomeryPoint;
use thiserror::Error;

use super::frame::{self, Frame, FrameError, Ready};

const TAG_BYTES: usize = 16;
/// Opaque to the client. It has nothing to say here: the connection remembers what it would.
const COOKIE_BYTES: usize = 96;
const MESSAGE: &[u8] = b"\x07MESSAGE";
/// What a MESSAGE is longer than the frame inside: name, number, tag, flags.
pub const OVERHEAD_BYTES: usize = MESSAGE.len() + 8 + TAG_BYTES + 1;

const FLAG_MORE: u8 = 1;
const FLAG_COMMAND: u8 = 2;

#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    #[error("{field} is not a key: 40 characters of Z85 are needed")]
    Z85 { field: &'static str },
    #[error("curve_publickey does not belong to curve_secretkey")]
    Pair,
    #[error("curve_publickey without curve_secretkey: a server needs its secret key to encrypt")]
    SecretMissing,
}

/// A server's long-term keys.
#[derive(Debug, Clone)]
pub struct Keys {
    secret: SecretKey,
    public: PublicKey,
}

impl Keys {
    /// The keys of a connection file, in Z85; `None` when it has none, which means no encryption.
    ///
    /// # Errors
    /// [`KeyError`]: half a pair, two halves of different pairs, or text that is no key.
    pub fn from_text(secret: Option<&str>, public: Option<&str>) -> Result<Option<Self>, KeyError> {
        let key = |field, text| z85(text).ok_or(KeyError::Z85 { field });
        let Some(secret) = secret else {
            return if public.is_some() {
                Err(KeyError::SecretMissing)
            } else {
                Ok(None)
            };
        };
        let keys = Self::from_secret(key("curve_secretkey", secret)?);
        match public {
            Some(public) if key("curve_publickey", public)? != keys.public.to_bytes() => Err(KeyError::Pair),
            _ => Ok(Some(keys)),
        }
    }

    pub fn from_secret(secret: [u8; 32]) -> Self {
        let secret = SecretKey::from_bytes(secret);
        let public = secret.public_key();
        Self { secret, public }
    }

    pub fn public(&self) -> [u8; 32] {
        self.public.to_bytes()
    }
}

/// 32 bytes written as 40 characters, five for every four bytes.
fn z85(text: &str) -> Option<[u8; 32]> {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    if text.len() != 40 {
        return None;
    }
    let mut key = [0; 32];
    for (five, four) in text.as_bytes().chunks(5).zip(key.chunks_mut(4)) {
        let mut value = 0u64;
        for byte in five {
            value = value * 85 + DIGITS.iter().position(|digit| digit == byte)? as u64;
        }
        four.copy_from_slice(&u32::try_from(value).ok()?.to_be_bytes());
    }
    Some(key)
}

fn nonce(prefix: &[u8], rest: &[u8]) -> crypto_box::Nonce {
    let mut nonce = crypto_box::Nonce::default();
    nonce[..prefix.len()].copy_from_slice(prefix);
    nonce[prefix.len()..].copy_from_slice(rest);
    nonce
}

/// Tag and ciphertext, as NaCl lays them out, to the plaintext; in place of the ciphertext.
fn open<'a>(shared: &SalsaBox, nonce: &crypto_box::Nonce, sealed: &'a mut [u8]) -> Result<&'a mut [u8], FrameError> {
    const FORGED: FrameError = FrameError::Curve("a box does not open: a wrong key, or a damaged message");
    let (tag, body) = sealed.split_at_mut_checked(TAG_BYTES).ok_or(FORGED)?;
    let tag = crypto_box::Tag::clone_from_slice(tag);
    shared
        .decrypt_in_place_detached(nonce, b"", body, &tag)
        .map_err(|_| FORGED)?;
    Ok(body)
}

/// Appends tag and ciphertext of what `plain` appends.
fn seal_into(out: &mut Vec<u8>, shared: &SalsaBox, nonce: &crypto_box::Nonce, plain: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.resize(at + TAG_BYTES, 0);
    plain(out);
    let tag = shared
        .encrypt_in_place_detached(nonce, b"", &mut out[at + TAG_BYTES..])
        .expect("a box takes any plaintext without associated data");
    out[at..at + TAG_BYTES].copy_from_slice(&tag);
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    bytes
}

/// A peer's key, unless it is a point of small order: with such a key everybody can compute what should be a secret.
fn peer_key(bytes: &[u8]) -> Result<PublicKey, FrameError> {
    let bytes: [u8; 32] = bytes.try_into().expect("a key has 32 bytes");
    // A clamped scalar is a multiple of the order of every such point.
    if MontgomeryPoint(bytes).mul_clamped([1; 32]) == MontgomeryPoint::default() {
        return Err(FrameError::Curve("the peer's key is a point of small order"));
    }
    Ok(PublicKey::from_bytes(bytes))
}

/// Where a connection stands.
enum State {
    Greeted,
    Welcomed(Box<Welcomed>),
    Open(SalsaBox),
    Failed,
}

struct Welcomed {
    client: [u8; 32],
    transient: SecretKey,
    cookie: [u8; COOKIE_BYTES],
}

/// What to do about a frame that came.
#[derive(Debug)]
pub enum Step {
    /// Send this as it is.
    Answer(Vec<u8>),
    /// The handshake is over: send this, then everything through [`Connection::seal`].
    Ready(Ready, Vec<u8>),
    /// A frame from inside.
    Frame(Frame),
}

/// One connection with a client.
pub struct Connection {
    keys: Arc<Keys>,
    socket_type: &'static str,
    state: State,
    /// Number of the peer's last command.
    seen: u64,
    /// Number of our last command.
    sent: u64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("seen", &self.seen)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub fn new(keys: Arc<Keys>, socket_type: &'static str) -> Self {
        Self {
            keys,
            socket_type,
            state: State::Greeted,
            seen: 0,
            sent: 0,
        }
    }

    /// Takes the next frame of the peer.
    ///
    /// # Errors
    /// What does not belong into this state, does not open, or repeats a number; the connection is to be closed.
    pub fn receive(&mut self, frame: Frame) -> Result<Step, FrameError> {
        match (std::mem::replace(&mut self.state, State::Failed), frame) {
            (State::Greeted, Frame::Command { name, mut data }) if name == b"HELLO" => self.hello(&mut data),
            (State::Welcomed(welcomed), Frame::Command { name, mut data }) if name == b"INITIATE" => {
                self.initiate(*welcomed, &mut data)
            }
            (State::Open(shared), frame) => {
                // A message comes as a part from libzmq, as a command by the letter of RFC 25.
                let inside = match frame {
                    Frame::Command { name, mut data } if name == b"MESSAGE" => self.message(&shared, &mut data),
                    Frame::Part { mut body, more: false } if body.starts_with(MESSAGE) => {
                        self.message(&shared, &mut body[MESSAGE.len()..])
                    }
                    _ => Err(FrameError::Curve("something came unencrypted")),
                };
                let inside = inside?;
                self.state = State::Open(shared);
                Ok(Step::Frame(inside))
            }
            _ => Err(FrameError::Curve("something came out of turn")),
        }
    }

    /// The number in front of a command, which must be larger than the last one.
    fn number(&mut self, bytes: &[u8]) -> Result<[u8; 8], FrameError> {
        let bytes: [u8; 8] = bytes.try_into().expect("a number has 8 bytes");
        let number = u64::from_be_bytes(bytes);
        if number <= self.seen {
            return Err(FrameError::Curve("a command's number is not larger than the last one"));
        }
        self.seen = number;
        Ok(bytes)
    }

    fn hello(&mut self, data: &mut [u8]) -> Result<Step, FrameError> {
        // Version 1.0, 72 zeros, C', number, box of 64 zeros.
        if data.len() != 194 {
            return Err(FrameError::Curve("HELLO has not 194 bytes"));
        }
        if data[..2] != [1, 0] {
            return Err(FrameError::Curve("HELLO is of another version than 1.0"));
        }
        let client = peer_key(&data[74..106])?;
        let number = self.number(&data[106..114])?;
        let long_term = SalsaBox::new(&client, &self.keys.secret);
        if open(&long_term, &nonce(b"CurveZMQHELLO---", &number), &mut data[114..])?
            .iter()
            .any(|b| *b != 0)
        {
            return Err(FrameError::Curve("HELLO does not hold zeros"));
        }
        let transient = SecretKey::from_bytes(random());
        let cookie = random();
        let number: [u8; 16] = random();
        let mut body = number.to_vec();
        seal_into(&mut body, &long_term, &nonce(b"WELCOME-", &number), |out| {
            out.extend_from_slice(transient.public_key().as_bytes());
            out.extend_from_slice(&cookie);
        });
        let client = client.to_bytes();
        self.state = State::Welcomed(Box::new(Welcomed {
            client,
            transient,
            cookie,
        }));
        Ok(Step::Answer(frame::encode_command(b"WELCOME", &body)))
    }

    fn initiate(&mut self, welcomed: Welcomed, data: &mut [u8]) -> Result<Step, FrameError> {
        // Cookie, number, box of (C, vouch, properties).
        if data.len() < COOKIE_BYTES + 8 + TAG_BYTES + 128 {
            return Err(FrameError::Curve("INITIATE is cut short"));
        }
        if data[..COOKIE_BYTES] != welcomed.cookie {
            return Err(FrameError::Curve("INITIATE has another connection's cookie"));
        }
        let number = self.number(&data[COOKIE_BYTES..COOKIE_BYTES + 8])?;
        let shared = SalsaBox::new(&PublicKey::from_bytes(welcomed.client), &welcomed.transient);
        let inside = open(
            &shared,
            &nonce(b"CurveZMQINITIATE", &number),
            &mut data[COOKIE_BYTES + 8..],
        )?;
        let (head, properties) = inside.split_at_mut(128);
        let (client, vouch) = head.split_at_mut(32);
        let (vouch_number, vouch) = vouch.split_at_mut(16);
        let vouching = SalsaBox::new(&peer_key(client)?, &welcomed.transient);
        let vouched = open(&vouching, &nonce(b"VOUCH---", vouch_number), vouch)?;
        if vouched[..32] != welcomed.client || vouched[32..] != self.keys.public() {
            return Err(FrameError::Curve("INITIATE vouches for another connection"));
        }
        let ready = frame::decode_ready(properties)?;
        self.sent += 1;
        let number = self.sent.to_be_bytes();
        let mut body = number.to_vec();
        seal_into(&mut body, &shared, &nonce(b"CurveZMQREADY---", &number), |out| {
            out.extend_from_slice(&frame::encode_properties(self.socket_type));
        });
        self.state = State::Open(shared);
        Ok(Step::Ready(ready, frame::encode_command(b"READY", &body)))
    }

    fn message(&mut self, shared: &SalsaBox, data: &mut [u8]) -> Result<Frame, FrameError> {
        if data.len() < 8 {
            return Err(FrameError::Curve("MESSAGE is cut short"));
        }
        let number = self.number(&data[..8])?;
        let inside = open(shared, &nonce(b"CurveZMQMESSAGEC", &number), &mut data[8..])?;
        let (&mut flags, body) = inside.split_first_mut().ok_or(FrameError::Curve("MESSAGE is empty"))?;
        if flags & FLAG_COMMAND != 0 {
            return frame::command(body);
        }
        Ok(Frame::Part {
            body: body.to_vec(),
            more: flags & FLAG_MORE != 0,
        })
    }

    /// The bytes to send for a message or command that [`frame`] encoded.
    ///
    /// # Panics
    /// Before the handshake is over: there is no key yet, and sending in the clear is not an option.
    pub fn seal(&mut self, encoded: &[u8]) -> Vec<u8> {
        let State::Open(shared) = &self.state else {
            panic!("nothing is sent before the handshake is over")
        };
        let pieces = frame::pieces(encoded).count();
        let mut out = Vec::with_capacity(encoded.len() + pieces * (OVERHEAD_BYTES + 9));
        for piece in frame::pieces(encoded) {
            self.sent += 1;
            let number = self.sent.to_be_bytes();
            frame::push_header(&mut out, 0, OVERHEAD_BYTES + piece.body.len());
            out.extend_from_slice(MESSAGE);
            out.extend_from_slice(&number);
            seal_into(&mut out, shared, &nonce(b"CurveZMQMESSAGES", &number), |out| {
                out.push((u8::from(piece.more) * FLAG_MORE) | (u8::from(piece.command) * FLAG_COMMAND));
                out.extend_from_slice(piece.body);
            });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The pair that libzmq's manual publishes for tests (zmq_curve(7)).
    const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

    #[test]
    fn the_published_pair_is_a_pair() {
        let keys = Keys::from_text(Some(SECRET), Some(PUBLIC)).unwrap().unwrap();
        assert_eq!(keys.public(), z85(PUBLIC).unwrap());
    }

    #[test]
    fn half_a_pair_two_halves_and_no_keys_are_told_apart() {
        let no_key = KeyError::Z85 {
            field: "curve_secretkey",
        };
        assert!(Keys::from_text(None, None).unwrap().is_none());
        assert!(Keys::from_text(Some(SECRET), None).unwrap().is_some());
        assert_eq!(
            Keys::from_text(None, Some(PUBLIC)).unwrap_err(),
            KeyError::SecretMissing
        );
        assert_eq!(Keys::from_text(Some(SECRET), Some(SECRET)).unwrap_err(), KeyError::Pair);
        assert_eq!(Keys::from_text(Some("short"), None).unwrap_err(), no_key);
        // Five digits can say more than 32 bits hold.
        assert_eq!(Keys::from_text(Some(&"#".repeat(40)), None).unwrap_err(), no_key);
    }

    #[test]
    fn points_of_small_order_are_no_keys() {
        let mut one = [0; 32];
        one[0] = 1;
        for bytes in [[0; 32], one] {
            assert!(peer_key(&bytes).is_err());
        }
        assert!(peer_key(&z85(PUBLIC).unwrap()).is_ok());
    }
}
