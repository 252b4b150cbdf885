//! What breaks other servers: hostile and unlucky peers. After each, the kernel still serves everybody else.

mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use larder_kernel::Connection;
use larder_kernel::zmtp::frame::{self, Frame, Mechanism};
use serde_json::json;
use support::{Frontend, PATIENCE, Raw, Running};
use zeromq::util::PeerIdentity;

async fn shut_down(mut frontend: Frontend, kernel: Running) {
    frontend
        .send_control("shutdown_request", json!({"restart": false}))
        .await;
    frontend.control_reply().await;
    assert!(kernel.end());
}

#[tokio::test]
async fn fault_1_a_header_claiming_2_to_the_40_bytes_costs_its_sender_the_connection() {
    let kernel = Running::start(Connection::fresh());
    for port in [
        kernel.connection.shell_port,
        kernel.connection.iopub_port,
        kernel.connection.hb_port,
    ] {
        let mut header = vec![2];
        header.extend_from_slice(&(1u64 << 40).to_be_bytes());
        let mut before = Raw::connect(&kernel.connection, port);
        before.write(&frame::greeting(Mechanism::Null));
        before.write(&header);
        assert!(
            matches!(before.next(), Some(Frame::Command { .. })),
            "our READY comes first"
        );
        assert_eq!(before.next(), None);
        let kind = if port == kernel.connection.iopub_port {
            "SUB"
        } else {
            "REQ"
        };
        let mut after = Raw::connect(&kernel.connection, port).shake_hands(kind);
        after.write(&header);
        assert_eq!(after.next(), None);
    }
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend.check_alive().await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn fault_2_a_stalled_subscriber_blocks_nobody() {
    let kernel = Running::start(Connection::fresh());
    let mut stalled = Raw::connect(&kernel.connection, kernel.connection.iopub_port).shake_hands("SUB");
    stalled.write(&frame::encode_command(b"SUBSCRIBE", b""));
    let mut frontend = Frontend::connect(&kernel.connection).await;
    // Far more than the socket buffers between the kernel and a peer that does not read.
    let text = "x".repeat(4 << 20);
    for _ in 0..10 {
        frontend
            .send("execute_request", json!({"code": format!("print {text}")}))
            .await;
        frontend
            .expect(&["status:busy", "execute_input", "stream", "status:idle"])
            .await;
        frontend.reply().await;
    }
    frontend.check_alive().await;
    assert!(!kernel.kernel.flush(Duration::from_millis(50)), "not all of it is out");
    drop(stalled);
    assert!(kernel.kernel.flush(PATIENCE));
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn fault_3_queues_are_bounded_in_bytes_and_the_loss_is_said_never_the_status() {
    use larder_kernel::zmtp::server::SUBSCRIBER_BYTES_MAX;
    let kernel = Running::start(Connection::fresh());
    let mut slow = Raw::connect(&kernel.connection, kernel.connection.iopub_port).shake_hands("SUB");
    slow.write(&frame::encode_command(b"SUBSCRIBE", b""));
    let mut frontend = Frontend::connect(&kernel.connection).await;
    let text = "x".repeat(16 << 20);
    // Each cell publishes its text twice: as execute_input and as a stream.
    let cells = SUBSCRIBER_BYTES_MAX / (2 * text.len()) + 4;
    for _ in 0..cells {
        frontend
            .send("execute_request", json!({"code": format!("print {text}")}))
            .await;
        frontend
            .expect(&["status:busy", "execute_input", "stream", "status:idle"])
            .await;
        frontend.reply().await;
    }
    let (mut idle, mut streams, mut notice) = (0, 0, false);
    let mut last = Vec::new();
    while idle < cells || !notice {
        match slow.next().expect("the slow subscriber is not thrown out") {
            Frame::Part { body, more: true } => last.push(body),
            Frame::Part { body, more: false } => {
                last.push(body);
                let all = String::from_utf8_lossy(&last[last.len() - 1]).into_owned();
                idle += usize::from(all == r#"{"execution_state":"idle"}"#);
                streams += usize::from(all.contains("xxxx"));
                notice |= all.contains("output messages were dropped");
                last.clear();
            }
            Frame::Command { .. } => {}
        }
    }
    assert!(streams < 2 * cells, "something was dropped");
    shut_down(frontend, kernel).await;
}

/// The sockets, named as in `/proc/self/fd`, of the kernel's connections on a port. The table is not read in one piece: while
/// others come and go a row may be missing or there twice.
fn connections(port: u16) -> BTreeSet<String> {
    let (port, established) = (format!(":{port:04X}"), "01");
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    // One that waits to be accepted has no file yet.
    rows.filter(|row| row[1].ends_with(&port) && row[3] == established && row[9] != "0")
        .map(|row| format!("socket:[{}]", row[9]))
        .collect()
}

/// Waits until `found` finds something.
async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(it) = found() {
            return it;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The kernel's side of the one connection on a port that is not among `others`.
async fn accepted(port: u16, others: &BTreeSet<String>) -> String {
    let one = || connections(port).difference(others).next().cloned();
    until("no connection was made", one).await
}

/// Waits until the kernel, which runs in this process, has let go of its side of a connection.
async fn let_go(socket: &str) {
    let open = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.unwrap().path());
    let held = || {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .any(|entry| open(entry).is_ok_and(|to| to.as_os_str() == socket))
    };
    until("a connection that was ended is kept", || (!held()).then_some(())).await;
}

#[tokio::test]
async fn fault_4_a_client_that_reconnects_under_its_identity_loses_no_reply() {
    let kernel = Running::start(Connection::fresh());
    // Not one of chance: a client may not choose one that begins with a zero byte.
    let identity: PeerIdentity = "the same client".parse().unwrap();
    let mut watcher = Frontend::connect(&kernel.connection).await;
    let folder = tempfile::tempdir().unwrap();
    let port = kernel.connection.shell_port;
    let others = BTreeSet::from([accepted(port, &BTreeSet::new()).await]);
    for round in 0..20 {
        let go = folder.path().join(round.to_string());
        let mut first = Frontend::connect_as(&kernel.connection, identity.clone()).await;
        let its = accepted(port, &others).await;
        let wait = format!("wait {}", go.display());
        first.send("execute_request", json!({"code": wait})).await;
        watcher.expect(&["status:busy", "execute_input"]).await;
        drop(first);
        let_go(&its).await;
        std::fs::write(go, "").unwrap();
        let mut second = Frontend::connect_as(&kernel.connection, identity.clone()).await;
        let its = accepted(port, &others).await;
        let reply = second.reply().await;
        assert_eq!(reply.header.msg_type, "execute_reply", "round {round}");
        watcher.expect(&["status:idle"]).await;
        drop(second);
        let_go(&its).await;
    }
    shut_down(watcher, kernel).await;
}

#[tokio::test]
async fn fault_5_twenty_megabytes_then_exit_arrive_whole() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    let text = "y".repeat(20 << 20);
    frontend
        .send("execute_request", json!({"code": format!("show {text}")}))
        .await;
    frontend.expect(&["status:busy", "execute_input"]).await;
    frontend
        .send_control("shutdown_request", json!({"restart": false}))
        .await;
    let end = tokio::task::spawn_blocking(move || kernel.end());
    let shown = frontend.iopub().await;
    assert_eq!(shown.header.msg_type, "display_data");
    assert!(shown.content_json.contains(&text));
    frontend.expect(&["status:idle", "status:busy", "status:idle"]).await;
    assert_eq!(frontend.reply().await.header.msg_type, "execute_reply");
    assert_eq!(frontend.control_reply().await.header.msg_type, "shutdown_reply");
    assert!(end.await.unwrap(), "everything was taken by the peers before the end");
}

#[tokio::test]
async fn fault_6_a_ping_is_answered_with_its_context() {
    let kernel = Running::start(Connection::fresh());
    let mut raw = Raw::connect(&kernel.connection, kernel.connection.shell_port).shake_hands("DEALER");
    raw.write(&frame::encode_command(b"PING", b"\0\x64context"));
    let pong = Frame::Command {
        name: b"PONG".to_vec(),
        data: b"context".to_vec(),
    };
    assert_eq!(raw.next(), Some(pong));
    let frontend = Frontend::connect(&kernel.connection).await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn fault_7_a_socket_file_of_a_killed_kernel_is_replaced_and_one_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let ip = folder.path().join("k").display().to_string();
    // A listener that is dropped leaves its file behind, as SIGKILL does.
    drop(UnixListener::bind(format!("{ip}-7")).unwrap());
    let connection = Connection {
        transport: "ipc".into(),
        ip: ip.clone(),
        shell_port: 7,
        ..Connection::fresh()
    };
    let kernel = Running::start(connection.clone());
    let again = larder_kernel::Kernel::start(connection, larder_kernel::echo::info(), support::hooks());
    assert!(
        again.err().unwrap().to_string().contains("-7"),
        "the address in use is named"
    );
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend.check_alive().await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn fault_8_a_reply_to_a_vanished_peer_harms_nobody() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    let mut raw = Raw::connect(&kernel.connection, kernel.connection.shell_port).shake_hands("DEALER");
    let parts = frontend.compose("execute_request", &json!({"code": "sleep 100"}), &[]);
    raw.write(&frame::encode_message(&parts));
    frontend.expect(&["status:busy", "execute_input"]).await;
    drop(raw);
    frontend.expect(&["status:idle"]).await;
    frontend.check_alive().await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn fault_9_peers_that_misbehave_lose_their_connection_and_nothing_else() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    let port = kernel.connection.hb_port;
    let mut http = Raw::connect(&kernel.connection, port);
    http.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut rest = Vec::new();
    let _ = http.stream.read_to_end(&mut rest);
    let mut curve = frame::greeting(Mechanism::Null);
    curve[12..17].copy_from_slice(b"CURVE");
    let mut unready = frame::greeting(Mechanism::Null).to_vec();
    unready.extend_from_slice(&frame::encode_message(&[b"too early"]));
    let mut reserved = frame::greeting(Mechanism::Null).to_vec();
    reserved.extend_from_slice(&[0xf8, 0]);
    for bytes in [curve.to_vec(), unready, reserved] {
        let mut raw = Raw::connect(&kernel.connection, port);
        raw.write(&bytes);
        while raw.next().is_some() {}
    }
    let mut wrong_type = Raw::connect(&kernel.connection, kernel.connection.iopub_port);
    wrong_type.write(&frame::greeting(Mechanism::Null));
    wrong_type.write(&frame::encode_ready("DEALER"));
    while wrong_type.next().is_some() {}
    frontend.check_alive().await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn malformed_replayed_and_unknown_messages_are_dropped() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    let good = frontend.compose("execute_request", &json!({"code": "once"}), &[]);
    for cut in 1..good.len() {
        frontend.send_parts(good[..cut].to_vec()).await;
    }
    for part in 1..good.len() {
        let mut flipped = good.clone();
        flipped[part][0] ^= 1;
        frontend.send_parts(flipped).await;
    }
    frontend.send_parts(good.clone()).await;
    frontend.reply().await;
    frontend
        .expect(&[
            "status:busy",
            "execute_input:once",
            "execute_result:once",
            "status:idle",
        ])
        .await;
    frontend.send_parts(good).await;
    frontend.send("no_such_request", json!({})).await;
    frontend.send("execute_request", json!({"no": "code"})).await;
    let refused = frontend.reply().await;
    assert!(
        refused.content_json.contains("missing field"),
        "{}",
        refused.content_json
    );
    frontend.expect(&["status:busy", "status:idle"]).await;
    frontend.check_alive().await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn a_hundred_connections_come_and_go() {
    let kernel = Running::start(Connection::fresh());
    let began = Instant::now();
    for _ in 0..100 {
        drop(Raw::connect(&kernel.connection, kernel.connection.shell_port).shake_hands("DEALER"));
    }
    assert!(began.elapsed() < PATIENCE);
    let mut frontend = Frontend::connect(&kernel.connection).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    frontend.check_alive().await;
    shut_down(frontend, kernel).await;
}
