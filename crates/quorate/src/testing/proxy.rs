//! A TCP proxy that does to a connection what networks do: holds bytes back, loses them, cuts, refuses.
//!
//! It runs on threads of its own, so that it works beside any runtime.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

/// How often a thread looks whether anything changed.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Bytes forwarded at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Most connections at a time; further ones are refused.
const CONNECTIONS_MAX: usize = 256;

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All passes.
    None,
    /// Bytes wait until this fault ends, and arrive then: a link that is down for a while.
    Hold,
    /// Bytes vanish, and connections that lost some stay open and silent for ever: a peer that lost its power.
    Lose,
    /// Each chunk waits so long before it passes.
    Delay(Duration),
    /// Connections are cut after so many bytes, either way.
    CutAfter(u64),
    /// Open connections are cut, and new ones closed at once.
    Refuse,
}

struct State {
    fault: Fault,
    /// Both ends of each open connection, by its number.
    open: BTreeMap<u64, [TcpStream; 2]>,
    accepted: u64,
    stopped: bool,
}

/// A proxy in front of one server; stops when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Listens on a free local port, and leads to `target`.
    pub fn start(target: SocketAddr) -> Result<Self, io::Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            fault: Fault::None,
            open: BTreeMap::new(),
            accepted: 0,
            stopped: false,
        }));
        let shared = state.clone();
        thread::spawn(move || accept(&listener, target, &shared));
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this happens to what passes.
    pub fn set(&self, fault: Fault) {
        lock(&self.state).fault = fault;
        if fault == Fault::Refuse {
            self.cut();
        }
    }

    /// Cuts all open connections.
    pub fn cut(&self) {
        for stream in std::mem::take(&mut lock(&self.state).open).values().flatten() {
            close(stream);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        lock(&self.state).stopped = true;
        self.cut();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close(stream: &TcpStream) {
    // It may be closed already.
    let _ = stream.shutdown(Shutdown::Both);
}

fn accept(listener: &TcpListener, target: SocketAddr, state: &Arc<Mutex<State>>) {
    while !lock(state).stopped {
        match listener.accept() {
            Ok((client, _)) => {
                if let Err(error) = forward(client, target, state) {
                    tracing::debug!(%error, "the proxy lost a connection");
                }
            }
            Err(_) => thread::sleep(LOOK_INTERVAL),
        }
    }
}

/// Joins `client` to the server behind, by a thread for each direction.
fn forward(client: TcpStream, target: SocketAddr, state: &Arc<Mutex<State>>) -> Result<(), io::Error> {
    if lock(state).fault == Fault::Refuse {
        return Ok(());
    }
    let server = TcpStream::connect(target)?;
    for stream in [&client, &server] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK_INTERVAL))?;
    }
    let ways = [(client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?)];
    let number = {
        let mut state = lock(state);
        if state.stopped || state.open.len() >= CONNECTIONS_MAX {
            return Ok(());
        }
        state.accepted = state.accepted.saturating_add(1);
        let number = state.accepted;
        state.open.insert(number, [client, server]);
        number
    };
    for (from, to) in ways {
        let state = state.clone();
        thread::spawn(move || {
            // However it ends, both ends learn of it.
            let _ = pump(&from, &to, &state);
            close(&from);
            close(&to);
            lock(&state).open.remove(&number);
        });
    }
    Ok(())
}

/// Carries bytes one way until an end closes, or a fault cuts.
fn pump(mut from: &TcpStream, mut to: &TcpStream, state: &Mutex<State>) -> Result<(), io::Error> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut passed, mut lost) = (0_u64, false);
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if lock(state).stopped {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(mut bytes) = chunk.get(..count) else { return Ok(()) };
        let mut fault = lock(state).fault;
        while fault == Fault::Hold {
            thread::sleep(LOOK_INTERVAL);
            fault = lock(state).fault;
        }
        lost |= fault == Fault::Lose;
        if lost {
            continue;
        }
        if let Fault::Delay(delay) = fault {
            thread::sleep(delay);
        }
        let mut cut = false;
        if let Fault::CutAfter(limit) = fault {
            let room = limit.saturating_sub(passed);
            cut = room < count as u64;
            bytes = bytes.get(..count.min(room as usize)).unwrap_or_default();
        }
        to.write_all(bytes)?;
        passed = passed.saturating_add(bytes.len() as u64);
        if cut {
            return Ok(());
        }
    }
}
