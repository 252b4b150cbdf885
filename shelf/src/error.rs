//! One error enum per operation; every message says what happened, where, and what to do.
//!
//! [`Class`] is the coarse answer the Python face needs: one class per exception type.

use std::io;

/// The kind of failure, one per Python exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Busy,
    Corrupt,
    Full,
    Format,
    ReadOnly,
    Closed,
    NotFound,
    Exists,
    /// The caller's argument is at fault (a name or a value over a limit).
    Invalid,
    Other,
}

/// Bytes that contradict their checksum or each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shelf `{name}` is damaged at offset {offset:#x}: {what}{}", variable.as_ref().map(|v| format!(" (variable `{v}`)")).unwrap_or_default())]
pub struct Damage {
    pub name: String,
    pub offset: u64,
    pub what: String,
    pub variable: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("no shelf at {path}; open it with mode \"a\" to create it")]
    NotFound { path: String },
    #[error("a file already exists at {path}; open it with mode \"a\" or choose another name")]
    Exists { path: String },
    #[error(
        "shelf `{name}` is being written by process {pid}; close that kernel, or open it read-only with `mode=\"r\"`"
    )]
    Busy { name: String, pid: u32 },
    #[error("{path} is not a shelf: {what}; nothing was written to it")]
    NotAShelf { path: String, what: String },
    #[error("{path} was written by a newer larder ({what}); upgrade larder to open it. Nothing was written to it")]
    Newer { path: String, what: String },
    #[error("{0}; nothing was written to it")]
    Corrupt(Damage),
    #[error("no room to create shelf {path}: {source}")]
    Full { path: String, source: io::Error },
    #[error("{path} cannot be a DAX shelf: {source}; use medium=\"file\"")]
    NoDax { path: String, source: io::Error },
    #[error("cannot open shelf {path}: {source}")]
    Io { path: String, source: io::Error },
}

impl OpenError {
    pub fn class(&self) -> Class {
        match self {
            OpenError::NotFound { .. } => Class::NotFound,
            OpenError::Exists { .. } => Class::Exists,
            OpenError::Busy { .. } => Class::Busy,
            OpenError::NotAShelf { .. } | OpenError::Newer { .. } => Class::Format,
            OpenError::Corrupt(_) => Class::Corrupt,
            OpenError::Full { .. } => Class::Full,
            OpenError::NoDax { .. } | OpenError::Io { .. } => Class::Other,
        }
    }

    pub(crate) fn io(path: &std::path::Path, source: io::Error) -> OpenError {
        let path = path.display().to_string();
        if is_full(&source) {
            OpenError::Full { path, source }
        } else {
            OpenError::Io { path, source }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("shelf `{name}` is closed; open it again with `larder.open`")]
    Closed { name: String },
    #[error("{0}")]
    Corrupt(Damage),
    #[error(
        "shelf `{name}` does not keep commit {commit} (the oldest is {oldest}); open it with `history=N` to keep more"
    )]
    NoCommit { name: String, commit: u64, oldest: u64 },
    #[error("cannot map variable `{variable}` of shelf `{name}` into memory: {source}")]
    Map {
        name: String,
        variable: String,
        source: io::Error,
    },
    #[error("cannot read shelf `{name}`: {source}")]
    Io { name: String, source: io::Error },
}

impl ReadError {
    pub fn class(&self) -> Class {
        match self {
            ReadError::Closed { .. } => Class::Closed,
            ReadError::Corrupt(_) => Class::Corrupt,
            ReadError::NoCommit { .. } => Class::NotFound,
            ReadError::Map { .. } | ReadError::Io { .. } => Class::Other,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    #[error("shelf `{name}` is closed; open it again with `larder.open`")]
    Closed { name: String },
    #[error("shelf `{name}` is read-only; open it with mode \"r+\" or \"a\" to change it")]
    ReadOnly { name: String },
    #[error("no room for `{variable}` on shelf `{name}`: {source}; the shelf stays at commit {commit}")]
    Full {
        name: String,
        variable: String,
        commit: u64,
        source: io::Error,
    },
    #[error("{what} of `{variable}` is {size} bytes, the limit is {limit}")]
    TooLarge {
        variable: String,
        what: &'static str,
        size: u64,
        limit: u64,
    },
    #[error("shelf `{name}` stopped after a failed flush; reopen it to return to commit {commit}")]
    Stopped { name: String, commit: u64 },
    #[error("cannot write `{variable}` to shelf `{name}`: {source}; the shelf stays at commit {commit}")]
    Io {
        name: String,
        variable: String,
        commit: u64,
        source: io::Error,
    },
    #[error("{0}")]
    Read(#[from] ReadError),
}

impl WriteError {
    pub fn class(&self) -> Class {
        match self {
            WriteError::Closed { .. } => Class::Closed,
            WriteError::ReadOnly { .. } => Class::ReadOnly,
            WriteError::Full { .. } => Class::Full,
            WriteError::TooLarge { .. } => Class::Invalid,
            WriteError::Stopped { .. } | WriteError::Io { .. } => Class::Other,
            WriteError::Read(error) => error.class(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    #[error("shelf `{name}` is closed; open it again with `larder.open`")]
    Closed { name: String },
    #[error("shelf `{name}` is read-only; open it with mode \"r+\" or \"a\" to change it")]
    ReadOnly { name: String },
    #[error("no room for this commit on shelf `{name}`: {source}; the shelf stays at commit {commit}")]
    Full {
        name: String,
        commit: u64,
        source: io::Error,
    },
    #[error("shelf `{name}` stopped after a failed flush; reopen it to return to commit {commit}{}", source.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    Stopped {
        name: String,
        commit: u64,
        source: Option<io::Error>,
    },
    #[error("cannot commit to shelf `{name}`: {source}; the shelf stays at commit {commit}")]
    Io {
        name: String,
        commit: u64,
        source: io::Error,
    },
}

impl CommitError {
    pub fn class(&self) -> Class {
        match self {
            CommitError::Closed { .. } => Class::Closed,
            CommitError::ReadOnly { .. } => Class::ReadOnly,
            CommitError::Full { .. } => Class::Full,
            CommitError::Stopped { .. } | CommitError::Io { .. } => Class::Other,
        }
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG))
}
