//! `declare_raft_types!`.

/// Declares a type config: a type that names the types of an application.
///
/// Whatever is not named is what most applications use:
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
    // A default, unless its name is among those given.
    (@default D [D $($given:ident)*] $type:ty) => {};
    (@default R [R $($given:ident)*] $type:ty) => {};
    (@default NodeId [NodeId $($given:ident)*] $type:ty) => {};
    (@default Node [Node $($given:ident)*] $type:ty) => {};
    (@default Term [Term $($given:ident)*] $type:ty) => {};
    (@default LeaderId [LeaderId $($given:ident)*] $type:ty) => {};
    (@default Vote [Vote $($given:ident)*] $type:ty) => {};
    (@default Payload [Payload $($given:ident)*] $type:ty) => {};
    (@default Entry [Entry $($given:ident)*] $type:ty) => {};
    (@default AsyncRuntime [AsyncRuntime $($given:ident)*] $type:ty) => {};
    (@default ErrorSource [ErrorSource $($given:ident)*] $type:ty) => {};
    (@default $name:ident [$other:ident $($given:ident)*] $type:ty) => {
        $crate::declare_raft_types!(@default $name [$($given)*] $type);
    };
    (@default $name:ident [] $type:ty) => {
        type $name = $type;
    };

    (
        $(#[$outer:meta])* $vis:vis $config:ident
        $(: $( $(#[$inner:meta])* $name:ident = $type:ty ),* $(,)? )?
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
        $vis struct $config {}

        impl $crate::RaftTypeConfig for $config {
            $($( $(#[$inner])* type $name = $type; )*)?

            $crate::declare_raft_types!(@default D [$($($name)*)?] ::std::string::String);
            $crate::declare_raft_types!(@default R [$($($name)*)?] ::std::string::String);
            $crate::declare_raft_types!(@default NodeId [$($($name)*)?] u64);
            $crate::declare_raft_types!(@default Node [$($($name)*)?] $crate::impls::BasicNode);
            $crate::declare_raft_types!(@default Term [$($($name)*)?] u64);
            $crate::declare_raft_types!(@default LeaderId [$($($name)*)?]
                $crate::impls::leader_id_adv::LeaderId<Self::Term, Self::NodeId>);
            $crate::declare_raft_types!(@default Vote [$($($name)*)?] $crate::impls::Vote<Self::LeaderId>);
            $crate::declare_raft_types!(@default Payload [$($($name)*)?]
                $crate::impls::EntryPayload<Self::D, Self::NodeId, Self::Node>);
            $crate::declare_raft_types!(@default Entry [$($($name)*)?]
                $crate::impls::Entry<<Self::LeaderId as $crate::vote::RaftLeaderId>::Committed, Self::Payload>);
            $crate::declare_raft_types!(@default AsyncRuntime [$($($name)*)?] $crate::impls::TokioRuntime);
            $crate::declare_raft_types!(@default ErrorSource [$($($name)*)?] $crate::impls::BoxedErrorSource);

            type Responder<T> = $crate::impls::ProgressResponder<Self, T>
            where T: $crate::OptionalSend + 'static;
            type Batch<T> = $crate::impls::InlineBatch<T>
            where T: $crate::OptionalSend + 'static;
        }
    };
}
