//! HMAC-SHA256 over the four JSON parts, and a memory of digests against replay.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::WireError;

/// Digests remembered, as ipykernel's default; the oldest are forgotten first.
pub const DIGESTS_MAX: usize = 65_536;

#[derive(Debug, Clone)]
pub struct Signer {
    mac: Option<Hmac<Sha256>>,
}

impl Signer {
    /// An empty key means unsigned messages, as the specification has it.
    pub fn new(key: &[u8]) -> Self {
        let mac = (!key.is_empty()).then(|| Hmac::new_from_slice(key).expect("HMAC takes keys of any length"));
        Self { mac }
    }

    pub fn signs(&self) -> bool {
        self.mac.is_some()
    }

    pub fn sign(&self, parts: &[&[u8]]) -> String {
        let Some(mut mac) = self.mac.clone() else {
            return String::new();
        };
        parts.iter().for_each(|part| mac.update(part));
        let mut hex = String::with_capacity(64);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// # Errors
    /// [`WireError::Signature`] unless `hex` signs `parts`; compared in constant time.
    pub fn verify(&self, hex: &[u8], parts: &[Vec<u8>]) -> Result<(), WireError> {
        let Some(mut mac) = self.mac.clone() else { return Ok(()) };
        let digest = unhex(hex).ok_or(WireError::Signature)?;
        parts.iter().for_each(|part| mac.update(part));
        mac.verify_slice(&digest).map_err(|_| WireError::Signature)
    }
}

fn unhex(hex: &[u8]) -> Option<Vec<u8>> {
    if hex.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    hex.chunks(2)
        .map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

/// Refuses a signature it has seen among the last [`DIGESTS_MAX`].
#[derive(Debug, Default)]
pub struct ReplayGuard {
    seen: HashSet<Vec<u8>>,
    order: VecDeque<Vec<u8>>,
}

impl ReplayGuard {
    /// # Errors
    /// [`WireError::Replay`] for a signature already seen, in either case of its hex digits.
    pub fn check(&mut self, hex: &[u8]) -> Result<(), WireError> {
        let digest = unhex(hex).ok_or(WireError::Signature)?;
        if !self.seen.insert(digest.clone()) {
            return Err(WireError::Replay);
        }
        self.order.push_back(digest);
        if self.order.len() > DIGESTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_equals_the_published_vector() {
        // RFC 4231, test case 2.
        let got = Signer::new(b"Jefe").sign(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(got, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn the_guard_forgets_the_oldest_only() {
        let mut guard = ReplayGuard::default();
        let hex = |n: usize| format!("{n:064x}").into_bytes();
        for n in 0..=DIGESTS_MAX {
            guard.check(&hex(n)).unwrap();
        }
        assert!(guard.check(&hex(1)).is_err());
        assert!(guard.check(&hex(0)).is_ok(), "the oldest was forgotten");
    }
}
