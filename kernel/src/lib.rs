//! Jupyter protocol server, generic over the interpreter; knows no Python.
//!
//! Bytes come in through [`zmtp`], become messages in [`wire`], are routed by [`kernel`], and reach the interpreter
//! thread as [`interpreter::Work`]. What the interpreter produces goes back through one [`outputs::Outputs`] value
//! handed down with the work.

pub mod connection;
pub mod echo;
pub mod interpreter;
pub mod kernel;
pub mod outputs;
pub mod register;
mod sys;
mod usage;
pub mod wire;
pub mod zmtp;

pub use connection::{Connection, StartError};
pub use interpreter::{ExecuteRequest, InputError, Interpreter, Request, Ticket, Work, WorkQueue, run};
pub use kernel::{Hooks, Kernel, KernelInfo};
pub use outputs::{Outputs, StreamName};
