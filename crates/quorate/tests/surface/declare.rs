//! `declare_raft_types!`: what may be said, what is assumed, and what is made of it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use quorate::BasicNode;
use quorate::EmptyNode;
use quorate::RaftTypeConfig;
use quorate::impls;
use quorate::impls::leader_id_adv;
use quorate::impls::leader_id_std;
use quorate::rt::deterministic_rng::DeterministicRng;
use quorate::vote::RaftLeaderId;

// Nothing but a name, without and with what may stand around it.
quorate::declare_raft_types!(Bare);
quorate::declare_raft_types!(pub(crate) Colon:);

#[test]
fn what_is_not_named_is_what_most_use() {
    fn are_usual<C>()
    where
        C: RaftTypeConfig<
                D = String,
                R = String,
                NodeId = u64,
                Node = BasicNode,
                Term = u64,
                LeaderId = leader_id_adv::LeaderId<u64, u64>,
                Vote = impls::Vote<leader_id_adv::LeaderId<u64, u64>>,
                Payload = impls::EntryPayload<String, u64, BasicNode>,
                Entry = impls::Entry<
                    leader_id_adv::LeaderId<u64, u64>,
                    impls::EntryPayload<String, u64, BasicNode>,
                >,
                AsyncRuntime = impls::TokioRuntime,
                Responder<u8> = impls::ProgressResponder<C, u8>,
                Batch<u8> = impls::InlineBatch<u8>,
                ErrorSource = impls::BoxedErrorSource,
            >,
    {
    }
    are_usual::<Bare>();
    are_usual::<Colon>();
    let copied = Bare {};
    assert_eq!((copied, copied.clone().cmp(&copied)), (Bare::default(), Ordering::Equal));
    assert_eq!(format!("{:?}", Colon {}), "Colon");
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Pairs<K: Ord, V>(BTreeMap<K, V>);

impl<K: Ord, V> fmt::Display for Pairs<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pairs", self.0.len())
    }
}

quorate::declare_raft_types!(
    /// All that can be named, in an order of its own, partly twice.
    #[derive(Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize))]
    pub(crate) Whole:
        ErrorSource = quorate::AnyError,
        AsyncRuntime = DeterministicRng<impls::TokioRuntime>,
        Entry = impls::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>,
        Payload = quorate::EntryPayload<Self::D, Self::NodeId, Self::Node>,
        Vote = quorate::Vote<Self::LeaderId>,
        /// One leader per term.
        #[allow(clippy::type_complexity)]
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        Term = u32,
        Node = EmptyNode,
        /// Names.
        #[cfg(all())]
        NodeId = String,
        R = Option<Vec<u8>>,
        D = Pairs<u8, (u16, [u8; 4])>,
        D = u8,
        R = String,
        Node = BasicNode,
);

#[test]
fn all_can_be_named_and_the_first_counts() {
    type Leader = leader_id_std::LeaderId<u32, String>;
    type Payload = quorate::EntryPayload<Pairs<u8, (u16, [u8; 4])>, String, EmptyNode>;
    fn is_whole<C>()
    where
        C: RaftTypeConfig<
                D = Pairs<u8, (u16, [u8; 4])>,
                R = Option<Vec<u8>>,
                NodeId = String,
                Node = EmptyNode,
                Term = u32,
                LeaderId = Leader,
                Vote = quorate::Vote<Leader>,
                Payload = Payload,
                Entry = impls::Entry<leader_id_std::CommittedLeaderId<u32>, Payload>,
                AsyncRuntime = DeterministicRng<impls::TokioRuntime>,
                ErrorSource = quorate::AnyError,
            >,
    {
    }
    is_whole::<Whole>();
    let hashed = std::collections::HashSet::from([Whole {}, Whole::default()]);
    assert_eq!(hashed.len(), 1, "attributes of the type stay");
}

mod inside {
    quorate::declare_raft_types!(pub(super) Hidden: Node = (), NodeId = i64);
}

#[test]
fn a_type_config_is_as_visible_as_it_says() {
    fn has_no_nodes<C: RaftTypeConfig<Node = (), NodeId = i64, Term = u64>>() {}
    has_no_nodes::<inside::Hidden>();
}

// The crate with the procedural macros, under its names.
#[quorate::add_async_trait]
trait Ask {
    async fn ask(&self) -> u64;
}

impl Ask for u64 {
    async fn ask(&self) -> u64 {
        *self
    }
}

#[derive(Debug, PartialEq, quorate::macros::VariantName)]
enum Choice {
    Yes,
}

#[tokio::test]
async fn macros_are_reached_through_the_library() {
    assert_eq!(tokio::spawn(async { 7_u64.ask().await }).await.unwrap(), 7);
    assert_eq!((Choice::ALL, Choice::Yes.as_str()), ([Choice::Yes].as_slice(), "Yes"));
    quorate::openraft_macros::expand!(!KEYED, (NAME) => { let NAME = 1; }, (one));
    assert_eq!(one, 1);
}
