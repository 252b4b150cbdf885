//! Jupyter messages: from message parts to checked, decoded messages and back.
//!
//! ```text
//! identities... | <IDS|MSG> | HMAC-SHA256 in hex | header | parent header | metadata | content | buffers...
//! ```
//!
//! The four JSON parts are kept as the bytes that came: a parent header goes back exactly as it was sent, and content
//! the server has no business with is not parsed twice.

pub mod lenient;
mod sign;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use thiserror::Error;

pub use sign::{ReplayGuard, Signer};

pub(crate) const DELIMITER: &[u8] = b"<IDS|MSG>";
pub const PROTOCOL_VERSION: &str = "5.5";

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WireError {
    #[error("no <IDS|MSG> delimiter")]
    Delimiter,
    #[error("cut short: {0} parts after the delimiter, at least 5 are needed")]
    Short(usize),
    #[error("the signature does not match")]
    Signature,
    #[error("a message with this signature was seen already")]
    Replay,
    #[error("the {part} is not a JSON object: {why}")]
    Json { part: &'static str, why: String },
}

#[derive(Debug, Clone, Deserialize)]
pub struct Header {
    pub msg_id: String,
    pub msg_type: String,
    #[serde(default)]
    pub session: String,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub subshell_id: Option<String>,
}

/// A checked message from a front end.
#[derive(Debug, Clone)]
pub struct Message {
    /// Routing identities in front of the delimiter, the connection's own first.
    pub identities: Vec<Vec<u8>>,
    pub header: Header,
    /// The header as it came, valid JSON: the parent header of all that answers it.
    pub header_json: String,
    pub parent_json: String,
    pub metadata_json: String,
    pub content_json: String,
    pub buffers: Vec<Vec<u8>>,
}

fn object(part: &'static str, bytes: &[u8]) -> Result<String, WireError> {
    let why = |err: serde_json::Error| WireError::Json {
        part,
        why: err.to_string(),
    };
    let text: Cow<'_, str> = match std::str::from_utf8(bytes) {
        Ok(text) if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok() => text.into(),
        _ => {
            let repaired = lenient::repair(bytes);
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&repaired).map_err(why)?;
            repaired.into()
        }
    };
    Ok(text.into_owned())
}

/// Checks and decodes the parts of one message.
///
/// # Errors
/// The first thing wrong with it; the replay guard remembers only messages whose signature was right.
pub fn decode(
    signer: &Signer,
    replay: &mut ReplayGuard,
    identity: &[u8],
    mut parts: Vec<Vec<u8>>,
) -> Result<Message, WireError> {
    let at = parts.iter().position(|p| p == DELIMITER).ok_or(WireError::Delimiter)?;
    let body = parts.split_off(at + 1);
    parts.pop();
    if body.len() < 5 {
        return Err(WireError::Short(body.len()));
    }
    signer.verify(&body[0], &body[1..5])?;
    if signer.signs() {
        replay.check(&body[0])?;
    }
    let header_json = object("header", &body[1])?;
    let header = serde_json::from_str(&header_json).map_err(|err| WireError::Json {
        part: "header",
        why: err.to_string(),
    })?;
    let mut identities = vec![identity.to_vec()];
    identities.extend(parts);
    Ok(Message {
        identities,
        header,
        header_json,
        parent_json: object("parent header", &body[2])?,
        metadata_json: object("metadata", &body[3])?,
        content_json: object("content", &body[4])?,
        buffers: body[5..].to_vec(),
    })
}

/// Makes messages of one kernel session.
#[derive(Debug)]
pub struct Composer {
    pub session: String,
    signer: Signer,
    count: AtomicU64,
}

impl Composer {
    pub fn new(signer: Signer) -> Self {
        Self {
            session: uuid::Uuid::new_v4().to_string(),
            signer,
            count: AtomicU64::new(0),
        }
    }

    /// The parts of one message behind `prefix` (identities, or the topic), ready for the wire.
    pub fn compose(
        &self,
        prefix: &[Vec<u8>],
        msg_type: &str,
        parent_header: &str,
        metadata: &str,
        content: &str,
        buffers: &[Vec<u8>],
    ) -> Vec<u8> {
        let encode = |parts: &[&[u8]]| crate::zmtp::frame::encode_message(parts);
        self.with_parts(prefix, msg_type, parent_header, metadata, content, buffers, encode)
    }

    /// As [`Composer::compose`], handing the parts to `take`.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a message and what to do with them"
    )]
    pub fn with_parts<R>(
        &self,
        prefix: &[Vec<u8>],
        msg_type: &str,
        parent_header: &str,
        metadata: &str,
        content: &str,
        buffers: &[Vec<u8>],
        take: impl FnOnce(&[&[u8]]) -> R,
    ) -> R {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let header = format!(
            r#"{{"msg_id":"{}_{}_{}","msg_type":"{}","username":"larder","session":"{}","date":"{}","version":"{}"}}"#,
            self.session,
            std::process::id(),
            count,
            msg_type,
            self.session,
            utc_now(),
            PROTOCOL_VERSION,
        );
        let body = [
            header.as_bytes(),
            parent_header.as_bytes(),
            metadata.as_bytes(),
            content.as_bytes(),
        ];
        let signature = self.signer.sign(&body);
        let mut parts: Vec<&[u8]> = prefix.iter().map(Vec::as_slice).collect();
        parts.push(DELIMITER);
        parts.push(signature.as_bytes());
        parts.extend(body);
        parts.extend(buffers.iter().map(Vec::as_slice));
        take(&parts)
    }
}

/// Now as ISO 8601 in UTC with microseconds, e.g. `2026-11-21T02:53:08.123456Z`.
pub fn utc_now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days as i64);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_micros()
    )
}

/// Year, month, day of a count of days since 1970-01-01 in the Gregorian calendar; years begin in March inside, so
/// that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zmtp::frame::{Decoder, Frame, Mechanism, greeting};

    fn parts_of(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut decoder = Decoder::default();
        decoder.feed(&greeting(Mechanism::Null));
        let _ = decoder.next_frame();
        decoder.established = true;
        decoder.feed(bytes);
        let mut parts = Vec::new();
        while let Some(Frame::Part { body, .. }) = decoder.next_frame().unwrap() {
            parts.push(body);
        }
        parts
    }

    fn message(signer: &Signer, content: &str) -> Vec<Vec<u8>> {
        let composer = Composer::new(signer.clone());
        parts_of(&composer.compose(&[b"id".to_vec()], "execute_request", "{}", "{}", content, &[vec![1, 2]]))
    }

    #[test]
    fn what_is_composed_decodes() {
        let signer = Signer::new(b"key");
        let got = decode(
            &signer,
            &mut ReplayGuard::default(),
            b"me",
            message(&signer, r#"{"code":"1"}"#),
        )
        .unwrap();
        assert_eq!(got.header.msg_type, "execute_request");
        assert_eq!(got.identities, [b"me".to_vec(), b"id".to_vec()]);
        assert_eq!(got.content_json, r#"{"code":"1"}"#);
        assert_eq!(got.buffers, [vec![1, 2]]);
    }

    #[test]
    fn bad_messages_are_named_by_what_is_wrong() {
        let signer = Signer::new(b"key");
        let mut replay = ReplayGuard::default();
        let good = message(&signer, "{}");
        assert!(matches!(
            decode(&signer, &mut replay, b"", vec![b"x".to_vec()]),
            Err(WireError::Delimiter)
        ));
        for cut in 2..7 {
            let got = decode(&signer, &mut replay, b"", good[..cut].to_vec());
            assert!(matches!(got, Err(WireError::Short(_))), "cut to {cut} parts");
        }
        let other = Signer::new(b"other");
        assert!(matches!(
            decode(&other, &mut replay, b"", good.clone()),
            Err(WireError::Signature)
        ));
        for part in 2..7 {
            let mut flipped = good.clone();
            flipped[part][0] ^= 1;
            assert!(
                matches!(decode(&signer, &mut replay, b"", flipped), Err(WireError::Signature)),
                "part {part}"
            );
        }
        assert!(decode(&signer, &mut replay, b"", good.clone()).is_ok());
        assert!(matches!(
            decode(&signer, &mut replay, b"", good),
            Err(WireError::Replay)
        ));
        let not_json = message(&signer, "[1]");
        assert!(matches!(
            decode(&signer, &mut replay, b"", not_json),
            Err(WireError::Json { part: "content", .. })
        ));
    }

    #[test]
    fn nan_and_lone_surrogates_survive_as_null_and_replacement() {
        let signer = Signer::new(b"");
        let got = decode(
            &signer,
            &mut ReplayGuard::default(),
            b"",
            message(&signer, r#"{"a":NaN,"b":"\ud800x"}"#),
        );
        assert_eq!(got.unwrap().content_json, "{\"a\":null,\"b\":\"\u{fffd}x\"}");
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }
}
