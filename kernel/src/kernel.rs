//! The kernel: starts the server thread, routes what arrives, answers what needs no interpreter.
//!
//! | channel | answered by the server thread at once | queued for the interpreter |
//! |---|---|---|
//! | control | kernel_info, interrupt, usage, connect | shutdown; all others to the control queue |
//! | shell | kernel_info while nothing runs | all others, in order |
//! | stdin | hands input_reply to the waiting cell | - |

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connection::{Connection, StartError};
use crate::interpreter::{Queue, Queued, Request, WorkQueue};
use crate::outputs::{Outputs, Pending};
use crate::register;
use crate::usage;
use crate::wire::{self, Composer, Message, ReplayGuard, Signer};
use crate::zmtp::server::{Handler, Mailbox, Server, Socket, mailbox};

/// What kernel_info says of the interpreter.
#[derive(Debug, Clone)]
pub struct KernelInfo {
    pub implementation: String,
    pub implementation_version: String,
    /// The `language_info` object.
    pub language_info: Value,
    pub banner: String,
    /// `[{"text": ..., "url": ...}]`
    pub help_links: Value,
    pub debugger: bool,
}

/// The ways into the interpreter that do not wait in the queue; called on the server thread, so they must not block.
pub struct Hooks {
    pub interrupt: Box<dyn Fn() + Send + Sync>,
}

pub(crate) struct Shared {
    pub(crate) composer: Composer,
    pub(crate) mailbox: Mailbox,
    pub(crate) pending: Mutex<Pending>,
    pub(crate) queue: Arc<Queue>,
    control: Arc<Queue>,
    /// In the order they were made.
    subshells: Mutex<Vec<(String, Arc<Queue>)>>,
    /// The answer to the input request in flight: `Some(None)` for a malformed one.
    pub(crate) input: Mutex<Option<Option<String>>>,
    pub(crate) input_ready: Condvar,
    /// Header of the last request taken: the parent of what is written between cells.
    pub(crate) last_parent: Mutex<Arc<str>>,
    info: KernelInfo,
    connection: Connection,
    hooks: Hooks,
}

impl Shared {
    fn new(
        connection: Connection,
        signer: Signer,
        mailbox: Mailbox,
        info: KernelInfo,
        hooks: Hooks,
    ) -> std::io::Result<Self> {
        Ok(Self {
            composer: Composer::new(signer),
            mailbox,
            pending: Mutex::new(Pending::new()),
            queue: Arc::new(Queue::new()?),
            control: Arc::new(Queue::new()?),
            subshells: Mutex::default(),
            input: Mutex::new(None),
            input_ready: Condvar::new(),
            last_parent: Mutex::new("{}".into()),
            info,
            connection,
            hooks,
        })
    }

    fn send(&self, message: &Message, socket: Socket, content: &str, metadata: &str) {
        let msg_type = message.header.msg_type.replace("_request", "_reply");
        let bytes = self.composer.compose(
            &message.identities[1..],
            &msg_type,
            &message.header_json,
            metadata,
            content,
            &[],
        );
        self.mailbox.send(socket, &message.identities[0], bytes);
    }

    /// The reply, after all output so far, then idle.
    pub(crate) fn answer(&self, message: &Message, socket: Socket, content: &str, status: &str, started: &str) {
        self.send_pending(&mut self.pending.lock());
        let metadata = json!({"status": status, "started": started, "dependencies_met": true});
        self.send(message, socket, content, &metadata.to_string());
        self.status(&message.header_json, "idle");
    }

    pub(crate) fn answer_kernel_info(&self, message: &Message, socket: Socket) {
        self.status(&message.header_json, "busy");
        let content = json!({
            "status": "ok",
            "protocol_version": wire::PROTOCOL_VERSION,
            "implementation": self.info.implementation,
            "implementation_version": self.info.implementation_version,
            "language_info": self.info.language_info,
            "banner": self.info.banner,
            "help_links": self.info.help_links,
            "debugger": self.info.debugger,
            "supported_features": if self.info.debugger { json!(["kernel subshells", "debugger"]) }
                else { json!(["kernel subshells"]) },
        });
        self.answer(message, socket, &content.to_string(), "ok", &wire::utc_now());
    }
}

/// A running protocol server; dropping it ends the server thread without waiting for slow front ends.
pub struct Kernel {
    shared: Arc<Shared>,
    connection: Connection,
    thread: Option<JoinHandle<()>>,
    stopped: AtomicBool,
}

impl Kernel {
    /// Binds the sockets and starts to serve; requests wait in the queue until somebody takes them.
    ///
    /// # Errors
    /// [`StartError`] with the address that could not be bound.
    pub fn start(mut connection: Connection, info: KernelInfo, hooks: Hooks) -> Result<Self, StartError> {
        let keys = connection.keys()?;
        let listeners = connection.bind()?;
        let (mailbox, inbox) = mailbox()?;
        let signer = Signer::new(connection.key.as_bytes());
        let shared = Arc::new(Shared::new(connection.clone(), signer.clone(), mailbox, info, hooks)?);
        let router = Router {
            shared: shared.clone(),
            signer,
            replay: Default::default(),
        };
        let server = Server::new(listeners, keys, inbox, router);
        let thread = std::thread::Builder::new()
            .name("larder-server".into())
            .spawn(move || server.run())?;
        shared.status("{}", "starting");
        Ok(Self {
            shared,
            connection,
            thread: Some(thread),
            stopped: AtomicBool::new(false),
        })
    }

    /// As [`Kernel::start`] from the connection file at `path`, which is written when it is missing or leaves ports open;
    /// a launcher that asks for it is then told the ports.
    ///
    /// # Errors
    /// [`StartError`] with the path or the address.
    pub fn start_from_file(path: &Path, info: KernelInfo, hooks: Hooks) -> Result<Self, StartError> {
        let connection = Connection::load(path)?;
        let before = serde_json::to_value(&connection).ok();
        let missing = !path.exists();
        let kernel = Self::start(connection, info, hooks)?;
        if missing || serde_json::to_value(&kernel.connection).ok() != before {
            kernel.connection.save(path)?;
        }
        if kernel.connection.registration_port != 0 {
            register::register(&kernel.connection)?;
        }
        Ok(kernel)
    }

    /// With the ports that are really bound.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn queue(&self) -> WorkQueue {
        self.end_of(&self.shared.queue)
    }

    fn end_of(&self, queue: &Arc<Queue>) -> WorkQueue {
        WorkQueue {
            shared: self.shared.clone(),
            queue: queue.clone(),
        }
    }

    /// Control requests that the server cannot answer by itself; to be served beside the main queue.
    pub fn control_queue(&self) -> WorkQueue {
        self.end_of(&self.shared.control)
    }

    /// A new subshell: shell requests that carry its id go to the queue returned.
    pub fn create_subshell(&self) -> std::io::Result<(String, WorkQueue)> {
        let id = uuid::Uuid::new_v4().to_string();
        let queue = Arc::new(Queue::new()?);
        self.shared.subshells.lock().push((id.clone(), queue.clone()));
        Ok((id, self.end_of(&queue)))
    }

    /// Forgets a subshell, answering what it has queued with `aborted`; false when there is none of this id.
    pub fn delete_subshell(&self, id: &str) -> bool {
        let mut subshells = self.shared.subshells.lock();
        let Some(at) = subshells.iter().position(|(other, _)| other == id) else {
            return false;
        };
        let (_, queue) = subshells.remove(at);
        drop(subshells);
        queue.abort_executes(&self.shared);
        true
    }

    pub fn subshells(&self) -> Vec<String> {
        self.shared.subshells.lock().iter().map(|(id, _)| id.clone()).collect()
    }

    /// Outputs whose parent is the last request taken: for what is written between cells.
    pub fn background_outputs(&self) -> Outputs {
        let parent = self.shared.last_parent.lock().clone();
        Outputs::new(self.shared.clone(), parent)
    }

    /// Outputs under any request, given its header as JSON text: for output that outlives the request's ticket.
    pub fn outputs_for(&self, header_json: &str) -> Outputs {
        Outputs::new(self.shared.clone(), header_json.into())
    }

    /// Waits until what was said so far is the operating system's to deliver, whatever happens to this process; false when
    /// `timeout` came first.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.shared.send_pending(&mut self.shared.pending.lock());
        self.shared.mailbox.flush(timeout)
    }

    /// Sends everything queued and waits until the front ends have taken it; false when `timeout` came first.
    pub fn flush_and_stop(&self, timeout: Duration) -> bool {
        if self.stopped.swap(true, Ordering::SeqCst) {
            return true;
        }
        self.shared.send_pending(&mut self.shared.pending.lock());
        self.shared.mailbox.stop(timeout)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.flush_and_stop(Duration::from_millis(100));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Router {
    shared: Arc<Shared>,
    signer: Signer,
    replay: ReplayGuard,
}

#[derive(Deserialize)]
struct Code {
    code: String,
    #[serde(default)]
    cursor_pos: Option<usize>,
    #[serde(default)]
    detail_level: u8,
}

#[derive(Deserialize)]
struct Restart {
    #[serde(default)]
    restart: bool,
}

/// The request a shell message asks for; `Ok(None)` for a type the kernel does not know.
fn request(message: &Message) -> Result<Option<Request>, serde_json::Error> {
    let content = message.content_json.as_str();
    Ok(Some(match message.header.msg_type.as_str() {
        "execute_request" => {
            let mut execute: crate::interpreter::ExecuteRequest = serde_json::from_str(content)?;
            let metadata: Value = serde_json::from_str(&message.metadata_json)?;
            execute.cell_id = metadata.get("cellId").and_then(Value::as_str).map(str::to_owned);
            Request::Execute(execute)
        }
        "complete_request" => {
            let asked: Code = serde_json::from_str(content)?;
            let cursor_pos = asked.cursor_pos.unwrap_or(asked.code.chars().count());
            Request::Complete {
                code: asked.code,
                cursor_pos,
            }
        }
        "inspect_request" => {
            let asked: Code = serde_json::from_str(content)?;
            let cursor_pos = asked.cursor_pos.unwrap_or(asked.code.chars().count());
            Request::Inspect {
                code: asked.code,
                cursor_pos,
                detail_level: asked.detail_level,
            }
        }
        "is_complete_request" => Request::IsComplete {
            code: serde_json::from_str::<Code>(content)?.code,
        },
        "history_request" => Request::History,
        "comm_info_request" => {
            let content: Value = serde_json::from_str(content)?;
            Request::CommInfo {
                target_name: content.get("target_name").and_then(Value::as_str).map(str::to_owned),
            }
        }
        "comm_open" | "comm_msg" | "comm_close" => Request::Comm,
        "shutdown_request" => Request::Shutdown {
            restart: serde_json::from_str::<Restart>(content)?.restart,
        },
        _ => return Ok(None),
    }))
}

impl Router {
    fn route(&self, socket: Socket, message: Message) {
        let at_once = |content: Value| {
            self.shared.status(&message.header_json, "busy");
            self.shared
                .answer(&message, socket, &content.to_string(), "ok", &wire::utc_now());
        };
        match (socket, message.header.msg_type.as_str()) {
            (Socket::Stdin, "input_reply") => {
                let content: Option<Value> = serde_json::from_str(&message.content_json).ok();
                let value = content.as_ref().and_then(|c| c.get("value")).and_then(Value::as_str);
                *self.shared.input.lock() = Some(value.map(str::to_owned));
                self.shared.input_ready.notify_all();
            }
            (Socket::Control, "kernel_info_request") => self.shared.answer_kernel_info(&message, socket),
            (Socket::Shell, "kernel_info_request") if self.shared.queue.is_idle() => {
                self.shared.answer_kernel_info(&message, socket);
            }
            (Socket::Shell, "kernel_info_request") => self.shared.queue.push(Queued::KernelInfo(message)),
            (Socket::Control, "interrupt_request") => {
                (self.shared.hooks.interrupt)();
                at_once(json!({"status": "ok"}));
            }
            (Socket::Control, "usage_request") => at_once(usage::report()),
            (_, "connect_request") => {
                let c = &self.shared.connection;
                at_once(json!({
                    "status": "ok", "shell_port": c.shell_port, "iopub_port": c.iopub_port,
                    "stdin_port": c.stdin_port, "control_port": c.control_port, "hb_port": c.hb_port,
                }));
            }
            (Socket::Control | Socket::Shell, "shutdown_request") => match request(&message) {
                Ok(Some(asked)) => {
                    if self.shared.queue.is_running() {
                        (self.shared.hooks.interrupt)();
                    }
                    self.shared.queue.push_first(Queued::Work(asked, message, socket));
                }
                _ => self.refuse(socket, &message, "MalformedRequest", "malformed content"),
            },
            (
                Socket::Control,
                "debug_request" | "create_subshell_request" | "delete_subshell_request" | "list_subshell_request",
            ) => {
                self.shared
                    .control
                    .push(Queued::Work(Request::Control, message, socket));
            }
            (Socket::Control, _) if matches!(request(&message), Ok(Some(_))) => {
                if let Ok(Some(asked)) = request(&message) {
                    self.shared.control.push(Queued::Work(asked, message, socket));
                }
            }
            (Socket::Shell, _) if message.header.subshell_id.is_some() => {
                let id = message.header.subshell_id.clone().unwrap_or_default();
                let queue = self
                    .shared
                    .subshells
                    .lock()
                    .iter()
                    .find(|(other, _)| *other == id)
                    .map(|(_, q)| q.clone());
                match (queue, request(&message)) {
                    (Some(queue), Ok(Some(asked))) => queue.push(Queued::Work(asked, message, socket)),
                    (Some(_), Ok(None)) => tracing::warn!(id, "ignored a message of unknown type"),
                    (Some(_), Err(err)) => self.refuse(socket, &message, "MalformedRequest", &err.to_string()),
                    (None, _) => {
                        self.refuse(
                            socket,
                            &message,
                            "UnknownSubshellError",
                            &format!("Unknown subshell_id '{id}'"),
                        );
                    }
                }
            }
            (Socket::Shell, _) => match request(&message) {
                Ok(Some(asked)) => self.shared.queue.push(Queued::Work(asked, message, socket)),
                Ok(None) => tracing::warn!(msg_type = message.header.msg_type, "ignored a message of unknown type"),
                Err(err) => self.refuse(socket, &message, "MalformedRequest", &err.to_string()),
            },
            _ => tracing::warn!(
                ?socket,
                msg_type = message.header.msg_type,
                "ignored a message of unknown type"
            ),
        }
    }

    fn refuse(&self, socket: Socket, message: &Message, ename: &str, why: &str) {
        tracing::warn!(?socket, msg_type = message.header.msg_type, why, "refused a request");
        self.shared.status(&message.header_json, "busy");
        let content = json!({
            "status": "error", "ename": ename, "evalue": why, "traceback": [], "execution_count": 0,
        });
        self.shared
            .answer(message, socket, &content.to_string(), "error", &wire::utc_now());
    }
}

impl Handler for Router {
    fn message(&mut self, socket: Socket, identity: &[u8], parts: Vec<Vec<u8>>) {
        match wire::decode(&self.signer, &mut self.replay, identity, parts) {
            Ok(message) => self.route(socket, message),
            Err(err) => tracing::warn!(?socket, %err, "dropped a message"),
        }
    }

    fn welcome(&mut self, topic: &[u8]) -> Option<Vec<u8>> {
        let content = json!({"subscription": String::from_utf8_lossy(topic)}).to_string();
        Some(
            self.shared
                .composer
                .compose(&[topic.to_vec()], "iopub_welcome", "{}", "{}", &content, &[]),
        )
    }

    fn dropped(&mut self, count: u64) -> Option<Vec<u8>> {
        let text =
            format!("larder: {count} output messages were dropped for this front end, which did not read them\n");
        let content = json!({"name": "stderr", "text": text}).to_string();
        let parent = self.shared.last_parent.lock().clone();
        let topic = format!("kernel.{}.stream", self.shared.composer.session).into_bytes();
        Some(
            self.shared
                .composer
                .compose(&[topic], "stream", &parent, "{}", &content, &[]),
        )
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.shared.pending.lock().deadline
    }

    fn tick(&mut self) {
        self.shared.send_pending(&mut self.shared.pending.lock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execute(code: &str) -> Queued {
        let header = format!(r#"{{"msg_id": "{code}", "msg_type": "execute_request"}}"#);
        let message = Message {
            identities: vec![b"client".to_vec()],
            header: serde_json::from_str(&header).unwrap(),
            header_json: header,
            parent_json: "{}".into(),
            metadata_json: "{}".into(),
            content_json: json!({ "code": code }).to_string(),
            buffers: Vec::new(),
        };
        let asked = request(&message).unwrap().unwrap();
        Queued::Work(asked, message, Socket::Shell)
    }

    #[test]
    fn of_a_failures_successors_those_before_its_reply_are_aborted_and_those_after_it_run() {
        let (mailbox, post) = Mailbox::by_hand().unwrap();
        let hooks = Hooks {
            interrupt: Box::new(|| {}),
        };
        let connection = Connection::fresh();
        let signer = Signer::new(connection.key.as_bytes());
        let shared = Arc::new(Shared::new(connection, signer, mailbox, crate::echo::info(), hooks).unwrap());
        let work = WorkQueue {
            shared: shared.clone(),
            queue: shared.queue.clone(),
        };
        shared.queue.push(execute("fails"));
        shared.queue.push(execute("was there"));
        let (ended, end) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            work.try_take().unwrap().ticket.reply(r#"{"status": "error"}"#);
            ended.send(work)
        });
        assert_eq!(post(), None, "busy");
        assert_eq!(post(), Some(Socket::Shell), "the reply is on its way");
        // The client has it, while the interpreter's thread waits before its next post.
        shared.queue.push(execute("came upon it"));
        assert_eq!(post(), None, "idle");
        assert_eq!(
            [post(), post(), post()],
            [None, Some(Socket::Shell), None],
            "busy, aborted, idle"
        );
        let work = end.recv_timeout(Duration::from_secs(5)).expect("no more is posted");
        let taken = std::thread::spawn(move || work.try_take().map(|work| work.ticket.message().header.msg_id.clone()));
        assert_eq!(post(), None, "busy");
        // The ticket is dropped unanswered: an error reply, as for any other, and idle.
        assert_eq!([post(), post()], [Some(Socket::Shell), None]);
        assert_eq!(taken.join().unwrap().as_deref(), Some("came upon it"));
    }
}
