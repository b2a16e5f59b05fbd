//! What `cargo xtask contract --write` leaves out, as the lists do not say enough; each file it writes ends with what.

use std::pin::Pin;

use openraft::entry::{RaftEntry, RaftPayload};
use openraft::log_id::LogId;
use openraft::vote::RaftCommittedLeaderId;
use openraft::{Entry, Membership};

/// A hidden bound keeps anyone from writing these anew, so they are called on a type that has them.
fn final_methods<L: RaftCommittedLeaderId, P: RaftPayload>(
    id: LogId<L>,
    data: P::D,
    membership: Membership<P::NodeId, P::Node>,
) {
    let blank: Entry<L, P> = RaftEntry::new_blank(id.clone());
    let _: Entry<L, P> = RaftEntry::new_normal(id.clone(), data);
    let _: Entry<L, P> = RaftEntry::new_membership(id, membership);
    let _: u64 = RaftEntry::index(&blank);
    let _: LogId<L> = RaftEntry::log_id(&blank);
}

fn random<RT: openraft_rt::AsyncRuntime>() -> impl rand::Rng {
    RT::thread_rng()
}

fn pinned_loosely<T: 'static, F: Unpin>(
    future: Pin<&mut openraft_rt::task_local::TaskLocalFuture<T, F>>,
) -> &mut openraft_rt::task_local::TaskLocalFuture<T, F> {
    future.get_mut()
}

fn any_data<T>(_: T)
where
    // With serde, what serde can write and read.
    T: openraft::OptionalSerde,
{
}

/// Its bounds are private in the list.
#[cfg(feature = "all-features")]
fn values<B, V, const N: usize>(range: openraft::stats::RangeValues<B, V, N>) {
    let (_, _): (std::ops::Range<B>, [V; N]) = (range.range, range.values);
}

/// Parameters that have a default, which lists do not show.
mod defaults {
    use openraft::RaftTypeConfig;
    use openraft::base::{BoxAsyncOnceMut, BoxFuture, BoxMaybeAsyncOnceMut, BoxOnce};
    use openraft::errors::{Infallible, RPCError, RaftError};
    use openraft::storage::{RaftLogStorage, RaftStateMachine};
    use openraft::testing::log::StoreBuilder;

    macro_rules! same {
        ($($name:ident<$($param:ident),*>: $left:ty, $right:ty;)*) => {$(
            fn $name<$($param: RaftTypeConfig),*>(value: $left) -> $right {
                value
            }
        )*};
    }

    same! {
        raft_error<C>: RaftError<C>, RaftError<C, Infallible>;
        rpc_error<C>: RPCError<C>, RPCError<C, Infallible>;
        future<>: BoxFuture<'static>, BoxFuture<'static, ()>;
        async_once<C>: BoxAsyncOnceMut<'static, C>, BoxAsyncOnceMut<'static, C, ()>;
        maybe_async_once<C>: BoxMaybeAsyncOnceMut<'static, C>, BoxMaybeAsyncOnceMut<'static, C, ()>;
        once<C>: BoxOnce<'static, C>, BoxOnce<'static, C, ()>;
    }

    fn store<C, LS, SM>(builder: impl StoreBuilder<C, LS, SM>) -> impl StoreBuilder<C, LS, SM, ()>
    where
        C: RaftTypeConfig,
        LS: RaftLogStorage<C>,
        SM: RaftStateMachine<C>,
    {
        builder
    }
}
