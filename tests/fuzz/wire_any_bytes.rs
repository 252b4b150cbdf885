//! Feeds the protocol's decoders what no client sends: frames, messages and encrypted commands that began well and were
//! then damaged, some with signature or lengths made right again so that the damage reaches the decoder behind them.
//!
//! Whatever the bytes: no panic, no memory beyond what arrived, the same result however the bytes are cut into packets,
//! nothing accepted that was not signed or sealed as it stands, and a kernel that still serves everybody else.
//! `LARDER_FUZZ_CASES=1000000` for more cases, `LARDER_FUZZ_SEED` for other ones; a failure names its seed.

#[path = "../../kernel/tests/support/curve_client.rs"]
mod curve_client;
#[path = "../../kernel/tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::sync::Arc;

use curve_client::Client;
use larder_kernel::wire::{self, Composer, ReplayGuard, Signer, WireError, lenient};
use larder_kernel::zmtp::curve::{self, Keys, Step};
use larder_kernel::zmtp::frame::{self, Decoder, Frame, FrameError, Mechanism};
use serde_json::json;

/// Splitmix64: small, and a seed is a case.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which must not be 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        (0..self.below(longest + 1)).map(|_| self.next() as u8).collect()
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs `case` with as many seeds as asked for, `short` if nothing is asked. It says whether its bytes got in: of a long
/// enough run at least one in ten must, or the fuzzer only knocks at the door.
fn cases(short: u64, mut case: impl FnMut(&mut Random) -> bool) {
    // A long run is counted in the cheapest cases; the dear ones stay as rare as they are in the short run.
    let count = from_env("LARDER_FUZZ_CASES").map_or(short, |asked| (asked * short / FRAMES).max(1));
    let first = from_env("LARDER_FUZZ_SEED").unwrap_or(1);
    let mut inside = 0;
    for seed in first..first + count {
        let mut random = Random(seed);
        let run = std::panic::AssertUnwindSafe(|| case(&mut random));
        match std::panic::catch_unwind(run) {
            Ok(got_in) => inside += u64::from(got_in),
            Err(panic) => {
                eprintln!("failed with LARDER_FUZZ_SEED={seed} LARDER_FUZZ_CASES=1");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(count < 100 || inside * 10 > count, "only {inside} of {count} got in");
}

/// Cases of the cheapest fuzzer in a short run.
const FRAMES: u64 = 30_000;

/// Damages `bytes` in one to four places; may leave them as they were.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let more = random.bytes(20);
                bytes.splice(at..at, more);
            }
            2 => {
                let copied = bytes[at..].iter().copied().take(random.below(64)).collect::<Vec<_>>();
                bytes.splice(at..at, copied);
            }
            3 => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                // A length that is 0, large, or larger than anything.
                let value = [0, 255, 1 << 20, 1 << 40, u64::MAX][random.below(5)].to_be_bytes();
                let wide = [1, 4, 8][random.below(3)];
                for (to, from) in bytes[at..].iter_mut().zip(&value[8 - wide..]) {
                    *to = *from;
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
}

/// What an honest client would send: greeting, READY, commands, messages.
fn conversation(random: &mut Random, kind: &str, messages: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut out = frame::greeting(Mechanism::Null).to_vec();
    let mut ready = frame::encode_properties(kind);
    if random.one_in(2) {
        ready.extend_from_slice(b"\x08Identity\0\0\0\x05my id");
    }
    out.extend(frame::encode_command(b"READY", &ready));
    for message in messages {
        match random.below(6) {
            0 => out.extend(frame::encode_command(b"PING", b"\0\x10context")),
            1 => out.extend(frame::encode_command(b"SUBSCRIBE", b"kernel.")),
            2 => out.extend(frame::encode_command(b"CANCEL", b"")),
            3 => out.extend(frame::encode_message(&[b"\x01kernel."])),
            _ => {}
        }
        out.extend(frame::encode_message(message));
    }
    out
}

/// All frames until the stream fails or ends, the handshake's limit lifted by READY as the server does it.
fn decode(packets: &[&[u8]]) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for packet in packets {
        decoder.feed(packet);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    decoder.established |= matches!(&frame, Frame::Command { name, .. } if name == b"READY");
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(err) => {
                    assert_eq!(decoder.next_frame(), Err(err.clone()), "a failed stream stays failed");
                    return (frames, Some(err));
                }
            }
        }
    }
    (frames, None)
}

#[test]
fn any_frames_however_cut_into_packets() {
    cases(FRAMES, |random| {
        let messages: Vec<Vec<Vec<u8>>> = (0..random.below(4))
            .map(|_| (0..1 + random.below(8)).map(|_| random.bytes(400)).collect())
            .collect();
        let mut bytes = conversation(random, "DEALER", &messages);
        damage(random, &mut bytes);
        let whole = decode(&[&bytes]);
        let mut packets = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (packet, after) = rest.split_at((1 + random.below(100)).min(rest.len()));
            packets.push(packet);
            rest = after;
        }
        assert_eq!(decode(&packets), whole);
        let held: usize = whole
            .0
            .iter()
            .map(|frame| match frame {
                Frame::Part { body, .. } => body.len(),
                Frame::Command { name, data } => name.len() + data.len(),
            })
            .sum();
        assert!(held <= bytes.len());
        for frame in &whole.0 {
            if let Frame::Command { name, data } = frame {
                let _ = frame::decode_ready(data);
                let mut again = Decoder::default();
                again.feed(&frame::greeting(Mechanism::Null));
                again.established = true;
                again.feed(&frame::encode_command(name, data));
                assert_eq!(
                    again.next_frame().unwrap().as_ref(),
                    Some(frame),
                    "what is read can be written"
                );
            }
        }
        whole.0.len() > 1
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(
        peak_kib < 512 << 10,
        "{peak_kib} KiB: sizes that were claimed became memory"
    );
}

/// JSON as clients write it, and as they should not.
fn object(random: &mut Random) -> String {
    let values = [
        "1",
        "\"a\"",
        "NaN",
        "-Infinity",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "[[[]]]",
        "{\"b\":null}",
        "1e999",
        "\"NaN\"",
        "\"\\\"\"",
    ];
    let mut text = String::from("{");
    for n in 0..random.below(4) {
        if n > 0 {
            text.push(',');
        }
        text.push_str(&format!("\"k{n}\":{}", values[random.below(values.len())]));
    }
    text + "}"
}

#[test]
fn any_message_parts_signed_or_not() {
    let signer = Signer::new(b"key");
    let composer = Composer::new(signer.clone());
    cases(FRAMES, |random| {
        let buffers: Vec<Vec<u8>> = (0..random.below(3)).map(|_| random.bytes(50)).collect();
        let prefix: Vec<Vec<u8>> = (0..random.below(3)).map(|_| random.bytes(9)).collect();
        let (parent, metadata, content) = (object(random), object(random), object(random));
        let good: Vec<Vec<u8>> = composer.with_parts(
            &prefix,
            "execute_request",
            &parent,
            &metadata,
            &content,
            &buffers,
            |parts| parts.iter().map(|part| part.to_vec()).collect(),
        );
        let mut parts = good.clone();
        match random.below(5) {
            0 => {}
            1 => {
                parts.remove(random.below(good.len()));
            }
            2 => parts.swap(random.below(good.len()), random.below(good.len())),
            _ => {
                let at = random.below(parts.len());
                damage(random, &mut parts[at]);
            }
        }
        let delimiter = parts.iter().position(|part| part == b"<IDS|MSG>");
        let mended = random.one_in(2);
        if let Some(at) = delimiter
            && mended
            && parts.len() >= at + 6
        {
            let signed: Vec<&[u8]> = parts[at + 2..at + 6].iter().map(Vec::as_slice).collect();
            parts[at + 1] = signer.sign(&signed).into_bytes();
        }
        let mut replay = ReplayGuard::default();
        let decoded = wire::decode(&signer, &mut replay, b"me", parts.clone());
        let got_in = decoded.is_ok();
        match decoded {
            Ok(message) => {
                let at = delimiter.expect("decoded without a delimiter");
                if !mended {
                    let start = good.len() - 5 - buffers.len();
                    assert_eq!(
                        parts[at + 2..at + 6],
                        good[start + 1..start + 5],
                        "accepted what was not signed"
                    );
                }
                assert_eq!(message.identities[0], b"me");
                assert_eq!(message.identities[1..], parts[..at]);
                assert_eq!(message.buffers, parts[at + 6..]);
                for text in [
                    &message.header_json,
                    &message.parent_json,
                    &message.metadata_json,
                    &message.content_json,
                ] {
                    assert!(serde_json::from_str::<serde_json::Value>(text).unwrap().is_object());
                }
                let again = wire::decode(&signer, &mut replay, b"me", parts);
                assert!(matches!(again, Err(WireError::Replay)));
            }
            Err(WireError::Delimiter) => assert_eq!(delimiter, None),
            Err(WireError::Replay) => panic!("nothing came before"),
            Err(_) => {}
        }
        let mut any = content.into_bytes();
        damage(random, &mut any);
        let repaired = lenient::repair(&any);
        assert_eq!(
            lenient::repair(repaired.as_bytes()),
            repaired,
            "repaired once is repaired"
        );
        if let Ok(text) = std::str::from_utf8(&any)
            && serde_json::from_str::<serde_json::Value>(text).is_ok()
            && !text.contains("\\ud")
        {
            assert_eq!(repaired, text, "valid JSON stays as it is");
        }
        got_in
    });
}

#[test]
fn any_encrypted_commands() {
    let keys = Arc::new(Keys::from_secret([77; 32]));
    let command = |name: &[u8], data| Frame::Command {
        name: name.to_vec(),
        data,
    };
    cases(FRAMES / 30, |random| {
        let mut server = curve::Connection::new(keys.clone(), "ROUTER");
        let mut client = Client::new(keys.public(), random.next() as u8);
        let damaged_step = random.below(3);
        // The 72 bytes after HELLO's version are there for their number only; X25519 takes 255 bits of a key's 256.
        let seen = |data: &[u8]| {
            let mut kept = [&data[..data.len().min(2)], &data[data.len().min(74)..]].concat();
            if let Some(byte) = kept.get_mut(2 + 31) {
                *byte &= 0x7f;
            }
            kept
        };
        let mut hello = client.hello();
        let whole = (hello.len(), seen(&hello));
        let key = hello[74..106].to_vec();
        if damaged_step == 0 {
            damage(random, &mut hello);
        }
        let changed = (hello.len(), seen(&hello)) != whole;
        let another_key = hello.get(74..106) != Some(&key);
        let welcome = match server.receive(command(b"HELLO", hello)) {
            Ok(Step::Answer(wire)) => wire,
            Ok(step) => panic!("{step:?}"),
            Err(_) => {
                assert!(changed);
                assert!(server.receive(command(b"HELLO", client.hello())).is_err());
                return false;
            }
        };
        assert!(!changed, "a damaged HELLO was answered");
        client.welcome(&welcome[2 + 8..]);
        let mut initiate = client.initiate(&frame::encode_properties("DEALER"));
        let whole = initiate.clone();
        if damaged_step == 1 {
            damage(random, &mut initiate);
        }
        // A key that differs in the bit that X25519 leaves out opens the box, and is not the one that is vouched for.
        let changed = initiate != whole || another_key;
        match server.receive(command(b"INITIATE", initiate)) {
            Ok(Step::Ready(ready, _)) => assert_eq!(ready.socket_type, "DEALER"),
            Ok(step) => panic!("{step:?}"),
            Err(_) => {
                assert!(changed);
                return false;
            }
        }
        assert!(!changed, "a damaged INITIATE was taken");
        for _ in 0..20 {
            let body = random.bytes(300);
            let more = random.one_in(2);
            let mut sealed = client.message(u8::from(more), &body);
            let whole = sealed.clone();
            if random.one_in(3) {
                damage(random, &mut sealed);
            }
            let changed = sealed != whole;
            let part = Frame::Part {
                body: sealed,
                more: false,
            };
            match server.receive(part) {
                Ok(Step::Frame(got)) => {
                    assert!(!changed, "a damaged MESSAGE opened");
                    assert_eq!(got, Frame::Part { body, more });
                }
                Ok(step) => panic!("{step:?}"),
                Err(_) => {
                    assert!(changed);
                    return true;
                }
            }
        }
        // Sealed by an honest key, with anything inside that claims to be a command.
        let mut inside = frame::encode_command(b"SUBSCRIBE", b"kernel.")[2..].to_vec();
        damage(random, &mut inside);
        let sealed = client.message(2, &inside);
        let _ = server.receive(Frame::Part {
            body: sealed,
            more: false,
        });
        true
    });
}

/// The server itself, over real sockets: after all of it, everybody else is served.
#[tokio::test]
async fn any_conversation_with_a_running_kernel() {
    let kernel = support::Running::start(larder_kernel::Connection::fresh());
    let mut frontend = support::Frontend::connect(&kernel.connection).await;
    let c = kernel.connection.clone();
    let sockets = [
        (c.shell_port, "DEALER"),
        (c.control_port, "DEALER"),
        (c.stdin_port, "DEALER"),
        (c.iopub_port, "SUB"),
        (c.hb_port, "REQ"),
    ];
    cases(FRAMES / 100, |random| {
        let (port, kind) = sockets[random.below(sockets.len())];
        // Requests that are answered without a word on IOPub but their status.
        let requests: Vec<Vec<Vec<u8>>> = (0..random.below(3))
            .map(|_| frontend.compose("kernel_info_request", &json!({}), &[random.bytes(9)]))
            .collect();
        let mut bytes = conversation(random, kind, &requests);
        damage(random, &mut bytes);
        let mut raw = support::Raw::connect(&c, port);
        // The kernel may hang up in the middle.
        raw.stream.write_all(&bytes).is_ok()
    });
    let mut alive = support::Frontend::connect(&kernel.connection).await;
    alive.send("execute_request", json!({"code": "alive"})).await;
    assert!(alive.reply().await.content_json.contains(r#""status":"ok""#));
    alive.heartbeat_echoes().await;
    frontend
        .send_control("shutdown_request", json!({"restart": false}))
        .await;
    frontend.control_reply().await;
    assert!(kernel.end());
}
