//! Waiting for metrics.

use std::sync::Arc;
use std::time::Duration;

use quorate::RaftMetrics;
use quorate::ServerState;
use quorate::metrics::Metric;
use quorate::metrics::SerdeInstant;
use quorate::metrics::Wait;
use quorate::metrics::WaitError;
use quorate::rt::WatchSender;
use quorate::type_config::TypeConfigExt;
use quorate::type_config::alias::WatchSenderOf;

use crate::types::*;

fn waiting(timeout: Option<Duration>) -> (WatchSenderOf<Adv, RaftMetrics<Adv>>, Wait<Adv>) {
    let (tx, rx) = Adv::watch_channel(RaftMetrics::new_initial(1));
    (tx, Wait { timeout, rx })
}

fn change(tx: &WatchSenderOf<Adv, RaftMetrics<Adv>>, f: impl FnOnce(&mut RaftMetrics<Adv>)) {
    tx.send_if_modified(|metrics| {
        f(metrics);
        true
    });
}

#[tokio::test(start_paused = true)]
async fn present_metrics_count() {
    let (tx, wait) = waiting(Some(Duration::from_secs(1)));
    change(&tx, |metrics| {
        metrics.last_log_index = Some(5);
        metrics.last_applied = Some(log_id(1, 2, 4));
        metrics.local_committed = Some(log_id(1, 2, 5));
        metrics.snapshot = Some(log_id(1, 2, 3));
        metrics.purged = Some(log_id(1, 2, 2));
        metrics.current_leader = Some(2);
        metrics.vote = committed_vote(1, 2);
        metrics.membership_config = Arc::new(stored_membership());
    });
    wait.log_index(Some(5), "").await.unwrap();
    wait.log_index_at_least(Some(3), "").await.unwrap();
    wait.applied_index(Some(4), "").await.unwrap();
    wait.applied_index_at_least(Some(4), "").await.unwrap();
    wait.committed_index(Some(5), "").await.unwrap();
    wait.committed_index_at_least(None, "").await.unwrap();
    wait.snapshot(log_id(1, 2, 3), "").await.unwrap();
    wait.purged(Some(log_id(1, 2, 2)), "").await.unwrap();
    wait.current_leader(2, "").await.unwrap();
    wait.vote(committed_vote(1, 2), "").await.unwrap();
    wait.state(ServerState::Learner, "").await.unwrap();
    wait.voter_ids([2, 1], "").await.unwrap();
    wait.ge(Metric::Vote(vote(1, 2)), "").await.unwrap();
    wait.eq(Metric::Term(0), "").await.unwrap();
    assert!(wait.applied_index(Some(3), "a later one is not equal").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn later_metrics_end_the_wait() {
    let (tx, wait) = waiting(None);
    let waiter = tokio::spawn(async move { wait.log_index_at_least(Some(2), "two entries").await });
    for index in 1..=3 {
        tokio::task::yield_now().await;
        change(&tx, |metrics| metrics.last_log_index = Some(index));
    }
    assert!(waiter.await.unwrap().unwrap().last_log_index >= Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_takes_too_long_says_what_for() {
    let (_tx, wait) = waiting(Some(Duration::from_millis(100)));
    let WaitError::Timeout(timeout, text) = wait.applied_index(Some(3), "three").await.unwrap_err() else {
        panic!("the node is not shut down");
    };
    assert_eq!(timeout, Duration::from_millis(100));
    assert!(text.starts_with("three .applied_index == 3 latest: Metrics{id:1, Learner,"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn each_wait_says_what_it_waits_for() {
    async fn text(wait: impl Future<Output = Result<RaftMetrics<Adv>, WaitError>>) -> String {
        let Err(WaitError::Timeout(_, text)) = wait.await else { panic!("nothing of it is there") };
        text.split(" latest: Metrics{id:1, ").next().unwrap().to_string()
    }
    let (_tx, wait) = waiting(Some(Duration::from_millis(1)));
    let id = log_id(1, 2, 3);
    assert_eq!(text(wait.metrics(|_| false, "m")).await, "m");
    assert_eq!(text(wait.vote(vote(1, 2), "m")).await, "m .vote == <T1-N2:->");
    assert_eq!(text(wait.current_leader(2, "m")).await, "m .current_leader == 2");
    assert_eq!(text(wait.log_index(Some(3), "m")).await, "m .last_log_index == 3");
    assert_eq!(text(wait.log_index_at_least(Some(3), "m")).await, "m .last_log_index >= 3");
    assert_eq!(text(wait.applied_index_at_least(Some(3), "m")).await, "m .applied_index >= 3");
    assert_eq!(text(wait.committed_index(Some(3), "m")).await, "m .committed_index == 3");
    assert_eq!(text(wait.committed_index_at_least(Some(3), "m")).await, "m .committed_index >= 3");
    assert_eq!(text(wait.state(ServerState::Leader, "m")).await, "m .state == Leader");
    assert_eq!(text(wait.voter_ids([2, 1], "m")).await, "m .voter_ids == {1, 2}");
    assert_eq!(text(wait.snapshot(id, "m")).await, "m .snapshot == T1-N2.3");
    assert_eq!(text(wait.purged(Some(id), "m")).await, "m .purged == T1-N2.3");
    assert_eq!(text(wait.leader_with_quorum_acked(None, "m")).await, "m .leader_with_quorum_acked >= None");
    assert_eq!(text(wait.ge(Metric::Term(1), "m")).await, "m .term >= 1");
    assert_eq!(text(wait.eq(Metric::Committed(Some(id)), "m")).await, "m .committed == T1-N2.3");
    assert_eq!(text(wait.ge(Metric::Applied(Some(id)), "m")).await, "m .applied >= T1-N2.3");
}

#[tokio::test(start_paused = true)]
#[expect(deprecated, reason = "kept for those who still use them")]
async fn former_waits_are_for_the_log_and_what_is_applied() {
    let (tx, wait) = waiting(Some(Duration::from_millis(1)));
    change(&tx, |metrics| {
        metrics.last_log_index = Some(5);
        metrics.membership_config = Arc::new(stored_membership());
    });
    assert!(wait.log(Some(5), "not applied").await.is_err());
    assert!(wait.log_at_least(Some(4), "not applied").await.is_err());
    change(&tx, |metrics| metrics.last_applied = Some(log_id(1, 2, 5)));
    wait.log(Some(5), "").await.unwrap();
    wait.log_at_least(Some(4), "").await.unwrap();
    assert!(wait.log(Some(4), "a later one is not equal").await.is_err());
    wait.members(ids([1, 2]), "").await.unwrap();
    assert!(wait.members(ids([1]), "too few").await.is_err());
}

#[test]
fn metrics_compare_with_each_of_their_numbers() {
    let id = |index| Some(log_id(1, 2, index));
    let metrics = RaftMetrics::<Adv> {
        current_term: 3,
        vote: committed_vote(3, 2),
        last_log_index: Some(9),
        local_committed: id(8),
        last_applied: id(7),
        snapshot: id(6),
        purged: id(5),
        ..RaftMetrics::new_initial(1)
    };
    let of: [fn(u64) -> Metric<Adv>; 8] = [
        |off| Metric::Term(2 + off),
        |off| Metric::Vote([committed_vote(2, 2), committed_vote(3, 2), committed_vote(3, 3)][off as usize]),
        |off| Metric::LastLogIndex(Some(8 + off)),
        |off| Metric::Committed(Some(log_id(1, 2, 7 + off))),
        |off| Metric::Applied(Some(log_id(1, 2, 6 + off))),
        |off| Metric::AppliedIndex(Some(6 + off)),
        |off| Metric::Snapshot(Some(log_id(1, 2, 5 + off))),
        |off| Metric::Purged(Some(log_id(1, 2, 4 + off))),
    ];
    for metric in of {
        assert!(metrics > metric(0) && metrics != metric(0), "{:?}", metric(0));
        assert!(metrics == metric(1) && metrics >= metric(1), "{:?}", metric(1));
        assert!(metrics < metric(2), "{:?}", metric(2));
    }
    assert!(metrics > Metric::Applied(None) && metrics > Metric::LastLogIndex(None));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_shuts_down_ends_the_wait() {
    let (tx, wait) = waiting(None);
    drop(tx);
    assert_eq!(wait.log_index(Some(1), "").await, Err(WaitError::ShuttingDown));
    wait.log_index(None, "what it said last still counts").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_has_heard_from_a_quorum() {
    let (tx, wait) = waiting(Some(Duration::from_millis(100)));
    let start = Adv::now();
    change(&tx, |metrics| metrics.state = ServerState::Leader);
    assert!(wait.leader_with_quorum_acked(None, "never heard").await.is_err());
    change(&tx, |metrics| metrics.last_quorum_acked = Some(SerdeInstant::new(start)));
    wait.leader_with_quorum_acked(None, "").await.unwrap();
    wait.leader_with_quorum_acked(Some(start), "").await.unwrap();
    let later = start + Duration::from_nanos(1);
    assert!(wait.leader_with_quorum_acked(Some(later), "heard too early").await.is_err());
}

#[test]
fn a_recorder_hears_what_there_is() {
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<String>>);

    macro_rules! record {
        ($($name:ident($($arg:ident: $type:ty)?)),* $(,)?) => {
            impl quorate::metrics::MetricsRecorder for Heard {
                $(fn $name(&self $(, $arg: $type)?) {
                    let heard = concat!(stringify!($name), " ").to_string() $(+ &$arg.to_string())?;
                    self.0.lock().unwrap().push(heard);
                })*
            }
        };
    }
    record!(
        record_apply_batch(n: u64),
        record_append_batch(n: u64),
        record_write_batch(n: u64),
        set_current_term(n: u64),
        set_last_log_index(n: u64),
        set_committed_index(n: u64),
        set_applied_index(n: u64),
        set_snapshot_index(n: u64),
        set_purged_index(n: u64),
        set_server_state(n: u8),
        increment_vote(),
        increment_heartbeat(),
        increment_append(),
    );

    let metrics = RaftMetrics::<Adv> {
        current_term: 7,
        local_committed: Some(log_id(1, 2, 3)),
        state: ServerState::Leader,
        ..RaftMetrics::new_initial(1)
    };
    let heard = Heard::default();
    quorate::metrics::forward_metrics(&metrics, &heard);
    assert_eq!(
        *heard.0.lock().unwrap(),
        ["set_current_term 7", "set_committed_index 3", "set_server_state 3"]
    );
}
