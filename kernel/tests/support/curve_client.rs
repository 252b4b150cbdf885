//! A CURVE client for tests, written from RFC 26 apart from the server's code: it can say what no library would.

// Each test file uses its part of this one.
#![allow(dead_code)]

use crypto_box::aead::AeadInPlace;
use crypto_box::{Nonce, PublicKey, SalsaBox, SecretKey, Tag};

/// One connection of one client.
pub struct Client {
    server: PublicKey,
    long_term: SecretKey,
    transient: SecretKey,
    shared: Option<SalsaBox>,
    /// S'
    session: Option<PublicKey>,
    cookie: Vec<u8>,
    vouch: Vec<u8>,
    /// Number of the last command sent.
    pub sent: u64,
}

fn nonce(prefix: &[u8], rest: &[u8]) -> Nonce {
    Nonce::clone_from_slice(&[prefix, rest].concat())
}

fn seal(with: &SalsaBox, nonce: &Nonce, plain: &[u8]) -> Vec<u8> {
    let mut body = plain.to_vec();
    let tag = with.encrypt_in_place_detached(nonce, b"", &mut body).unwrap();
    [tag.as_slice(), &body].concat()
}

fn open(with: &SalsaBox, nonce: &Nonce, sealed: &[u8]) -> Vec<u8> {
    let (tag, body) = sealed.split_at(16);
    let mut body = body.to_vec();
    with.decrypt_in_place_detached(nonce, b"", &mut body, &Tag::clone_from_slice(tag))
        .expect("the server's box opens");
    body
}

impl Client {
    /// `seed` makes the keys: the same client twice has the same ones.
    pub fn new(server: [u8; 32], seed: u8) -> Self {
        Self {
            server: PublicKey::from_bytes(server),
            long_term: SecretKey::from_bytes([seed; 32]),
            transient: SecretKey::from_bytes([seed.wrapping_add(101); 32]),
            shared: None,
            session: None,
            cookie: Vec::new(),
            vouch: Vec::new(),
            sent: 0,
        }
    }

    fn number(&mut self) -> [u8; 8] {
        self.sent += 1;
        self.sent.to_be_bytes()
    }

    /// Data of the HELLO command.
    pub fn hello(&mut self) -> Vec<u8> {
        let number = self.number();
        let with = SalsaBox::new(&self.server, &self.transient);
        let mut out = vec![1, 0];
        out.extend_from_slice(&[0; 72]);
        out.extend_from_slice(self.transient.public_key().as_bytes());
        out.extend_from_slice(&number);
        out.extend_from_slice(&seal(&with, &nonce(b"CurveZMQHELLO---", &number), &[0; 64]));
        out
    }

    /// Takes the data of the server's WELCOME.
    pub fn welcome(&mut self, data: &[u8]) {
        let with = SalsaBox::new(&self.server, &self.transient);
        let inside = open(&with, &nonce(b"WELCOME-", &data[..16]), &data[16..]);
        let server: [u8; 32] = inside[..32].try_into().unwrap();
        self.cookie = inside[32..].to_vec();
        self.shared = Some(SalsaBox::new(&PublicKey::from_bytes(server), &self.transient));
        self.session = Some(PublicKey::from_bytes(server));
        let (transient, server) = (*self.transient.public_key().as_bytes(), *self.server.as_bytes());
        self.vouch_for(&transient, &server);
    }

    /// Our long-term key says to S' that `transient` is ours and that we want `server`.
    pub fn vouch_for(&mut self, transient: &[u8; 32], server: &[u8; 32]) {
        let session = self.session.as_ref().expect("after WELCOME");
        let with = SalsaBox::new(session, &self.long_term);
        let number = [9; 16];
        let sealed = seal(&with, &nonce(b"VOUCH---", &number), &[*transient, *server].concat());
        self.vouch = [number.as_slice(), &sealed].concat();
    }

    /// Data of the INITIATE command with these properties.
    pub fn initiate(&mut self, properties: &[u8]) -> Vec<u8> {
        let number = self.number();
        let client = self.long_term.public_key();
        let plain = [client.as_bytes().as_slice(), &self.vouch, properties].concat();
        let with = self.shared.as_ref().expect("after WELCOME");
        let sealed = seal(with, &nonce(b"CurveZMQINITIATE", &number), &plain);
        [self.cookie.as_slice(), &number, &sealed].concat()
    }

    /// A MESSAGE frame's body; bit 0 of `flags` is MORE, bit 1 COMMAND.
    pub fn message(&mut self, flags: u8, body: &[u8]) -> Vec<u8> {
        let number = self.number();
        let with = self.shared.as_ref().expect("after WELCOME");
        let sealed = seal(with, &nonce(b"CurveZMQMESSAGEC", &number), &[&[flags], body].concat());
        [b"\x07MESSAGE".as_slice(), &number, &sealed].concat()
    }

    /// Flags and body of the server's MESSAGE.
    pub fn read(&self, frame: &[u8]) -> (u8, Vec<u8>) {
        let with = self.shared.as_ref().expect("after WELCOME");
        let rest = frame.strip_prefix(b"\x07MESSAGE").expect("a MESSAGE");
        let inside = open(with, &nonce(b"CurveZMQMESSAGES", &rest[..8]), &rest[8..]);
        (inside[0], inside[1..].to_vec())
    }
}
