//! Encrypted connections against a client that lies, repeats and cuts short. (`tests/python/test_kernel_curve.py` has
//! libzmq's honest ones.)

#[path = "support/curve_client.rs"]
mod curve_client;
mod support;

use std::sync::Arc;

use curve_client::Client;
use larder_kernel::zmtp::curve::{Connection, Keys, Step};
use larder_kernel::zmtp::frame::{self, Frame, Mechanism, encode_command};
use support::{Raw, Running};

const SECRET: [u8; 32] = [77; 32];

fn server() -> Connection {
    Connection::new(Arc::new(Keys::from_secret(SECRET)), "ROUTER")
}

fn public() -> [u8; 32] {
    Keys::from_secret(SECRET).public()
}

fn command(name: &[u8], data: Vec<u8>) -> Frame {
    Frame::Command {
        name: name.to_vec(),
        data,
    }
}

fn part(body: Vec<u8>) -> Frame {
    Frame::Part { body, more: false }
}

/// Name and data of the one command in `wire`.
fn answer(step: Step) -> Vec<u8> {
    let (Step::Answer(wire) | Step::Ready(_, wire)) = step else {
        panic!("no answer: {step:?}")
    };
    // Flags, size, name's length, name: WELCOME and READY are below 256 bytes.
    let name = usize::from(wire[2]);
    wire[3 + name..].to_vec()
}

/// A client and a server that have shaken hands, and the frames the client sent.
fn open(seed: u8) -> (Client, Connection, [Frame; 2]) {
    let (mut client, mut server) = (Client::new(public(), seed), server());
    let hello = command(b"HELLO", client.hello());
    client.welcome(&answer(server.receive(hello.clone()).unwrap()));
    let initiate = command(b"INITIATE", client.initiate(&frame::encode_properties("DEALER")));
    let Step::Ready(ready, _) = server.receive(initiate.clone()).unwrap() else {
        panic!("the handshake is not over")
    };
    assert_eq!(ready.socket_type, "DEALER");
    (client, server, [hello, initiate])
}

fn refused(server: &mut Connection, frame: Frame, why: &str) {
    let err = server.receive(frame).unwrap_err().to_string();
    assert!(err.contains(why), "{err}");
    assert!(
        server.receive(part(b"anything".to_vec())).is_err(),
        "a failed connection stays failed"
    );
}

#[test]
fn what_each_end_seals_the_other_reads() {
    let (mut client, mut server, _) = open(1);
    for (flags, more) in [(1, true), (0, false)] {
        let got = server.receive(part(client.message(flags, b"from the client"))).unwrap();
        let Step::Frame(Frame::Part { body, more: got_more }) = got else {
            panic!("{got:?}")
        };
        assert_eq!((body.as_slice(), got_more), (&b"from the client"[..], more));
    }
    let wire = server.seal(&frame::encode_message(&[&b"one"[..], &[7; 400]]));
    let first = usize::from(wire[1]);
    assert_eq!(client.read(&wire[2..2 + first]), (1, b"one".to_vec()));
    assert_eq!(client.read(&wire[2 + first + 9..]), (0, vec![7; 400]));
    let got = server.receive(part(client.message(2, b"\x04PING\0\0x"))).unwrap();
    let Step::Frame(Frame::Command { name, data }) = got else {
        panic!("{got:?}")
    };
    assert_eq!((name.as_slice(), data.as_slice()), (&b"PING"[..], &b"\0\0x"[..]));
}

#[test]
fn a_message_sent_twice_or_out_of_order_ends_the_connection() {
    let (mut client, mut server, _) = open(1);
    let once = client.message(0, b"run this");
    assert!(server.receive(part(once.clone())).is_ok());
    refused(&mut server, part(once), "not larger");
    let (mut client, mut server, _) = open(1);
    let (first, second) = (client.message(0, b"1"), client.message(0, b"2"));
    assert!(server.receive(part(second)).is_ok());
    refused(&mut server, part(first), "not larger");
}

#[test]
fn a_recorded_conversation_opens_nothing_a_second_time() {
    let (mut client, _, [hello, initiate]) = open(1);
    let message = client.message(0, b"run this");
    let mut again = server();
    // HELLO proves nothing but knowledge of S and is answered: with another S' and another cookie.
    assert!(matches!(again.receive(hello).unwrap(), Step::Answer(_)));
    refused(&mut again, initiate.clone(), "another connection's cookie");
    refused(&mut server(), initiate, "out of turn");
    refused(&mut server(), part(message), "out of turn");
}

#[test]
fn a_message_of_another_connection_does_not_open() {
    let (_, mut server, _) = open(1);
    let (mut other, _, _) = open(1);
    refused(&mut server, part(other.message(0, b"run this")), "does not open");
}

#[test]
fn a_wrong_server_key_goes_no_further_than_hello() {
    let mut client = Client::new([5; 32], 1);
    refused(&mut server(), command(b"HELLO", client.hello()), "does not open");
}

#[test]
fn nothing_passes_in_plain_before_or_after_the_handshake() {
    for first in [
        encode_ready(),
        part(b"execute".to_vec()),
        command(b"SUBSCRIBE", Vec::new()),
        command(b"PING", vec![0; 2]),
    ] {
        refused(&mut server(), first.clone(), "out of turn");
        let (_, mut opened, _) = open(1);
        refused(&mut opened, first, "unencrypted");
    }
}

fn encode_ready() -> Frame {
    command(b"READY", frame::encode_properties("DEALER"))
}

#[test]
fn a_vouch_for_another_connection_or_another_server_is_refused() {
    // What a server that a client trusts could send on to another one in the client's name.
    for (transient, server_key) in [([8; 32], public()), ([0; 32], [8; 32])] {
        let (mut client, mut server) = (Client::new(public(), 1), server());
        let hello = client.hello();
        let own: [u8; 32] = hello[74..106].try_into().unwrap();
        client.welcome(&answer(server.receive(command(b"HELLO", hello)).unwrap()));
        client.vouch_for(if transient == [0; 32] { &own } else { &transient }, &server_key);
        let initiate = command(b"INITIATE", client.initiate(&frame::encode_properties("DEALER")));
        refused(&mut server, initiate, "vouches for another connection");
    }
}

#[test]
fn any_flipped_bit_or_cut_in_a_handshake_ends_it() {
    let mut client = Client::new(public(), 1);
    let hello = client.hello();
    for at in 0..hello.len() {
        // The 72 zeros after the version are there for size only.
        if (2..74).contains(&at) {
            continue;
        }
        let mut damaged = hello.clone();
        damaged[at] ^= 4;
        assert!(
            server().receive(command(b"HELLO", damaged)).is_err(),
            "HELLO, byte {at}"
        );
        assert!(server().receive(command(b"HELLO", hello[..at].to_vec())).is_err());
    }
    let length = client_initiate(1).1.len();
    for at in 0..length {
        let (mut fresh, initiate) = client_initiate(1);
        let mut damaged = initiate.clone();
        damaged[at] ^= 4;
        assert!(
            fresh.receive(command(b"INITIATE", damaged)).is_err(),
            "INITIATE, byte {at}"
        );
        let (mut fresh, initiate) = client_initiate(1);
        assert!(fresh.receive(command(b"INITIATE", initiate[..at].to_vec())).is_err());
    }
    let (mut client, _, _) = open(1);
    for at in 8..client.message(0, b"x").len() {
        let (mut client, mut opened, _) = open(1);
        let mut damaged = client.message(0, b"x");
        damaged[at] ^= 4;
        assert!(opened.receive(part(damaged)).is_err(), "MESSAGE, byte {at}");
    }
}

/// A server that waits for INITIATE, and that INITIATE.
fn client_initiate(seed: u8) -> (Connection, Vec<u8>) {
    let (mut client, mut server) = (Client::new(public(), seed), server());
    let hello = command(b"HELLO", client.hello());
    client.welcome(&answer(server.receive(hello).unwrap()));
    let initiate = client.initiate(&frame::encode_properties("DEALER"));
    (server, initiate)
}

#[test]
fn over_a_real_socket_garbage_costs_its_sender_the_connection_and_nobody_else() {
    let kernel = Running::start(larder_kernel::Connection {
        curve_secretkey: Some("JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6".into()),
        ..larder_kernel::Connection::fresh()
    });
    let port = kernel.connection.shell_port;
    let greeting = frame::greeting(Mechanism::Curve);
    let plain = frame::greeting(Mechanism::Null);
    let mut wrong = Client::new([5; 32], 1);
    for bytes in [
        [plain.as_slice(), &frame::encode_ready("DEALER")].concat(),
        [greeting.as_slice(), &frame::encode_ready("DEALER")].concat(),
        [greeting.as_slice(), &encode_command(b"HELLO", &[0; 194])].concat(),
        [greeting.as_slice(), &encode_command(b"HELLO", &wrong.hello())].concat(),
        [greeting.as_slice(), &encode_command(b"INITIATE", &[3; 300])].concat(),
        [greeting.as_slice(), &frame::encode_message(&[b"too early"])].concat(),
    ] {
        let mut raw = Raw::connect_expecting(&kernel.connection, port, Mechanism::Curve);
        raw.write(&bytes);
        assert_eq!(raw.next(), None, "hung up on, and told nothing");
    }
    let keys = kernel.connection.keys().unwrap().unwrap();
    let mut client = Client::new(keys.public(), 1);
    let mut raw = Raw::connect_expecting(&kernel.connection, port, Mechanism::Curve);
    raw.write(&[greeting.as_slice(), &encode_command(b"HELLO", &client.hello())].concat());
    let Some(Frame::Command { name, data }) = raw.next() else {
        panic!("no WELCOME")
    };
    assert_eq!(name, b"WELCOME");
    client.welcome(&data);
    raw.write(&encode_command(
        b"INITIATE",
        &client.initiate(&frame::encode_properties("DEALER")),
    ));
    assert!(matches!(raw.next(), Some(Frame::Command { name, .. }) if name == b"READY"));
}
