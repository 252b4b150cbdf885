//! What the protocol server asks of an interpreter, and the queue between the two.
//!
//! The interpreter owns one thread (for Python: the main thread) and takes [`Work`] from a queue. It may finish a piece
//! of work later than it was handed over (top-level `await`), so the obligation to answer is a value, [`Ticket`]:
//! consuming it sends the reply and the idle status, dropping it sends an error reply, so that no front end waits for
//! ever. I/O threads never call into the interpreter; the two ways in are the queue and `Hooks::interrupt`.

use serde_json::Value;

/// One request for the interpreter thread, decoded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Request {
    Execute(ExecuteRequest),
    Complete { code: String, cursor_pos: usize },
    Inspect { code: String, cursor_pos: usize, detail_level: u8 },
    IsComplete { code: String },
    History(Value),
    CommInfo { target_name: Option<String> },
    /// `comm_open`, `comm_msg`, `comm_close`: no reply, buffers ride beside the content.
    Comm { msg_type: String, content: Value, buffers: Vec<Vec<u8>> },
    /// The last work ever queued: commit, run exit handlers, then answer.
    Shutdown { restart: bool },
}

/// `execute_request` of the message specification 5.5; cursor positions and counts as there.
#[derive(Debug, Clone)]
pub struct ExecuteRequest {
    pub code: String,
    pub silent: bool,
    pub store_history: bool,
    pub user_expressions: Value,
    pub allow_stdin: bool,
    pub stop_on_error: bool,
    /// `metadata.cellId` of the request, when the front end sent one.
    pub cell_id: Option<String>,
}

/// An interpreter that serves one request at a time and may answer later through the ticket.
///
/// `Ticket`, `Work`, `WorkQueue` (with an eventfd for interpreters that have an event loop of their own) and the
/// blocking `run(queue, interpreter)` loop live beside this trait.
pub trait Interpreter {
    type Work;

    fn serve(&mut self, work: Self::Work);
}
