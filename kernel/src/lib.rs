//! Jupyter protocol server, generic over the interpreter; knows no Python.
//!
//! Bytes come in through [`zmtp`], become messages in [`wire`], are routed and ordered in [`channels`], and reach the
//! interpreter thread as [`interpreter::Work`]. What the interpreter produces goes back through one
//! [`outputs::Outputs`] value handed down with the work.

pub mod interpreter;
