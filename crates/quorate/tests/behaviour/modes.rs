//! Any types: one leader a term or several, ids that are strings, data that cannot be cloned.

use std::fmt;

use quorate::Entry;
use quorate::EntryPayload;
use quorate::async_runtime::WatchReceiver;
use quorate::impls::leader_id_std;

use crate::cluster::soon;
use crate::small::Copied;
use crate::small::found;

/// A number that nobody can clone.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Unique(u64);

impl fmt::Display for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

quorate::declare_raft_types!(pub Several: D = Unique, R = u64, NodeId = String);
quorate::declare_raft_types!(
    pub OneATerm: D = Unique, R = u64, NodeId = String,
    LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>
);

macro_rules! copied {
    ($config:ty) => {
        impl Copied for $config {
            fn copy(entry: &Self::Entry) -> Self::Entry {
                let payload = match &entry.payload {
                    EntryPayload::Blank => EntryPayload::Blank,
                    EntryPayload::Normal(Unique(number)) => EntryPayload::Normal(Unique(*number)),
                    EntryPayload::Membership(membership) => EntryPayload::Membership(membership.clone()),
                };
                Entry { log_id: entry.log_id.clone(), payload }
            }
        }
    };
}

copied!(Several);
copied!(OneATerm);

async fn works<C>()
where
    C: Copied<NodeId = String, D = Unique>,
{
    let ids = ["anna", "bert", "cleo"].map(String::from);
    let nodes = found::<C>(&ids).await;
    for n in 0..50 {
        let written = soon(nodes[0].client_write(Unique(n))).await.unwrap();
        assert_eq!((written.log_id.index, written.data), (n + 2, n + 3));
    }
    for node in &nodes {
        node.wait(crate::cluster::PATIENCE).applied_index(Some(51), "applied").await.unwrap();
    }
    let before = nodes[0].metrics().borrow_watched().current_term;
    nodes[1].wait(crate::cluster::PATIENCE).current_leader(nodes[0].node_id().clone(), "").await.unwrap();
    soon(nodes[0].shutdown()).await.unwrap();
    let elected = |node: &quorate::Raft<C, crate::small::Counter<C>>| {
        let wait = node.wait(crate::cluster::PATIENCE);
        async move { wait.metrics(|m| m.current_term > before && m.current_leader.is_some(), "").await.unwrap() }
    };
    let (one, other) = tokio::join!(elected(&nodes[1]), elected(&nodes[2]));
    assert_eq!(one.current_leader, other.current_leader);
}

#[tokio::test(start_paused = true)]
async fn several_leaders_a_term() {
    works::<Several>().await;
}

#[tokio::test(start_paused = true)]
async fn one_leader_a_term() {
    works::<OneATerm>().await;
}
