//! A scripted front end on the independent `zeromq` crate: it panics on any message nobody asserted.

// Each test file uses its part of this one.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use larder_kernel::wire::{Composer, Message, ReplayGuard, Signer, decode};
use larder_kernel::zmtp::frame::{self, Decoder, Frame, Mechanism};
use larder_kernel::{Connection, Hooks, Kernel, echo, run};
use serde_json::Value;
use zeromq::prelude::*;
use zeromq::util::PeerIdentity;
use zeromq::{DealerSocket, ReqSocket, SocketOptions, SubSocket, ZmqMessage};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A kernel with the echo interpreter on a thread of its own.
pub struct Running {
    pub connection: Connection,
    pub interrupts: Arc<AtomicU32>,
    pub kernel: Kernel,
    thread: JoinHandle<()>,
}

impl Running {
    pub fn start(connection: Connection) -> Self {
        let interrupts = Arc::new(AtomicU32::new(0));
        let counted = interrupts.clone();
        let interrupt = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let hooks = Hooks {
            interrupt: Box::new(interrupt),
        };
        let kernel = Kernel::start(connection, echo::info(), hooks).unwrap();
        let queue = kernel.queue();
        let thread = std::thread::spawn(move || run(&queue, &mut echo::Echo::default()));
        Self {
            connection: kernel.connection().clone(),
            interrupts,
            kernel,
            thread,
        }
    }

    /// After a shutdown request: waits for the interpreter, then flushes; whether all went out.
    pub fn end(self) -> bool {
        self.thread.join().unwrap();
        self.kernel.flush_and_stop(PATIENCE)
    }
}

pub fn hooks() -> Hooks {
    Hooks {
        interrupt: Box::new(|| {}),
    }
}

pub fn address(connection: &Connection, port: u16) -> String {
    match connection.transport.as_str() {
        "tcp" => format!("tcp://{}:{port}", connection.ip),
        _ => format!("ipc://{}-{port}", connection.ip),
    }
}

/// The parts of a message that was composed for the wire.
pub fn parts_of(wire: &[u8]) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::default();
    decoder.feed(&frame::greeting(Mechanism::Null));
    decoder.established = true;
    decoder.feed(wire);
    let mut parts = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        if let Frame::Part { body, .. } = frame {
            parts.push(body);
        }
    }
    parts
}

fn zmq(parts: Vec<Vec<u8>>) -> ZmqMessage {
    ZmqMessage::try_from(parts.into_iter().map(Bytes::from).collect::<Vec<_>>()).unwrap()
}

pub struct Frontend {
    pub shell: DealerSocket,
    pub control: DealerSocket,
    pub stdin: DealerSocket,
    pub iopub: SubSocket,
    pub heartbeat: ReqSocket,
    signer: Signer,
    composer: Composer,
    replay: ReplayGuard,
}

impl Frontend {
    pub async fn connect(connection: &Connection) -> Self {
        // As front ends choose one. Of 256 of chance one begins with a zero byte, which no client may choose.
        let identity = uuid::Uuid::new_v4().to_string();
        Self::connect_as(connection, identity.parse().unwrap()).await
    }

    /// Shell, control and stdin share one identity, as the specification asks.
    pub async fn connect_as(connection: &Connection, identity: PeerIdentity) -> Self {
        let dealer = || {
            let mut options = SocketOptions::default();
            options.peer_identity(identity.clone());
            DealerSocket::with_options(options)
        };
        let (mut shell, mut control, mut stdin) = (dealer(), dealer(), dealer());
        let (mut iopub, mut heartbeat) = (SubSocket::new(), ReqSocket::new());
        shell
            .connect(&address(connection, connection.shell_port))
            .await
            .unwrap();
        control
            .connect(&address(connection, connection.control_port))
            .await
            .unwrap();
        stdin
            .connect(&address(connection, connection.stdin_port))
            .await
            .unwrap();
        heartbeat
            .connect(&address(connection, connection.hb_port))
            .await
            .unwrap();
        iopub
            .connect(&address(connection, connection.iopub_port))
            .await
            .unwrap();
        iopub.subscribe("").await.unwrap();
        let signer = Signer::new(connection.key.as_bytes());
        let composer = Composer::new(signer.clone());
        let replay = ReplayGuard::default();
        let mut frontend = Self {
            shell,
            control,
            stdin,
            iopub,
            heartbeat,
            signer,
            composer,
            replay,
        };
        assert_eq!(frontend.iopub().await.header.msg_type, "iopub_welcome");
        frontend
    }

    /// The parts of a request, signed.
    pub fn compose(&self, msg_type: &str, content: &Value, buffers: &[Vec<u8>]) -> Vec<Vec<u8>> {
        parts_of(
            &self
                .composer
                .compose(&[], msg_type, "{}", "{}", &content.to_string(), buffers),
        )
    }

    pub async fn send(&mut self, msg_type: &str, content: Value) {
        let parts = self.compose(msg_type, &content, &[]);
        self.send_parts(parts).await;
    }

    pub async fn send_parts(&mut self, parts: Vec<Vec<u8>>) {
        self.shell.send(zmq(parts)).await.unwrap();
    }

    pub async fn send_control(&mut self, msg_type: &str, content: Value) {
        let parts = self.compose(msg_type, &content, &[]);
        self.control.send(zmq(parts)).await.unwrap();
    }

    pub async fn send_stdin(&mut self, msg_type: &str, content: Value) {
        let parts = self.compose(msg_type, &content, &[]);
        self.stdin.send(zmq(parts)).await.unwrap();
    }

    fn read(&mut self, got: ZmqMessage) -> Message {
        let parts = got.into_vec().into_iter().map(|b| b.to_vec()).collect();
        decode(&self.signer, &mut self.replay, b"", parts).expect("what the kernel sends is signed and whole")
    }

    pub async fn iopub(&mut self) -> Message {
        let got = tokio::time::timeout(PATIENCE, self.iopub.recv())
            .await
            .expect("no iopub message came")
            .unwrap();
        self.read(got)
    }

    pub async fn reply(&mut self) -> Message {
        let got = tokio::time::timeout(PATIENCE, self.shell.recv())
            .await
            .expect("no shell reply came")
            .unwrap();
        self.read(got)
    }

    pub async fn control_reply(&mut self) -> Message {
        let got = tokio::time::timeout(PATIENCE, self.control.recv())
            .await
            .expect("no control reply came")
            .unwrap();
        self.read(got)
    }

    pub async fn input_request(&mut self) -> Message {
        let got = tokio::time::timeout(PATIENCE, self.stdin.recv())
            .await
            .expect("no input request came")
            .unwrap();
        self.read(got)
    }

    pub async fn heartbeat_echoes(&mut self) {
        self.heartbeat.send("beat".into()).await.unwrap();
        let back = tokio::time::timeout(PATIENCE, self.heartbeat.recv())
            .await
            .expect("no heartbeat came back")
            .unwrap();
        assert_eq!(back.get(0).unwrap().as_ref(), b"beat");
    }

    /// Returns when the kernel has read all that was sent on other sockets before. Twice: the kernel may have looked at those
    /// just before the last of it came, and then found the first heartbeat.
    pub async fn everything_is_read(&mut self) {
        self.heartbeat_echoes().await;
        self.heartbeat_echoes().await;
    }

    /// Asserts the next iopub messages, each as `type` or `type:text it holds`.
    pub async fn expect(&mut self, script: &[&str]) {
        for expected in script {
            let (msg_type, text) = expected.split_once(':').unwrap_or((expected, ""));
            let got = self.iopub().await;
            assert_eq!(got.header.msg_type, msg_type, "{}", got.content_json);
            assert!(got.content_json.contains(text), "no {text:?} in {}", got.content_json);
        }
    }

    /// Runs code that says nothing but its own result.
    pub async fn check_alive(&mut self) {
        self.send("execute_request", serde_json::json!({"code": "alive"})).await;
        assert!(self.reply().await.content_json.contains(r#""status":"ok""#));
        self.expect(&[
            "status:busy",
            "execute_input:alive",
            "execute_result:alive",
            "status:idle",
        ])
        .await;
    }
}

/// A raw peer of one socket, for what no library would send.
pub struct Raw {
    pub stream: TcpStream,
    decoder: Decoder,
}

impl Raw {
    pub fn connect(connection: &Connection, port: u16) -> Self {
        Self::connect_expecting(connection, port, Mechanism::Null)
    }

    pub fn connect_expecting(connection: &Connection, port: u16, mechanism: Mechanism) -> Self {
        let stream = TcpStream::connect((connection.ip.as_str(), port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            decoder: Decoder::expecting(mechanism),
        }
    }

    /// Greeting and READY as a peer of `socket_type`.
    pub fn shake_hands(mut self, socket_type: &str) -> Self {
        self.write(&frame::greeting(Mechanism::Null));
        self.write(&frame::encode_ready(socket_type));
        match self.next() {
            Some(Frame::Command { name, .. }) => assert_eq!(name, b"READY"),
            other => panic!("not READY: {other:?}"),
        }
        self.decoder.established = true;
        self
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame; `None` when the kernel hung up.
    pub fn next(&mut self) -> Option<Frame> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.decoder.feed(&chunk[..count]),
                Err(err) if err.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(err) => panic!("the kernel neither answered nor hung up: {err}"),
            }
        }
    }
}
