//! The network between the processes: a proxy in front of each node, which knows who dialled.
//!
//! A node has one address for all others, so the proxy asks the system which process is at the other end of a
//! connection ([`crate::dialler`]). What a node says to another travels forth on the connections that it dialled and
//! back on those that it accepted; a fault of the link from one to the other is done to both, and to nothing else.
//!
//! What it cannot do: a connection is accepted before the proxy knows what to do with it, so a dialler whose link is
//! cut sees silence behind an open connection, never an unanswered one; and bytes of one connection cannot overtake.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::dialler;

/// A node by its number, or [`CLIENTS`].
pub(crate) type Place = u64;

/// Everybody who is not a node.
pub(crate) const CLIENTS: Place = 0;

/// Bytes that pass at once; what a slow link delays is a chunk.
const CHUNK_BYTES: usize = 16 * 1024;

/// Connections through one proxy; further ones wait.
const CONNECTIONS_MAX: usize = 512;

/// What happens to what one says to another; the worse counts where two are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Each chunk waits so long.
    Delay(Duration),
    /// Bytes wait until the fault ends, and arrive then.
    Hold,
    /// Bytes vanish, and connections that lost some stay open and silent: the other end is as good as gone.
    Lose,
    /// Connections are cut, and new ones closed at once.
    Refuse,
}

/// From whom, to whom.
pub(crate) type Link = (Place, Place);

type Effective = BTreeMap<Link, Fault>;

/// All faults that are set, by what set them.
pub(crate) struct Network {
    rules: Mutex<(u64, BTreeMap<u64, Vec<(Link, Fault)>>)>,
    effective: watch::Sender<Arc<Effective>>,
    /// The processes of the nodes: to tell who dialled.
    pids: Mutex<BTreeMap<Place, u32>>,
}

/// A proxy in front of one port; closed when dropped.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    accepting: AbortHandle,
}

/// Ends a fault when dropped.
pub(crate) struct Cut {
    network: Arc<Network>,
    number: u64,
}

impl Network {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            rules: Mutex::default(),
            effective: watch::Sender::default(),
            pids: Mutex::default(),
        })
    }

    /// Tells which process a node is.
    pub(crate) fn knows(&self, place: Place, pid: Option<u32>) {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        match pid {
            Some(pid) => drop(pids.insert(place, pid)),
            None => drop(pids.remove(&place)),
        }
    }

    /// Sets a fault on some links until the returned value is dropped.
    pub(crate) fn set(self: &Arc<Self>, links: impl IntoIterator<Item = Link>, fault: Fault) -> Cut {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.0 += 1;
        let number = rules.0;
        rules.1.insert(number, links.into_iter().map(|link| (link, fault)).collect());
        self.publish(&rules.1);
        Cut { network: self.clone(), number }
    }

    fn publish(&self, rules: &BTreeMap<u64, Vec<(Link, Fault)>>) {
        let mut effective = Effective::new();
        for (link, fault) in rules.values().flatten() {
            let worst = effective.entry(*link).or_insert(*fault);
            *worst = (*worst).max(*fault);
        }
        self.effective.send_replace(Arc::new(effective));
    }

    /// Opens a proxy before `target`, a port of the node `to`.
    pub(crate) async fn gate(self: &Arc<Self>, to: Place, target: SocketAddr) -> std::io::Result<Gate> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let network = self.clone();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let accepting = tokio::spawn(async move {
            // Connections live in this task, so that they end with the gate.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok(place) = room.clone().acquire_owned().await else { return };
                while connections.try_join_next().is_some() {}
                let Ok((stream, _)) = listener.accept().await else { continue };
                let network = network.clone();
                connections.spawn(async move {
                    // A connection that fails is one that ends.
                    let _ = network.forward(stream, address, to, target).await;
                    drop(place);
                });
            }
        });
        Ok(Gate { address, accepting: accepting.abort_handle() })
    }

    async fn forward(
        &self,
        stream: TcpStream,
        gate: SocketAddr,
        to: Place,
        target: SocketAddr,
    ) -> std::io::Result<()> {
        let dialler = stream.peer_addr()?;
        let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // It reads files, which may take a moment.
        let from = tokio::task::spawn_blocking(move || dialler::of(dialler, gate, &pids)).await?;
        let from = from.unwrap_or(CLIENTS);
        let (forth, back) = ((from, to), (to, from));
        let mut faults = self.effective.subscribe();
        let mut refusing = faults.clone();
        let refused = refusing
            .wait_for(|faults| [forth, back].iter().any(|link| faults.get(link) == Some(&Fault::Refuse)));
        let passing = async {
            passable(forth, &mut faults).await;
            let server = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            server.set_nodelay(true)?;
            let (from_dialler, to_dialler) = stream.into_split();
            let (from_server, to_server) = server.into_split();
            // One way may end before the other, as with any connection.
            tokio::try_join!(
                pump(from_dialler, to_server, forth, faults.clone()),
                pump(from_server, to_dialler, back, faults.clone()),
            )?;
            Ok(())
        };
        tokio::select! {
            _ = refused => Ok(()),
            result = passing => result,
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let mut rules = self.network.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.1.remove(&self.number);
        self.network.publish(&rules.1);
    }
}

/// Waits until a link carries anything at all.
async fn passable(link: Link, faults: &mut watch::Receiver<Arc<Effective>>) {
    // The sender lives as long as the network; without it nothing is at fault.
    let _ = faults.wait_for(|faults| !matches!(faults.get(&link), Some(Fault::Hold | Fault::Lose))).await;
}

/// Carries bytes one way until an end closes. An end that closes behind a cut link is not noticed before it heals.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: Link,
    mut faults: watch::Receiver<Arc<Effective>>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut lost = false;
    loop {
        let read = from.read(&mut chunk).await;
        let fault = faults.borrow_and_update().get(&link).copied();
        let Some(bytes) =
            read.as_ref().ok().and_then(|count| chunk.get(..*count)).filter(|bytes| !bytes.is_empty())
        else {
            passable(link, &mut faults).await;
            to.shutdown().await?;
            return read.map(|_| ());
        };
        match fault {
            Some(Fault::Lose) => lost = true,
            Some(Fault::Hold) => passable(link, &mut faults).await,
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Refuse) | None => {}
        }
        if !lost {
            to.write_all(bytes).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, and a proxy before it for the node 7.
    async fn echo(network: &Arc<Network>) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        network.gate(7, target).await.unwrap()
    }

    async fn says(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        hears(stream, text.len()).await
    }

    async fn hears(stream: &mut TcpStream, bytes: usize) -> String {
        let mut answer = vec![0; bytes];
        stream.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_held_way_carries_all_once_it_is_healed_and_the_other_way_is_free() {
        let network = Network::new();
        let gate = echo(&network).await;
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        assert_eq!(says(&mut stream, "one").await, "one");
        let other = network.set([(3, 7), (7, 3)], Fault::Refuse);
        let slow = network.set([(7, CLIENTS)], Fault::Delay(Duration::from_millis(1)));
        assert_eq!(says(&mut stream, "two").await, "two");
        let held = network.set([(CLIENTS, 7)], Fault::Hold);
        stream.write_all(b"three").await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(early.is_err(), "{early:?}");
        drop((held, slow, other));
        assert_eq!(hears(&mut stream, 5).await, "three");
    }

    #[tokio::test]
    async fn what_is_lost_stays_lost_and_what_is_refused_is_cut() {
        let network = Network::new();
        let gate = echo(&network).await;
        let mut silent = TcpStream::connect(gate.address).await.unwrap();
        assert_eq!(says(&mut silent, "one").await, "one");
        let lost = network.set([(7, CLIENTS)], Fault::Lose);
        silent.write_all(b"two").await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), silent.read_u8()).await;
        assert!(early.is_err(), "{early:?}");
        drop(lost);
        let mut fresh = TcpStream::connect(gate.address).await.unwrap();
        assert_eq!(says(&mut fresh, "one").await, "one");
        let refused = network.set([(7, CLIENTS)], Fault::Refuse);
        assert!(fresh.read_u8().await.is_err());
        let mut closed = TcpStream::connect(gate.address).await.unwrap();
        assert!(closed.read_u8().await.is_err());
        drop(refused);
        let mut fresh = TcpStream::connect(gate.address).await.unwrap();
        assert_eq!(says(&mut fresh, "two").await, "two");
    }
}
