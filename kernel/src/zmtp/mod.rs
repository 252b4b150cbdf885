//! The server side of ZMTP 3.1 with the NULL mechanism: what Jupyter front ends speak, and no more.
//!
//! [`frame`] is the pure decoder and encoder; [`peer`] is one connection: handshake, input, a byte-bounded output queue;
//! [`server`] is the thread that polls them all and knows the three socket types a kernel needs (ROUTER, XPUB, REP).

pub mod frame;
pub mod peer;
pub mod server;
