//! The protocol server as Python sees it: start, take work, answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use larder_kernel::{Hooks, InputError, Kernel, KernelInfo, Outputs, Request, StreamName, Ticket, WorkQueue};
use larder_session::capture::{self, Capture, Sink};
use larder_session::{json, log, parent};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyEOFError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use serde_json::Value;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NativeKernel>()?;
    module.add_class::<NativeQueue>()?;
    module.add_class::<NativeWork>()?;
    module.add_class::<NativeOutputs>()?;
    module.add_function(wrap_pyfunction!(keep_stack, module)?)?;
    module.add_function(wrap_pyfunction!(murmur2, module)?)
}

/// The 32-bit MurmurHash2 of `data`: the number in a cell's file name.
#[pyfunction]
fn murmur2(data: &[u8], seed: u32) -> u32 {
    larder_session::murmur::murmur2(data, seed)
}

/// The running server of this process.
#[pyclass(frozen, module = "larder._larder")]
struct NativeKernel {
    kernel: Kernel,
    capture: Arc<Capture>,
}

#[pymethods]
impl NativeKernel {
    /// Binds and answers from now on; `info` is what kernel_info says.
    #[new]
    fn new(py: Python<'_>, connection_file: &str, info: &Bound<'_, PyDict>) -> PyResult<Self> {
        log::start(std::env::var("LARDER_LOG").as_deref().unwrap_or("warn"));
        let info = json::from_python(info.as_any())?;
        let text = |name: &str| info.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let value = |name: &str| info.get(name).cloned().unwrap_or(Value::Null);
        let info = KernelInfo {
            implementation: text("implementation"),
            implementation_version: text("implementation_version"),
            language_info: value("language_info"),
            banner: text("banner"),
            help_links: value("help_links"),
            debugger: value("debugger") == Value::Bool(true),
        };
        let hooks = Hooks {
            interrupt: Box::new(parent::interrupt_self),
        };
        let (kernel, capture) = py
            .detach(|| {
                let kernel =
                    Kernel::start_from_file(Path::new(connection_file), info, hooks).map_err(|e| e.to_string())?;
                Ok((kernel, Capture::start().map_err(|e| e.to_string())?))
            })
            .map_err(|e: String| PyOSError::new_err(e))?;
        let capture = Arc::new(capture);
        Ok(NativeKernel { kernel, capture })
    }

    /// The main shell's queue.
    fn queue(&self) -> NativeQueue {
        NativeQueue {
            queue: self.kernel.queue(),
            capture: Arc::clone(&self.capture),
        }
    }

    /// The queue of control requests that the server cannot answer by itself.
    fn control_queue(&self) -> NativeQueue {
        NativeQueue {
            queue: self.kernel.control_queue(),
            capture: Arc::clone(&self.capture),
        }
    }

    /// A new subshell: its id and its queue.
    fn create_subshell(&self) -> PyResult<(String, NativeQueue)> {
        let (id, queue) = self
            .kernel
            .create_subshell()
            .map_err(|e| PyOSError::new_err(e.to_string()))?;
        let capture = Arc::clone(&self.capture);
        Ok((id, NativeQueue { queue, capture }))
    }

    /// False when there is no such subshell.
    fn delete_subshell(&self, py: Python<'_>, id: &str) -> bool {
        py.detach(|| self.kernel.delete_subshell(id))
    }

    fn subshells(&self) -> Vec<String> {
        self.kernel.subshells()
    }

    /// What the connection file says, with the ports in use.
    fn connection<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let connection = serde_json::to_value(self.kernel.connection());
        json::to_python(py, &connection.map_err(|e| PyValueError::new_err(e.to_string()))?)
    }

    /// Outputs that answer no request.
    fn background(&self) -> NativeOutputs {
        NativeOutputs {
            outputs: self.kernel.background_outputs(),
            capture: Arc::clone(&self.capture),
        }
    }

    /// Outputs under the request `message` (a dict with a `header`).
    fn outputs_for(&self, message: &Bound<'_, PyDict>) -> PyResult<NativeOutputs> {
        let header = match message.get_item("header")? {
            Some(header) => json::from_python(&header)?,
            None => Value::Object(serde_json::Map::new()),
        };
        Ok(NativeOutputs {
            outputs: self.kernel.outputs_for(&header.to_string()),
            capture: Arc::clone(&self.capture),
        })
    }

    /// Sends what is written to descriptors 1 and 2 to `outputs` from now on.
    fn capture(&self, py: Python<'_>, outputs: &NativeOutputs) -> PyResult<()> {
        let outputs = outputs.outputs.clone();
        let sink: Sink = Arc::new(move |stream, text| outputs.stream(stream_of(stream), text));
        py.detach(|| self.capture.redirect(&sink))
            .map_err(|e| PyOSError::new_err(e.to_string()))
    }

    /// Hands on what C code and children have written so far.
    fn drain(&self, py: Python<'_>) {
        py.detach(|| hand_on(&self.capture));
    }

    /// Start-up is over: memory that only it needed goes back to the operating system.
    fn started(&self) {
        larder_cpython::stdio::trim();
    }

    /// SIGTERM for this process when process `pid` ends.
    fn watch_parent(&self, pid: i32) -> PyResult<()> {
        parent::watch(pid, parent::end_self).map_err(|e| PyOSError::new_err(e.to_string()))
    }

    /// Hands everything queued to the operating system; False if `timeout` seconds were too short.
    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = Duration::try_from_secs_f64(timeout).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(py.detach(|| self.kernel.flush(timeout)))
    }

    /// Hands everything queued to the operating system and closes; False if `timeout` seconds were too short.
    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = Duration::try_from_secs_f64(timeout).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(py.detach(|| {
            self.capture.drain();
            self.kernel.flush_and_stop(timeout)
        }))
    }
}

/// One queue of requests, for one thread with an event loop.
#[pyclass(frozen, module = "larder._larder")]
struct NativeQueue {
    queue: WorkQueue,
    capture: Arc<Capture>,
}

#[pymethods]
impl NativeQueue {
    /// A descriptor that is readable while work is waiting.
    fn fd(&self) -> i32 {
        self.queue.fd()
    }

    /// The next work, or None.
    fn take(&self) -> Option<NativeWork> {
        self.queue.try_take().map(|work| NativeWork {
            request: work.request,
            ticket: parking(Some(work.ticket)),
            capture: Arc::clone(&self.capture),
        })
    }
}

/// Has pieces of CPython's stack kept (up to 256 KiB), which a call that no longer fits would map, and its return unmap;
/// whether they are.
#[pyfunction]
fn keep_stack(py: Python<'_>) -> bool {
    larder_cpython::chunks::keep(py)
}

/// Hands on what C code and children have written so far.
fn hand_on(capture: &Capture) {
    larder_cpython::stdio::flush();
    capture.drain();
}

fn stream_of(stream: capture::Stream) -> StreamName {
    match stream {
        capture::Stream::Out => StreamName::Stdout,
        capture::Stream::Err => StreamName::Stderr,
    }
}

fn parking(ticket: Option<Ticket>) -> std::sync::RwLock<Option<Ticket>> {
    std::sync::RwLock::new(ticket)
}

/// One request, and the duty to answer it.
#[pyclass(frozen, module = "larder._larder")]
struct NativeWork {
    request: Request,
    ticket: std::sync::RwLock<Option<Ticket>>,
    capture: Arc<Capture>,
}

impl NativeWork {
    fn with<T>(&self, f: impl FnOnce(&Ticket) -> T) -> PyResult<T> {
        let ticket = self.ticket.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ticket
            .as_ref()
            .map(f)
            .ok_or_else(|| PyRuntimeError::new_err("this request has been answered"))
    }
}

#[pymethods]
impl NativeWork {
    /// `execute`, `complete`, `inspect`, `is_complete`, `history`, `comm_info`, `comm` or `shutdown`.
    #[getter]
    fn kind(&self) -> &'static str {
        match &self.request {
            Request::Execute(_) => "execute",
            Request::Complete { .. } => "complete",
            Request::Inspect { .. } => "inspect",
            Request::IsComplete { .. } => "is_complete",
            Request::History => "history",
            Request::CommInfo { .. } => "comm_info",
            Request::Comm => "comm",
            Request::Control => "control",
            Request::Shutdown { .. } => "shutdown",
            _ => "unknown",
        }
    }

    /// The request's fields as a dict.
    fn request<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        match &self.request {
            Request::Execute(e) => {
                dict.set_item("code", &e.code)?;
                dict.set_item("silent", e.silent)?;
                dict.set_item("store_history", e.store_history)?;
                dict.set_item("user_expressions", json::to_python(py, &e.user_expressions)?)?;
                dict.set_item("allow_stdin", e.allow_stdin)?;
                dict.set_item("stop_on_error", e.stop_on_error)?;
                dict.set_item("cell_id", &e.cell_id)?;
            }
            Request::Complete { code, cursor_pos } => {
                dict.set_item("code", code)?;
                dict.set_item("cursor_pos", cursor_pos)?;
            }
            Request::Inspect {
                code,
                cursor_pos,
                detail_level,
            } => {
                dict.set_item("code", code)?;
                dict.set_item("cursor_pos", cursor_pos)?;
                dict.set_item("detail_level", detail_level)?;
            }
            Request::IsComplete { code } => dict.set_item("code", code)?,
            Request::History => {
                let content = self.with(|ticket| parse(&ticket.message().content_json))??;
                return Ok(json::to_python(py, &content)?.cast_into::<PyDict>()?);
            }
            Request::CommInfo { target_name } => dict.set_item("target_name", target_name)?,
            Request::Comm => {
                let (content, buffers) = self.with(|ticket| {
                    let message = ticket.message();
                    (parse(&message.content_json), message.buffers.clone())
                })?;
                dict.set_item("content", json::to_python(py, &content?)?)?;
                let list = PyList::empty(py);
                for buffer in &buffers {
                    list.append(PyBytes::new(py, buffer))?;
                }
                dict.set_item("buffers", list)?;
            }
            Request::Shutdown { restart } => dict.set_item("restart", restart)?,
            _ => {}
        }
        Ok(dict)
    }

    /// The whole message: header, parent_header, metadata, content.
    fn parent<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let dict = PyDict::new(py);
        self.with(|ticket| {
            let message = ticket.message();
            for (name, text) in [
                ("header", &message.header_json),
                ("parent_header", &message.parent_json),
                ("metadata", &message.metadata_json),
                ("content", &message.content_json),
            ] {
                dict.set_item(name, json::to_python(py, &parse(text)?)?)?;
            }
            Ok(dict.into_any())
        })?
    }

    /// The routing identities that the request came with.
    fn identities<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.with(|ticket| {
            ticket
                .message()
                .identities
                .iter()
                .map(|id| PyBytes::new(py, id))
                .collect()
        })
    }

    fn outputs(&self) -> PyResult<NativeOutputs> {
        self.with(|ticket| NativeOutputs {
            outputs: ticket.outputs(),
            capture: Arc::clone(&self.capture),
        })
    }

    fn execute_input(&self, code: &str, count: u64) -> PyResult<()> {
        self.with(|ticket| ticket.outputs().execute_input(code, count))
    }

    /// Sends the reply, then idle; a second call is an error.
    fn reply(&self, py: Python<'_>, content: &Bound<'_, PyAny>) -> PyResult<()> {
        let content = json::from_python(content)?;
        let ticket = self
            .ticket
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let ticket = ticket.ok_or_else(|| PyRuntimeError::new_err("this request has been answered"))?;
        let comm = matches!(self.request, Request::Comm);
        py.detach(|| {
            if comm {
                ticket.done()
            } else {
                ticket.reply(&content.to_string())
            }
        });
        Ok(())
    }

    /// A line from the front end that sent this request; signals are seen while waiting.
    fn input(&self, py: Python<'_>, prompt: &str, password: bool) -> PyResult<String> {
        let mut raised = None;
        let answer = py.detach(|| {
            self.with(|ticket| {
                ticket.input(prompt, password, &mut || {
                    raised = Python::attach(|py| py.check_signals()).err();
                    raised.is_some()
                })
            })
        })?;
        answer.map_err(|error| match (error, raised) {
            (InputError::Interrupted, Some(raised)) => raised,
            (error, _) => PyEOFError::new_err(error.to_string()),
        })
    }
}

/// Where one request's output goes.
#[pyclass(frozen, module = "larder._larder")]
struct NativeOutputs {
    outputs: Outputs,
    capture: Arc<Capture>,
}

#[pymethods]
impl NativeOutputs {
    /// Appends text to stdout (1) or stderr (2).
    fn stream(&self, which: u8, text: &Bound<'_, PyString>) -> PyResult<()> {
        if self.capture.worth_a_look() {
            // What children and C code wrote before this text comes before it, as in a terminal.
            text.py().detach(|| hand_on(&self.capture));
        }
        let stream = if which == 2 {
            StreamName::Stderr
        } else {
            StreamName::Stdout
        };
        self.outputs.stream(stream, text.to_str()?);
        Ok(())
    }

    /// Sends the gathered text now.
    fn flush(&self) {
        self.outputs.flush();
    }

    /// Any IOPub message, after the text before it.
    #[pyo3(signature = (msg_type, content, metadata=None, buffers=None))]
    fn publish(
        &self,
        py: Python<'_>,
        msg_type: &str,
        content: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        buffers: Option<Vec<Bound<'_, PyAny>>>,
    ) -> PyResult<()> {
        let content = json::from_python(content)?;
        let metadata = metadata.map_or_else(|| Ok(Value::Object(serde_json::Map::new())), json::from_python)?;
        let buffers = buffers
            .unwrap_or_default()
            .iter()
            .map(bytes_of)
            .collect::<PyResult<Vec<_>>>()?;
        py.detach(|| {
            hand_on(&self.capture);
            self.outputs
                .publish(msg_type, &content.to_string(), &metadata.to_string(), &buffers)
        });
        Ok(())
    }
}

fn parse(text: &str) -> PyResult<Value> {
    serde_json::from_str(text).map_err(|e| PyValueError::new_err(e.to_string()))
}

/// The bytes of any buffer, whatever its item type and shape.
fn bytes_of(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(buffer) = PyBuffer::<u8>::get(value) {
        return buffer.to_vec(value.py());
    }
    let bytes = value
        .py()
        .import("builtins")?
        .getattr("memoryview")?
        .call1((value,))?
        .call_method0("tobytes")?;
    Ok(bytes.cast::<PyBytes>()?.as_bytes().to_vec())
}
