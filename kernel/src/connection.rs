//! The connection file: where the five sockets are and how messages are signed.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::register::RegisterError;
use crate::wire::lenient;
use crate::zmtp::curve::{KeyError, Keys};
use crate::zmtp::server::{Listener, Socket};

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("cannot read the connection file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the connection file {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a Jupyter connection file: {source}", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("signature scheme `{0}` is not supported; use hmac-sha256")]
    Scheme(String),
    #[error("transport `{0}` is not supported; use tcp or ipc")]
    Transport(String),
    #[error("the encryption keys of the connection file cannot be used: {0}")]
    Keys(#[from] KeyError),
    #[error("cannot bind {address}: {source}")]
    Bind { address: String, source: io::Error },
    #[error("cannot register with the launcher: {0}")]
    Register(#[from] RegisterError),
    #[error("cannot start the server: {0}")]
    Io(#[from] io::Error),
}

fn tcp() -> String {
    "tcp".into()
}

fn localhost() -> String {
    "127.0.0.1".into()
}

fn scheme() -> String {
    "hmac-sha256".into()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(port: &u16) -> bool {
    *port == 0
}

/// The content of a connection file. A port of 0 means: bind a free one and write it back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    #[serde(default = "tcp")]
    pub transport: String,
    /// For ipc a path prefix: the sockets are `{ip}-{port}`.
    #[serde(default = "localhost")]
    pub ip: String,
    #[serde(default)]
    pub shell_port: u16,
    #[serde(default)]
    pub iopub_port: u16,
    #[serde(default)]
    pub stdin_port: u16,
    #[serde(default)]
    pub control_port: u16,
    #[serde(default)]
    pub hb_port: u16,
    #[serde(default)]
    pub key: String,
    #[serde(default = "scheme")]
    pub signature_scheme: String,
    #[serde(default)]
    pub kernel_name: String,
    /// Where the launcher wants to be told the ports; 0 when it has chosen them itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub registration_port: u16,
    /// The launcher's address, when it is not `ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_ip: Option<String>,
    /// The launcher's name for this kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_id: Option<String>,
    /// The server's CURVE keys in Z85; with them every connection is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve_publickey: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve_secretkey: Option<String>,
    /// Everything else a front end put there is kept.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Connection {
    /// Reads `path`; a file that does not exist gives a fresh connection with a random key and free ports.
    ///
    /// # Errors
    /// [`StartError::Read`], [`StartError::Parse`]: with the path.
    pub fn load(path: &Path) -> Result<Self, StartError> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let parse = |source| StartError::Parse {
                    path: path.to_owned(),
                    source,
                };
                // The name of a notebook whose file name is not UTF-8 is in the file with lone surrogates.
                let mut connection: Self = serde_json::from_str(&lenient::repair(&bytes)).map_err(parse)?;
                if connection.registration_port != 0 {
                    // Ports of an earlier start, which may be somebody else's by now.
                    for socket in Socket::ALL {
                        *connection.port(socket) = 0;
                    }
                }
                Ok(connection)
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::fresh()),
            Err(source) => Err(StartError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// A connection on localhost with a random key and ports to be chosen.
    pub fn fresh() -> Self {
        Self {
            transport: tcp(),
            ip: localhost(),
            shell_port: 0,
            iopub_port: 0,
            stdin_port: 0,
            control_port: 0,
            hb_port: 0,
            key: uuid::Uuid::new_v4().to_string(),
            signature_scheme: scheme(),
            kernel_name: "larder".into(),
            registration_port: 0,
            registration_ip: None,
            kernel_id: None,
            curve_publickey: None,
            curve_secretkey: None,
            other: serde_json::Map::new(),
        }
    }

    /// Writes the file for its owner only (0600).
    ///
    /// # Errors
    /// [`StartError::Write`] with the path.
    pub fn save(&self, path: &Path) -> Result<(), StartError> {
        let text = serde_json::to_string_pretty(self).expect("a connection is plain JSON");
        let write = || {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|source| StartError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// The keys to encrypt with, `None` for plain connections.
    ///
    /// # Errors
    /// [`StartError::Keys`]: keys that are there and cannot be used are never taken for none.
    pub fn keys(&self) -> Result<Option<Keys>, StartError> {
        let (secret, public) = (self.curve_secretkey.as_deref(), self.curve_publickey.as_deref());
        Ok(Keys::from_text(secret, public)?)
    }

    fn port(&mut self, socket: Socket) -> &mut u16 {
        match socket {
            Socket::Shell => &mut self.shell_port,
            Socket::Iopub => &mut self.iopub_port,
            Socket::Stdin => &mut self.stdin_port,
            Socket::Control => &mut self.control_port,
            Socket::Heartbeat => &mut self.hb_port,
        }
    }

    /// Binds all five sockets; ports that were 0 hold the chosen ones afterwards.
    ///
    /// # Errors
    /// [`StartError::Bind`] with the address, or what is not supported.
    pub fn bind(&mut self) -> Result<Vec<(Socket, Listener)>, StartError> {
        if self.signature_scheme != "hmac-sha256" {
            return Err(StartError::Scheme(self.signature_scheme.clone()));
        }
        Socket::ALL
            .into_iter()
            .map(|socket| Ok((socket, self.bind_one(socket)?)))
            .collect()
    }

    fn bind_one(&mut self, socket: Socket) -> Result<Listener, StartError> {
        let ip = if self.ip == "*" {
            "0.0.0.0".to_owned()
        } else {
            self.ip.clone()
        };
        match self.transport.as_str() {
            "tcp" => {
                let port = *self.port(socket);
                let address = format!("{ip}:{port}");
                let bind = || {
                    let listener = TcpListener::bind((ip.as_str(), port))?;
                    listener.set_nonblocking(true)?;
                    let bound = listener.local_addr()?.port();
                    Ok((listener, bound))
                };
                let (listener, bound) = bind().map_err(|source| StartError::Bind { address, source })?;
                *self.port(socket) = bound;
                Ok(Listener::Tcp(listener))
            }
            "ipc" => {
                let mut number = *self.port(socket);
                if number == 0 {
                    number = (1..u16::MAX)
                        .find(|n| !Path::new(&format!("{ip}-{n}")).exists())
                        .expect("65,534 socket files of one prefix are not all taken");
                    *self.port(socket) = number;
                }
                let path = PathBuf::from(format!("{ip}-{number}"));
                let address = path.display().to_string();
                let bind = || {
                    // A file nobody listens behind is left over from a kernel that was killed.
                    if path.exists() && UnixStream::connect(&path).is_err() {
                        std::fs::remove_file(&path)?;
                    }
                    let listener = UnixListener::bind(&path)?;
                    listener.set_nonblocking(true)?;
                    Ok(listener)
                };
                let listener = bind().map_err(|source| StartError::Bind { address, source })?;
                Ok(Listener::Ipc(listener, path))
            }
            other => Err(StartError::Transport(other.to_owned())),
        }
    }
}
