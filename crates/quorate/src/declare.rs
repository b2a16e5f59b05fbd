//! `declare_raft_types!`.

/// Declares a type config: a type that names the types of an application.
///
/// After the name come the types that are the application's own, in any order and with attributes if need be; one may
/// be made of others, as `Self::NodeId`. If one is named twice, the first counts. Whatever is not named is what most
/// applications use:
///
/// | name | unless named |
/// |---|---|
/// | `D`, `R` | `String` |
/// | `NodeId`, `Term` | `u64` |
/// | `Node` | [`impls::BasicNode`](crate::impls::BasicNode) |
/// | `LeaderId` | [`impls::leader_id_adv::LeaderId`](crate::impls::leader_id_adv::LeaderId) |
/// | `Vote` | [`impls::Vote`](crate::impls::Vote) |
/// | `Payload` | [`impls::EntryPayload`](crate::impls::EntryPayload) |
/// | `Entry` | [`impls::Entry`](crate::impls::Entry) |
/// | `AsyncRuntime` | `impls::TokioRuntime` (feature `tokio-rt`) |
/// | `ErrorSource` | [`impls::BoxedErrorSource`](crate::impls::BoxedErrorSource) |
///
/// Responders are [`impls::ProgressResponder`](crate::impls::ProgressResponder) and batches
/// [`impls::InlineBatch`](crate::impls::InlineBatch); to choose others, implement
/// [`RaftTypeConfig`](crate::RaftTypeConfig) by hand.
///
#[cfg_attr(feature = "tokio-rt", doc = "```")]
#[cfg_attr(not(feature = "tokio-rt"), doc = "```text")]
/// quorate::declare_raft_types!(
///     /// Counts.
///     pub Counter:
///         D = u64,
///         R = u64,
///         NodeId = u32,
/// );
/// ```
#[macro_export]
macro_rules! declare_raft_types {
    (
        $(#[$outer:meta])* $vis:vis $config:ident
        $(: $( $(#[$inner:meta])* $name:ident = $type:ty ),* $(,)? )?
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
        $vis struct $config {}

        impl $crate::RaftTypeConfig for $config {
            // The first of a name counts, so those that were given come before the usual ones.
            $crate::macros::expand!(
                KEYED,
                (NAME, ATTRIBUTES, TYPE) => { ATTRIBUTES type NAME = TYPE; },
                $($( ($name, $(#[$inner])*, $type), )*)?
                (D, , ::std::string::String),
                (R, , ::std::string::String),
                (NodeId, , u64),
                (Node, , $crate::impls::BasicNode),
                (Term, , u64),
                (LeaderId, , $crate::impls::leader_id_adv::LeaderId<Self::Term, Self::NodeId>),
                (Vote, , $crate::impls::Vote<Self::LeaderId>),
                (Payload, , $crate::impls::EntryPayload<Self::D, Self::NodeId, Self::Node>),
                (Entry, , $crate::impls::Entry<
                    <Self::LeaderId as $crate::vote::RaftLeaderId>::Committed,
                    Self::Payload,
                >),
                (AsyncRuntime, , $crate::impls::TokioRuntime),
                (ErrorSource, , $crate::impls::BoxedErrorSource),
            );

            type Responder<T> = $crate::impls::ProgressResponder<Self, T>
            where T: $crate::OptionalSend + 'static;
            type Batch<T> = $crate::impls::InlineBatch<T>
            where T: $crate::OptionalSend + 'static;
        }
    };
}
