//! What the protocol server asks of an interpreter, and the queue between the two.
//!
//! The interpreter owns one thread (for Python: the main thread) and takes [`Work`] from a [`WorkQueue`]. It may finish
//! a piece of work later than it was handed over (top-level `await`), so the obligation to answer is a value,
//! [`Ticket`]: consuming it sends the reply and the idle status, dropping it sends an error reply, so that no front end
//! waits for ever. I/O threads never call into the interpreter; the two ways in are the queue and `Hooks::interrupt`.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::kernel::Shared;
use crate::outputs::Outputs;
use crate::sys::EventFd;
use crate::wire::Message;
use crate::zmtp::server::Socket;

/// One request for the interpreter thread; cursor positions and counts as in the message specification 5.5.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Request {
    Execute(ExecuteRequest),
    Complete {
        code: String,
        cursor_pos: usize,
    },
    Inspect {
        code: String,
        cursor_pos: usize,
        detail_level: u8,
    },
    IsComplete {
        code: String,
    },
    /// The content is in `Work::message`.
    History,
    CommInfo {
        target_name: Option<String>,
    },
    /// `comm_open`, `comm_msg`, `comm_close` (content and buffers in `Work::message`): answered with `Ticket::done`.
    Comm,
    /// A control request for the interpreter's process as such (`debug_request`, `create_subshell_request`, ...); its
    /// content is in `Work::message`.
    Control,
    /// The last work: commit, run exit handlers, then answer.
    Shutdown {
        restart: bool,
    },
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Deserialize)]
pub struct ExecuteRequest {
    pub code: String,
    #[serde(default)]
    pub silent: bool,
    #[serde(default = "yes")]
    pub store_history: bool,
    #[serde(default)]
    pub user_expressions: serde_json::Value,
    #[serde(default = "yes")]
    pub allow_stdin: bool,
    #[serde(default = "yes")]
    pub stop_on_error: bool,
    /// `metadata.cellId` of the request, when the front end sent one.
    #[serde(skip)]
    pub cell_id: Option<String>,
}

/// A request and the obligation to answer it.
pub struct Work {
    pub request: Request,
    pub ticket: Ticket,
}

/// Serves one piece of work at a time; it may keep the ticket and answer later.
pub trait Interpreter {
    fn serve(&mut self, work: Work);
}

/// Takes work until a shutdown request has been served: the loop for interpreters without an event loop of their own.
pub fn run(queue: &WorkQueue, interpreter: &mut dyn Interpreter) {
    loop {
        let Some(work) = queue.take(Duration::from_secs(3600)) else {
            continue;
        };
        let last = matches!(work.request, Request::Shutdown { .. });
        interpreter.serve(work);
        if last {
            return;
        }
    }
}

pub(crate) enum Queued {
    Work(Request, Message, Socket),
    /// Answered by the queue itself, in order.
    KernelInfo(Message),
}

/// Requests in order, shared between the server thread and the interpreter's.
pub(crate) struct QueueState {
    items: VecDeque<Queued>,
    /// Work taken and not yet answered.
    outstanding: usize,
}

pub(crate) struct Queue {
    state: Mutex<QueueState>,
    ready: Condvar,
    fd: EventFd,
}

impl Queue {
    pub(crate) fn new() -> std::io::Result<Self> {
        let state = Mutex::new(QueueState {
            items: VecDeque::new(),
            outstanding: 0,
        });
        Ok(Self {
            state,
            ready: Condvar::new(),
            fd: EventFd::new()?,
        })
    }

    pub(crate) fn push(&self, item: Queued) {
        self.state.lock().items.push_back(item);
        self.fd.signal();
        self.ready.notify_one();
    }

    /// Puts `item` before all others.
    pub(crate) fn push_first(&self, item: Queued) {
        self.state.lock().items.push_front(item);
        self.fd.signal();
        self.ready.notify_one();
    }

    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.items.is_empty() && state.outstanding == 0
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state.lock().outstanding > 0
    }

    fn pop(&self) -> Option<Queued> {
        let mut state = self.state.lock();
        let item = state.items.pop_front();
        if matches!(item, Some(Queued::Work(..))) {
            state.outstanding += 1;
        }
        if state.items.is_empty() {
            self.fd.clear();
        }
        item
    }

    fn answered(&self) {
        self.state.lock().outstanding -= 1;
    }

    /// Answers every queued execute with `aborted`.
    pub(crate) fn abort_executes(&self, shared: &Shared) {
        abort(self.take_executes(), shared);
    }

    fn take_executes(&self) -> Vec<Message> {
        let mut state = self.state.lock();
        let (aborted, kept) = std::mem::take(&mut state.items)
            .into_iter()
            .partition::<VecDeque<_>, _>(|item| matches!(item, Queued::Work(Request::Execute(_), ..)));
        state.items = kept;
        let message = |item| match item {
            Queued::Work(_, message, _) | Queued::KernelInfo(message) => message,
        };
        aborted.into_iter().map(message).collect()
    }
}

fn abort(executes: Vec<Message>, shared: &Shared) {
    for aborted in executes {
        let content = r#"{"status":"aborted"}"#;
        shared.status(&aborted.header_json, "busy");
        shared.answer(&aborted, Socket::Shell, content, "aborted", &crate::wire::utc_now());
    }
}

/// The interpreter's end of one queue: the main shell's, a subshell's, or the control channel's.
#[derive(Clone)]
pub struct WorkQueue {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<Queue>,
}

impl WorkQueue {
    /// Readable while work is waiting: for an event loop's reader. `try_take` clears it.
    pub fn fd(&self) -> RawFd {
        self.queue.fd.as_raw_fd()
    }

    /// The next work, if any; its busy status is on the way when this returns.
    pub fn try_take(&self) -> Option<Work> {
        loop {
            match self.queue.pop()? {
                Queued::KernelInfo(message) => self.shared.answer_kernel_info(&message, Socket::Shell),
                Queued::Work(request, message, socket) => {
                    let parent: Arc<str> = message.header_json.as_str().into();
                    self.shared.status(&parent, "busy");
                    if Arc::ptr_eq(&self.queue, &self.shared.queue) {
                        *self.shared.last_parent.lock() = parent.clone();
                    }
                    let started = crate::wire::utc_now();
                    let shared = self.shared.clone();
                    let ticket = Ticket {
                        shared,
                        queue: self.queue.clone(),
                        message,
                        parent,
                        socket,
                        started,
                        answered: false,
                    };
                    return Some(Work { request, ticket });
                }
            }
        }
    }

    /// As `try_take`, waiting up to `timeout`.
    pub fn take(&self, timeout: Duration) -> Option<Work> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(work) = self.try_take() {
                return Some(work);
            }
            let queue = &self.queue;
            let mut state = queue.state.lock();
            if state.items.is_empty() && queue.ready.wait_until(&mut state, until).timed_out() {
                return None;
            }
        }
    }
}

#[derive(Debug, Error)]
pub enum InputError {
    #[error("the front end does not allow input for this request")]
    NotAllowed,
    #[error("interrupted while waiting for input")]
    Interrupted,
    #[error("the front end's input_reply has no text value")]
    Malformed,
}

/// The obligation to answer one request.
pub struct Ticket {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    message: Message,
    parent: Arc<str>,
    socket: Socket,
    started: String,
    answered: bool,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    status: Option<std::borrow::Cow<'a, str>>,
}

impl Ticket {
    /// The whole request: header, metadata and content as JSON text, identities, buffers.
    pub fn message(&self) -> &Message {
        &self.message
    }

    pub fn outputs(&self) -> Outputs {
        Outputs::new(self.shared.clone(), self.parent.clone())
    }

    /// Sends the reply with `content` (a JSON object as text), then idle. After a failed execute that asked to stop on
    /// errors, the executes queued behind it are answered `aborted`: those that came before the reply went out, never one
    /// that a client sends upon it.
    pub fn reply(mut self, content: &str) {
        let status = serde_json::from_str::<Status<'_>>(content).ok().and_then(|s| s.status);
        let status = status.as_deref().unwrap_or("ok").to_owned();
        self.answered = true;
        let stopped = match status == "error" && self.stops_on_error() {
            true => self.queue.take_executes(),
            false => Vec::new(),
        };
        self.shared
            .answer(&self.message, self.socket, content, &status, &self.started);
        self.queue.answered();
        abort(stopped, &self.shared);
    }

    fn stops_on_error(&self) -> bool {
        self.message.header.msg_type == "execute_request"
            && serde_json::from_str::<ExecuteRequest>(&self.message.content_json).is_ok_and(|r| r.stop_on_error)
    }

    /// For requests without a reply (comm messages): idle only.
    pub fn done(mut self) {
        self.answered = true;
        self.shared.status(&self.parent, "idle");
        self.queue.answered();
    }

    /// Asks the front end for a line. `poll` runs every 20 ms so that the caller sees its signals.
    ///
    /// # Errors
    /// [`InputError::NotAllowed`] when the request said `allow_stdin: false`; [`InputError::Interrupted`] when `poll`
    /// returns true.
    pub fn input(&self, prompt: &str, password: bool, poll: &mut dyn FnMut() -> bool) -> Result<String, InputError> {
        let allowed = serde_json::from_str::<ExecuteRequest>(&self.message.content_json).is_ok_and(|r| r.allow_stdin);
        if !allowed {
            return Err(InputError::NotAllowed);
        }
        self.outputs().flush();
        // An answer to an earlier, interrupted question is not an answer to this one.
        self.shared.input.lock().take();
        let content = json!({"prompt": prompt, "password": password}).to_string();
        let bytes = self.shared.composer.compose(
            &self.message.identities[1..],
            "input_request",
            &self.parent,
            "{}",
            &content,
            &[],
        );
        self.shared
            .mailbox
            .send(Socket::Stdin, &self.message.identities[0], bytes);
        loop {
            let mut answer = self.shared.input.lock();
            if answer.is_none() {
                self.shared.input_ready.wait_for(&mut answer, Duration::from_millis(20));
            }
            if let Some(answer) = answer.take() {
                return answer.ok_or(InputError::Malformed);
            }
            drop(answer);
            if poll() {
                return Err(InputError::Interrupted);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            let content = json!({
                "status": "error", "ename": "KernelError", "execution_count": 0, "traceback": [],
                "evalue": "the interpreter gave up this request without an answer",
                "user_expressions": {}, "payload": [],
            });
            if matches!(
                self.message.header.msg_type.as_str(),
                "comm_open" | "comm_msg" | "comm_close"
            ) {
                self.shared.status(&self.parent, "idle");
            } else {
                self.shared
                    .answer(&self.message, self.socket, &content.to_string(), "error", &self.started);
            }
            self.queue.answered();
        }
    }
}
