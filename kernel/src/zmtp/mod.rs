//! The server side of ZMTP 3.1 with the NULL and CURVE mechanisms: what Jupyter front ends speak, and no more.
//!
//! [`frame`] is the pure decoder and encoder, [`curve`] the encryption around frames; [`peer`] is one connection: handshake,
//! input, a byte-bounded output queue; [`server`] is the thread that polls them all and knows the three socket types a
//! kernel needs (ROUTER, XPUB, REP).

pub mod curve;
pub mod frame;
pub mod peer;
pub mod server;
