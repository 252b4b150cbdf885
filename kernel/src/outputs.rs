//! What a cell says, on its way to the front ends: one value handed down with the work, usable from any thread.
//!
//! Stream text is batched here: the first text after a pause leaves within a millisecond, what follows leaves every
//! [`STREAM_INTERVAL`] or [`STREAM_BYTES_MAX`], and always before anything else that is published, so that the order on
//! the page is the order in the program.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kernel::Shared;

/// How long stream text may wait for company.
pub const STREAM_INTERVAL: Duration = Duration::from_millis(15);
/// How long the first text after a pause waits for what belongs to it: `print` writes twice.
const FIRST_WAIT: Duration = Duration::from_millis(1);
/// How much stream text one message holds before it leaves.
pub const STREAM_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamName {
    Stdout,
    Stderr,
}

impl StreamName {
    fn as_str(self) -> &'static str {
        match self {
            StreamName::Stdout => "stdout",
            StreamName::Stderr => "stderr",
        }
    }
}

struct Chunk {
    parent: Arc<str>,
    name: StreamName,
    text: String,
}

/// Stream text not yet sent.
pub(crate) struct Pending {
    chunks: Vec<Chunk>,
    bytes: usize,
    sent: Instant,
    pub(crate) deadline: Option<Instant>,
}

impl Pending {
    pub(crate) fn new() -> Self {
        let long_ago = Instant::now()
            .checked_sub(Duration::from_secs(1))
            .unwrap_or_else(Instant::now);
        Self {
            chunks: Vec::new(),
            bytes: 0,
            sent: long_ago,
            deadline: None,
        }
    }
}

/// Publishes on behalf of one parent message; clones are the same parent. Never blocks on a socket.
#[derive(Clone)]
pub struct Outputs {
    shared: Arc<Shared>,
    parent: Arc<str>,
}

impl Outputs {
    pub(crate) fn new(shared: Arc<Shared>, parent: Arc<str>) -> Self {
        Self { shared, parent }
    }

    /// The parent header all output of this value carries, as JSON.
    pub fn parent_header(&self) -> &str {
        &self.parent
    }

    /// Text for stdout or stderr, batched.
    pub fn stream(&self, name: StreamName, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut pending = self.shared.pending.lock();
        match pending.chunks.last_mut() {
            Some(last) if last.name == name && Arc::ptr_eq(&last.parent, &self.parent) => last.text.push_str(text),
            _ => pending.chunks.push(Chunk {
                parent: self.parent.clone(),
                name,
                text: text.to_owned(),
            }),
        }
        pending.bytes += text.len();
        if pending.bytes >= STREAM_BYTES_MAX {
            self.shared.send_pending(&mut pending);
        } else if pending.deadline.is_none() {
            // After a pause the text waits a moment for the rest of its line: `print` writes twice.
            pending.deadline = Some((pending.sent + STREAM_INTERVAL).max(Instant::now() + FIRST_WAIT));
            self.shared.mailbox.wake();
        }
    }

    /// Sends what `stream` holds back.
    pub fn flush(&self) {
        self.shared.send_pending(&mut self.shared.pending.lock());
    }

    /// Any iopub message; `content` and `metadata` are JSON objects as text.
    pub fn publish(&self, msg_type: &str, content: &str, metadata: &str, buffers: &[Vec<u8>]) {
        self.shared.publish(&self.parent, msg_type, content, metadata, buffers);
    }

    pub fn execute_input(&self, code: &str, execution_count: u64) {
        self.publish(
            "execute_input",
            &json!({"code": code, "execution_count": execution_count}).to_string(),
            "{}",
            &[],
        );
    }

    pub fn clear_output(&self, wait: bool) {
        self.publish("clear_output", &json!({"wait": wait}).to_string(), "{}", &[]);
    }

    pub fn error(&self, ename: &str, evalue: &str, traceback: &[String]) {
        let content = json!({"ename": ename, "evalue": evalue, "traceback": traceback});
        self.publish("error", &content.to_string(), "{}", &[]);
    }
}

impl Shared {
    pub(crate) fn send_pending(&self, pending: &mut Pending) {
        pending.deadline = None;
        if pending.chunks.is_empty() {
            return;
        }
        pending.bytes = 0;
        pending.sent = Instant::now();
        for chunk in pending.chunks.drain(..) {
            let content = json!({"name": chunk.name.as_str(), "text": chunk.text}).to_string();
            self.post_iopub(&chunk.parent, "stream", &content, "{}", &[]);
        }
    }

    /// Publishes behind everything already said; the lock keeps the order between threads.
    pub(crate) fn publish(&self, parent: &str, msg_type: &str, content: &str, metadata: &str, buffers: &[Vec<u8>]) {
        let mut pending = self.pending.lock();
        self.send_pending(&mut pending);
        self.post_iopub(parent, msg_type, content, metadata, buffers);
    }

    pub(crate) fn status(&self, parent: &str, state: &str) {
        self.publish(
            parent,
            "status",
            &json!({"execution_state": state}).to_string(),
            "{}",
            &[],
        );
    }

    fn post_iopub(&self, parent: &str, msg_type: &str, content: &str, metadata: &str, buffers: &[Vec<u8>]) {
        let topic = format!("kernel.{}.{msg_type}", self.composer.session).into_bytes();
        let bytes = self.composer.compose(
            std::slice::from_ref(&topic),
            msg_type,
            parent,
            metadata,
            content,
            buffers,
        );
        self.mailbox.publish(&topic, bytes, msg_type != "status");
    }
}
