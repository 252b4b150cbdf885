//! Kernel-initiated registration: the launcher tells where it listens, the kernel chooses its ports and tells them.
//!
//! A launcher that chooses ports for a kernel can lose them to another process before the kernel binds them. With a
//! `registration_port` in the connection file the kernel binds first and reports (Jupyter enhancement proposal 66). The
//! launcher's acknowledgement ends it; without one the kernel must not stay.
//!
//! Two forms are in use, told apart by the file:
//!
//! | the file has | request | answer |
//! |---|---|---|
//! | `registration_ip` or `kernel_id` (message specification 5.6) | one signed frame: `kernel_id` and ports as text | one signed frame, any content |
//! | `registration_port` only (Positron, ark) | message `handshake_request`: ports as numbers, framed as by REQ | message `handshake_reply`, status ok |
//!
//! The client is the `zeromq` crate's DEALER. It speaks no CURVE: what it says (five ports) is signed, not secret.

use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use zeromq::prelude::*;
use zeromq::{DealerSocket, ZmqMessage};

use crate::connection::Connection;
use crate::wire::{self, Composer, DELIMITER, ReplayGuard, Signer};

/// How long the launcher may take to acknowledge.
pub const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    #[error("no acknowledgement from {endpoint} within {} s", PATIENCE.as_secs())]
    Silent { endpoint: String },
    #[error("{endpoint}: {source}")]
    Transport { endpoint: String, source: zeromq::ZmqError },
    #[error("{endpoint} answered something else than an acknowledgement: {why}")]
    Answer { endpoint: String, why: String },
    #[error("cannot start the client: {0}")]
    Runtime(#[from] std::io::Error),
}

fn answer_error(endpoint: &str, why: impl ToString) -> RegisterError {
    RegisterError::Answer {
        endpoint: endpoint.to_owned(),
        why: why.to_string(),
    }
}

/// Tells the launcher that `connection` (whose ports are bound) names as registration service; waits for its answer.
///
/// # Errors
/// [`RegisterError`]: nobody took the message, or nobody answered it as agreed. The kernel is to end then.
pub fn register(connection: &Connection) -> Result<(), RegisterError> {
    let ip = connection.registration_ip.as_deref().unwrap_or(&connection.ip);
    let port = connection.registration_port;
    let endpoint = match connection.transport.as_str() {
        "ipc" => format!("ipc://{ip}-{port}"),
        transport => format!("{transport}://{ip}:{port}"),
    };
    let signer = Signer::new(connection.key.as_bytes());
    let whole = connection.registration_ip.is_none() && connection.kernel_id.is_none();
    let request = if whole {
        message(connection, &signer)
    } else {
        frame(connection, &signer)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, exchange(&endpoint, request)).await {
            Ok(got) => got.map_err(|source| RegisterError::Transport {
                endpoint: endpoint.clone(),
                source,
            }),
            Err(_) => Err(RegisterError::Silent {
                endpoint: endpoint.clone(),
            }),
        }
    })?;
    if whole {
        check_message(&signer, answer)
    } else {
        check_frame(&signer, &answer)
    }
    .map_err(|why| answer_error(&endpoint, why))
}

async fn exchange(endpoint: &str, request: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, zeromq::ZmqError> {
    let mut socket = DealerSocket::new();
    socket.connect(endpoint).await?;
    let frames: Vec<bytes::Bytes> = request.into_iter().map(Into::into).collect();
    let request = ZmqMessage::try_from(frames).expect("a request has frames");
    socket.send(request).await?;
    let answer = socket.recv().await?;
    Ok(answer.into_vec().into_iter().map(|part| part.to_vec()).collect())
}

fn ports(connection: &Connection) -> [(&'static str, u16); 5] {
    [
        ("control_port", connection.control_port),
        ("shell_port", connection.shell_port),
        ("stdin_port", connection.stdin_port),
        ("iopub_port", connection.iopub_port),
        ("hb_port", connection.hb_port),
    ]
}

fn frame(connection: &Connection, signer: &Signer) -> Vec<Vec<u8>> {
    let mut content: serde_json::Map<String, Value> = ports(connection)
        .into_iter()
        .map(|(name, port)| (name.to_owned(), port.to_string().into()))
        .collect();
    content.insert(
        "kernel_id".into(),
        connection.kernel_id.clone().unwrap_or_default().into(),
    );
    let content = Value::Object(content).to_string();
    let signature = signer.sign(&[content.as_bytes()]);
    vec![DELIMITER.to_vec(), signature.into_bytes(), content.into_bytes()]
}

fn check_frame(signer: &Signer, answer: &[Vec<u8>]) -> Result<(), String> {
    let at = answer.iter().position(|part| part == DELIMITER);
    let body = &answer[at.ok_or("no <IDS|MSG> delimiter")? + 1..];
    let [signature, content] = body else {
        return Err(format!("{} parts after the delimiter, 2 are expected", body.len()));
    };
    signer
        .verify(signature, std::slice::from_ref(content))
        .map_err(|err| err.to_string())
}

fn message(connection: &Connection, signer: &Signer) -> Vec<Vec<u8>> {
    let content: Value = ports(connection)
        .into_iter()
        .map(|(name, port)| (name.to_owned(), json!(port)))
        .collect();
    // The empty part is what REQ puts in front: a launcher's REP socket needs it, a ROUTER hands it back.
    Composer::new(signer.clone()).with_parts(
        &[Vec::new()],
        "handshake_request",
        "{}",
        "{}",
        &content.to_string(),
        &[],
        |parts| parts.iter().map(|part| part.to_vec()).collect(),
    )
}

fn check_message(signer: &Signer, answer: Vec<Vec<u8>>) -> Result<(), String> {
    let got = wire::decode(signer, &mut ReplayGuard::default(), b"", answer).map_err(|err| err.to_string())?;
    if got.header.msg_type != "handshake_reply" {
        return Err(format!("message type `{}`", got.header.msg_type));
    }
    let content: Value = serde_json::from_str(&got.content_json).map_err(|err| err.to_string())?;
    match content.get("status").and_then(Value::as_str) {
        None | Some("ok") => Ok(()),
        Some(status) => Err(format!("status `{status}`")),
    }
}
