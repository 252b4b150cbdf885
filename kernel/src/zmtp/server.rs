//! The thread that owns every socket: accepts, reads, routes out, and flushes before it ends.
//!
//! It runs no interpreter code and waits for nothing but poll, so heartbeats and control requests are answered while the
//! interpreter is deep in C code. Other threads reach it through [`Mailbox`]: a channel and an eventfd.
//!
//! Invariants
//!
//! - Messages for one peer leave in the order they were posted.
//! - A slow subscriber costs bounded memory and delays nobody: beyond [`SUBSCRIBER_BYTES_MAX`] its droppable messages
//!   are counted, not queued, and it is told how many once it reads again. Status messages are never dropped.
//! - What a client with an identity of its own has not been sent yet when its connection breaks goes to its next
//!   connection ([`ORPHAN_AGE_MAX`], [`ORPHAN_BYTES_MAX`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::curve::Keys;
use super::peer::{Encoded, Event, Gone, Peer, Stream};
use crate::sys::{self, EventFd};

/// Bytes queued for one subscriber before its droppable messages are dropped.
pub const SUBSCRIBER_BYTES_MAX: usize = 256 << 20;
pub const ORPHAN_BYTES_MAX: usize = 64 << 20;
pub const ORPHAN_AGE_MAX: Duration = Duration::from_secs(60);
/// Connections at once, over all sockets.
pub const PEERS_MAX: usize = 1024;
/// How long a connection may take for its handshake; one that does not finish it would keep its place for ever.
pub const HANDSHAKE_AGE_MAX: Duration = Duration::from_secs(30);

/// The five sockets of a kernel, named as the message specification names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Socket {
    Shell,
    Control,
    Stdin,
    Iopub,
    Heartbeat,
}

impl Socket {
    pub const ALL: [Socket; 5] = [
        Socket::Shell,
        Socket::Iopub,
        Socket::Stdin,
        Socket::Control,
        Socket::Heartbeat,
    ];

    fn zmtp_type(self) -> &'static str {
        match self {
            Socket::Shell | Socket::Control | Socket::Stdin => "ROUTER",
            Socket::Iopub => "XPUB",
            Socket::Heartbeat => "REP",
        }
    }

    fn accepts(self, peer_type: &str) -> bool {
        match self.zmtp_type() {
            "ROUTER" => matches!(peer_type, "DEALER" | "REQ" | "ROUTER"),
            "XPUB" => matches!(peer_type, "SUB" | "XSUB"),
            _ => matches!(peer_type, "REQ" | "DEALER"),
        }
    }
}

#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// The path is unlinked at the end.
    Ipc(UnixListener, PathBuf),
}

impl Listener {
    fn fd(&self) -> RawFd {
        match self {
            Listener::Tcp(l) => l.as_raw_fd(),
            Listener::Ipc(l, _) => l.as_raw_fd(),
        }
    }

    fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Listener::Tcp(l) => {
                let (stream, _) = l.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Listener::Ipc(l, _) => {
                let (stream, _) = l.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Ipc(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Ipc(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

enum Post {
    Send {
        socket: Socket,
        identity: Vec<u8>,
        bytes: Encoded,
    },
    Publish {
        topic: Vec<u8>,
        bytes: Encoded,
        droppable: bool,
    },
    Flush {
        until: Instant,
        done: Sender<bool>,
    },
    Stop {
        until: Instant,
        done: Sender<bool>,
    },
}

/// How other threads hand messages to the server thread; never blocks.
#[derive(Clone)]
pub struct Mailbox {
    posts: Sender<Post>,
    wake: Arc<EventFd>,
}

impl Mailbox {
    /// To the peer of a ROUTER socket that has this identity.
    pub fn send(&self, socket: Socket, identity: &[u8], bytes: Vec<u8>) {
        self.post(Post::Send {
            socket,
            identity: identity.to_vec(),
            bytes: Arc::new(bytes),
        });
    }

    /// To every subscriber of a prefix of `topic`.
    pub fn publish(&self, topic: &[u8], bytes: Vec<u8>, droppable: bool) {
        self.post(Post::Publish {
            topic: topic.to_vec(),
            bytes: Arc::new(bytes),
            droppable,
        });
    }

    /// Makes the thread look at its timers again.
    pub fn wake(&self) {
        self.wake.signal();
    }

    /// Waits until all that was queued before is the operating system's to deliver; false if `timeout` came first.
    pub fn flush(&self, timeout: Duration) -> bool {
        let (done, end) = unbounded();
        self.post(Post::Flush {
            until: Instant::now() + timeout,
            done,
        });
        end.recv_timeout(timeout).unwrap_or(false)
    }

    /// Sends all that is queued, waits until the peers have taken it, and ends the thread; false if `timeout` came first.
    pub fn stop(&self, timeout: Duration) -> bool {
        let (done, end) = unbounded();
        self.post(Post::Stop {
            until: Instant::now() + timeout,
            done,
        });
        end.recv_timeout(timeout + Duration::from_millis(200)).unwrap_or(false)
    }

    fn post(&self, post: Post) {
        // The receiver is gone only after `stop`; what is said then has nobody to hear it.
        if self.posts.send(post).is_ok() {
            self.wake.signal();
        }
    }
}

/// What the server thread asks of the protocol above it.
pub trait Handler: Send {
    /// A whole message; for ROUTER sockets `identity` is the peer's.
    fn message(&mut self, socket: Socket, identity: &[u8], parts: Vec<Vec<u8>>);
    /// The message every new subscription is greeted with.
    fn welcome(&mut self, topic: &[u8]) -> Option<Vec<u8>>;
    /// What to tell a subscriber for whom `count` messages were dropped.
    fn dropped(&mut self, count: u64) -> Option<Vec<u8>>;
    /// When `tick` wants to be called next.
    fn deadline(&mut self) -> Option<Instant>;
    fn tick(&mut self);
}

struct Orphan {
    since: Instant,
    messages: VecDeque<Encoded>,
}

pub struct Server<H> {
    listeners: Vec<(Socket, Listener)>,
    keys: Option<Arc<Keys>>,
    peers: BTreeMap<u64, (Socket, Peer)>,
    routes: HashMap<(Socket, Vec<u8>), u64>,
    orphans: HashMap<(Socket, Vec<u8>), Orphan>,
    next_peer: u64,
    posts: Receiver<Post>,
    wake: Arc<EventFd>,
    handler: H,
    flushes: Vec<(Instant, Sender<bool>)>,
    stop: Option<(Instant, Sender<bool>)>,
    /// Peers closed for misbehaving.
    refused: u64,
}

/// The mailbox and the receiving half that [`Server::new`] takes.
pub fn mailbox() -> std::io::Result<(Mailbox, Inbox)> {
    let (posts, inbox) = unbounded();
    let wake = Arc::new(EventFd::new()?);
    Ok((
        Mailbox {
            posts,
            wake: wake.clone(),
        },
        Inbox { posts: inbox, wake },
    ))
}

#[cfg(test)]
impl Mailbox {
    /// A mailbox without a server: each post waits until the function takes it, which tells the socket of what was sent to
    /// one peer.
    pub(crate) fn by_hand() -> std::io::Result<(Mailbox, impl Fn() -> Option<Socket>)> {
        let (posts, taken) = crossbeam_channel::bounded(0);
        let wake = Arc::new(EventFd::new()?);
        let take = move || match taken.recv_timeout(Duration::from_secs(20)) {
            Ok(Post::Send { socket, .. }) => Some(socket),
            Ok(_) => None,
            Err(_) => panic!("nothing was posted"),
        };
        Ok((Mailbox { posts, wake }, take))
    }
}

pub struct Inbox {
    posts: Receiver<Post>,
    wake: Arc<EventFd>,
}

impl<H: Handler> Server<H> {
    /// With `keys` every connection is encrypted.
    pub fn new(listeners: Vec<(Socket, Listener)>, keys: Option<Keys>, inbox: Inbox, handler: H) -> Self {
        Self {
            listeners,
            keys: keys.map(Arc::new),
            peers: BTreeMap::new(),
            routes: HashMap::new(),
            orphans: HashMap::new(),
            next_peer: 0,
            posts: inbox.posts,
            wake: inbox.wake,
            handler,
            flushes: Vec::new(),
            stop: None,
            refused: 0,
        }
    }

    /// Serves until `Mailbox::stop`.
    pub fn run(mut self) {
        loop {
            while let Ok(post) = self.posts.try_recv() {
                self.accept_post(post);
            }
            self.expire(Instant::now());
            self.flush_all();
            self.tell_flushed();
            if let Some((until, done)) = &self.stop {
                self.peers.values_mut().for_each(|(_, peer)| peer.finish());
                let drained = self.drained();
                if drained || Instant::now() >= *until {
                    let _ = done.send(drained);
                    return;
                }
            }
            if let Err(err) = self.wait() {
                tracing::error!(%err, "poll failed; the kernel can no longer serve");
                return;
            }
        }
    }

    fn tell_flushed(&mut self) {
        if !self.flushes.is_empty() && self.drained() {
            for (_, done) in self.flushes.drain(..) {
                let _ = done.send(true);
            }
        }
        self.flushes.retain(|(until, _)| *until > Instant::now());
    }

    fn drained(&self) -> bool {
        self.peers.values().all(|(_, p)| p.unsent_bytes() == 0)
    }

    fn wait(&mut self) -> std::io::Result<()> {
        let ids: Vec<u64> = self.peers.keys().copied().collect();
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut fds = Vec::with_capacity(1 + self.listeners.len() + ids.len());
        fds.push(entry(self.wake.as_raw_fd(), libc::POLLIN));
        fds.extend(self.listeners.iter().map(|(_, l)| entry(l.fd(), libc::POLLIN)));
        fds.extend(self.peers.values().map(|(_, p)| {
            entry(
                p.fd(),
                if p.wants_write() {
                    libc::POLLIN | libc::POLLOUT
                } else {
                    libc::POLLIN
                },
            )
        }));
        let handshakes = self.peers.values().filter(|(_, peer)| !peer.established);
        let expiry = handshakes.map(|(_, peer)| peer.since + HANDSHAKE_AGE_MAX).min();
        let mut timeout_ms = match self.handler.deadline().into_iter().chain(expiry).min() {
            None => -1,
            // Rounded up: waking a moment early would only poll again.
            Some(at) => at
                .saturating_duration_since(Instant::now())
                .as_micros()
                .div_ceil(1000)
                .min(60_000) as i32,
        };
        if self.stop.is_some() {
            timeout_ms = 1;
        }
        sys::poll(&mut fds, timeout_ms)?;
        if fds[0].revents != 0 {
            self.wake.clear();
        }
        if self.handler.deadline().is_some_and(|at| at <= Instant::now()) {
            self.handler.tick();
        }
        for i in 0..self.listeners.len() {
            if fds[1 + i].revents != 0 {
                self.accept_peer(i);
            }
        }
        let first = 1 + self.listeners.len();
        for (id, fd) in ids.iter().zip(&fds[first..]) {
            if fd.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 {
                self.receive(*id);
            }
        }
        Ok(())
    }

    /// Closes the connections that had their time for a handshake.
    fn expire(&mut self, now: Instant) {
        let late = |peer: &Peer| !peer.established && now.saturating_duration_since(peer.since) >= HANDSHAKE_AGE_MAX;
        self.peers.retain(|_, (socket, peer)| {
            let keep = !late(peer);
            if !keep {
                tracing::debug!(?socket, "closed a connection that did not finish its handshake");
            }
            keep
        });
    }

    fn accept_peer(&mut self, index: usize) {
        let (socket, listener) = &self.listeners[index];
        let socket = *socket;
        match listener.accept() {
            Ok(stream) if self.peers.len() < PEERS_MAX => {
                let peer = Peer::new(stream, socket.zmtp_type(), self.keys.as_ref());
                self.peers.insert(self.next_peer, (socket, peer));
                self.next_peer += 1;
            }
            Ok(_) => tracing::warn!(?socket, "refused a connection: {PEERS_MAX} are open already"),
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(err) => tracing::warn!(?socket, %err, "accept failed"),
        }
    }

    fn receive(&mut self, id: u64) {
        let Some((socket, peer)) = self.peers.get_mut(&id) else {
            return;
        };
        let socket = *socket;
        let mut events = Vec::new();
        let outcome = peer.receive(&mut events);
        for event in events {
            if !self.handle(id, socket, event) {
                return;
            }
        }
        if let Err(why) = outcome {
            self.forget(id, &why);
        }
    }

    /// False when the peer is gone.
    fn handle(&mut self, id: u64, socket: Socket, event: Event) -> bool {
        match event {
            Event::Ready(ready) => {
                if !socket.accepts(&ready.socket_type) {
                    tracing::warn!(
                        ?socket,
                        peer = ready.socket_type,
                        "refused a peer of the wrong socket type"
                    );
                    self.peers.remove(&id);
                    return false;
                }
                self.establish(id, socket, ready.identity);
            }
            Event::Message(parts) => match socket {
                Socket::Heartbeat => {
                    if let Some((_, peer)) = self.peers.get_mut(&id) {
                        peer.queue(Arc::new(super::frame::encode_message(&parts)));
                    }
                }
                Socket::Iopub => match parts.first().and_then(|p| p.split_first()) {
                    Some((1, topic)) => self.subscribe(id, topic.to_vec()),
                    Some((0, topic)) => self.cancel(id, topic),
                    _ => tracing::warn!("a subscriber sent a message that is no subscription"),
                },
                Socket::Shell | Socket::Control | Socket::Stdin => {
                    let Some((_, peer)) = self.peers.get(&id) else {
                        return false;
                    };
                    self.handler.message(socket, &peer.identity, parts);
                }
            },
            Event::Subscribe(topic) if socket == Socket::Iopub => self.subscribe(id, topic),
            Event::Cancel(topic) if socket == Socket::Iopub => self.cancel(id, &topic),
            Event::Subscribe(_) | Event::Cancel(_) => {}
        }
        true
    }

    fn establish(&mut self, id: u64, socket: Socket, identity: Vec<u8>) {
        let chosen = !identity.is_empty() && identity[0] != 0;
        let identity = if chosen {
            identity
        } else {
            // As libzmq: a zero byte, which no client may choose, and a number.
            let mut own = vec![0];
            own.extend_from_slice(&(id as u32).to_be_bytes());
            own
        };
        let key = (socket, identity.clone());
        let mut inherited = self.orphans.remove(&key).map(|o| o.messages).unwrap_or_default();
        if let Some(old) = self.routes.insert(key, id)
            && let Some((_, mut peer)) = self.peers.remove(&old)
        {
            inherited.extend(peer.take_unsent());
        }
        if let Some((_, peer)) = self.peers.get_mut(&id) {
            peer.identity = identity;
            for bytes in inherited {
                peer.queue(bytes);
            }
        }
    }

    fn subscribe(&mut self, id: u64, topic: Vec<u8>) {
        let welcome = self.handler.welcome(&topic);
        if let Some((_, peer)) = self.peers.get_mut(&id) {
            peer.topics.push(topic);
            if let Some(bytes) = welcome {
                peer.queue(Arc::new(bytes));
            }
        }
    }

    fn cancel(&mut self, id: u64, topic: &[u8]) {
        if let Some((_, peer)) = self.peers.get_mut(&id)
            && let Some(at) = peer.topics.iter().position(|t| t == topic)
        {
            peer.topics.swap_remove(at);
        }
    }

    fn accept_post(&mut self, post: Post) {
        match post {
            Post::Send {
                socket,
                identity,
                bytes,
            } => {
                let key = (socket, identity);
                if let Some((_, peer)) = self.routes.get(&key).and_then(|id| self.peers.get_mut(id)) {
                    peer.queue(bytes);
                } else if key.1.first().is_some_and(|b| *b != 0) {
                    self.keep_orphan(key, VecDeque::from([bytes]));
                } else {
                    tracing::debug!(?socket, "a reply's client is gone");
                }
            }
            Post::Publish {
                topic,
                bytes,
                droppable,
            } => {
                for (socket, peer) in self.peers.values_mut() {
                    if *socket != Socket::Iopub || !peer.topics.iter().any(|t| topic.starts_with(t)) {
                        continue;
                    }
                    if droppable && peer.queued_bytes + bytes.len() > SUBSCRIBER_BYTES_MAX {
                        peer.dropped += 1;
                    } else {
                        peer.queue(bytes.clone());
                    }
                }
            }
            Post::Flush { until, done } => self.flushes.push((until, done)),
            Post::Stop { until, done } => self.stop = Some((until, done)),
        }
    }

    fn keep_orphan(&mut self, key: (Socket, Vec<u8>), messages: VecDeque<Encoded>) {
        let now = Instant::now();
        self.orphans.retain(|_, o| now.duration_since(o.since) < ORPHAN_AGE_MAX);
        if messages.is_empty() {
            return;
        }
        let held: usize = self.orphans.values().flat_map(|o| &o.messages).map(|m| m.len()).sum();
        if held + messages.iter().map(|m| m.len()).sum::<usize>() > ORPHAN_BYTES_MAX {
            tracing::warn!("dropped replies to a client that went away: {ORPHAN_BYTES_MAX} bytes are held already");
            return;
        }
        let orphan = self.orphans.entry(key).or_insert_with(|| Orphan {
            since: now,
            messages: VecDeque::new(),
        });
        orphan.messages.extend(messages);
    }

    fn flush_all(&mut self) {
        let mut gone = Vec::new();
        for (id, (_, peer)) in &mut self.peers {
            if peer.dropped > 0
                && peer.queued_bytes < SUBSCRIBER_BYTES_MAX / 2
                && let Some(notice) = self.handler.dropped(peer.dropped)
            {
                peer.dropped = 0;
                peer.queue(Arc::new(notice));
            }
            if peer.wants_write()
                && let Err(why) = peer.flush()
            {
                gone.push((*id, why));
            }
        }
        for (id, why) in gone {
            self.forget(id, &why);
        }
    }

    fn forget(&mut self, id: u64, why: &Gone) {
        let Some((socket, mut peer)) = self.peers.remove(&id) else {
            return;
        };
        match why {
            Gone::Closed => {}
            Gone::Broken(err) => tracing::debug!(?socket, %err, "a connection broke"),
            Gone::Misbehaved(err) => {
                // A client with a wrong key tries again for ever: the 1st, 2nd, 4th, 8th... time is worth a line.
                self.refused += 1;
                if self.refused.is_power_of_two() {
                    let times = self.refused;
                    tracing::warn!(?socket, %err, times, "closed the connection of a peer that misbehaved");
                }
            }
        }
        let key = (socket, std::mem::take(&mut peer.identity));
        if self.routes.get(&key) == Some(&id) {
            self.routes.remove(&key);
            if key.1.first().is_some_and(|b| *b != 0) && socket != Socket::Iopub && socket != Socket::Heartbeat {
                self.keep_orphan(key, peer.take_unsent());
            }
        }
    }
}
