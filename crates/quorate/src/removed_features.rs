//! Features that are gone: switched on, each says what to do instead.

#[cfg(feature = "single-term-leader")]
compile_error!(
    "the feature `single-term-leader` is gone, since one leader per term is a matter of types now: \
     turn it off, and say `LeaderId = quorate::impls::leader_id_std::LeaderId<u64, u64>` in `declare_raft_types!`"
);

#[cfg(feature = "adapt-network-v1")]
compile_error!(
    "the feature `adapt-network-v1` is gone: turn it off, depend on `quorate-legacy`, implement its \
     `network_v1::RaftNetwork`, and let `into_v2()` make the network that the library asks for"
);

#[cfg(feature = "singlethreaded")]
compile_error!("the feature `singlethreaded` is called `single-threaded`: turn that one on instead");

#[cfg(feature = "loosen-follower-log-revert")]
compile_error!(
    "the feature `loosen-follower-log-revert` is gone: turn it off, and set `Config::allow_log_reversion` to \
     `Some(true)` on the nodes of a test that wipes its followers"
);
