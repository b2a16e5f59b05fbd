//! Encodings, to the letter and mostly as JSON: stores hold them and other versions send them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use quorate::BasicNode;
use quorate::ChangeMembers;
use quorate::Config;
use quorate::EmptyNode;
use quorate::Instant;
use quorate::RPCTypes;
use quorate::RaftMetrics;
use quorate::SnapshotMeta;
use quorate::entry::RaftEntry;
use quorate::errors::*;
use quorate::metrics::SerdeInstant;
use quorate::raft::*;
use quorate::storage::SnapshotSignature;
use quorate::type_config::TypeConfigExt;
use quorate::type_config::alias::EntryOf;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::SnapshotMetaOf;
use quorate::type_config::alias::VoteOf;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::*;

/// It is written as `json`, and read back the same.
fn same<T: Serialize + DeserializeOwned + Debug>(value: T, json: &str) {
    assert_eq!(serde_json::to_string(&value).unwrap(), json);
    let back: T = serde_json::from_str(json).unwrap();
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
}

const LOG_ID: &str = r#"{"leader_id":{"term":1,"node_id":2},"index":3}"#;
const VOTE: &str = r#"{"leader_id":{"term":1,"node_id":2},"committed":false}"#;

#[test]
fn ids_and_votes() {
    same(log_id(1, 2, 3), LOG_ID);
    same(LogIdOf::<Std>::new_term_index(1, 3), r#"{"leader_id":1,"index":3}"#);
    same(vote(1, 2), VOTE);
    same(VoteOf::<Std>::new(1, 2), r#"{"leader_id":{"term":1,"voted_for":2},"committed":false}"#);
    let null = r#"{"leader_id":{"term":1,"voted_for":null},"committed":false}"#;
    let error = serde_json::from_str::<VoteOf<Std>>(null).unwrap_err();
    assert!(error.to_string().starts_with("LeaderId.voted_for must not be null"));
}

#[test]
fn entries() {
    type Entry = EntryOf<Adv>;
    same(Entry::new_blank(log_id(1, 2, 3)), &format!(r#"{{"log_id":{LOG_ID},"payload":"Blank"}}"#));
    same(
        Entry::new_normal(log_id(1, 2, 3), "x".into()),
        &format!(r#"{{"log_id":{LOG_ID},"payload":{{"Normal":"x"}}}}"#),
    );
    same(
        Entry::new_membership(log_id(1, 2, 3), membership()),
        &format!(r#"{{"log_id":{LOG_ID},"payload":{{"Membership":{MEMBERSHIP}}}}}"#),
    );
}

const MEMBERSHIP: &str =
    r#"{"configs":[[1,2],[2]],"nodes":{"1":{"addr":"a"},"2":{"addr":"b"},"4":{"addr":"d"}}}"#;

#[test]
fn memberships() {
    same(membership(), MEMBERSHIP);
    same(stored_membership(), &format!(r#"{{"log_id":{LOG_ID},"membership":{MEMBERSHIP}}}"#));
    same(ChangeMembers::<u64, BasicNode>::from([1, 2]), r#"{"ReplaceAllVoters":[1,2]}"#);
    let add = ChangeMembers::AddNodes(BTreeMap::from([(1, node("a"))]));
    same(add, r#"{"AddNodes":{"1":{"addr":"a"}}}"#);
    same(EmptyNode::new(), "{}");
}

#[test]
fn snapshots_keep_a_place_for_their_former_name() {
    let meta: SnapshotMetaOf<Adv> =
        SnapshotMeta { last_log_id: Some(log_id(1, 2, 3)), last_membership: stored_membership() };
    let stored = format!(r#"{{"log_id":{LOG_ID},"membership":{MEMBERSHIP}}}"#);
    same(meta.clone(), &format!(r#"{{"last_log_id":{LOG_ID},"last_membership":{stored},"snapshot_id":""}}"#));
    let named = format!(r#"{{"last_log_id":{LOG_ID},"last_membership":{stored},"snapshot_id":"a-1"}}"#);
    assert_eq!(serde_json::from_str::<SnapshotMetaOf<Adv>>(&named).unwrap(), meta);
    let unnamed = format!(r#"{{"last_log_id":{LOG_ID},"last_membership":{stored}}}"#);
    assert_eq!(serde_json::from_str::<SnapshotMetaOf<Adv>>(&unnamed).unwrap(), meta);
    let signature: SnapshotSignature<_> = meta.signature();
    same(
        signature,
        &format!(r#"{{"last_log_id":{LOG_ID},"last_membership_log_id":{LOG_ID},"snapshot_id":""}}"#),
    );
}

#[test]
fn formats_without_field_names_keep_the_same_places() {
    let meta: SnapshotMetaOf<Adv> =
        SnapshotMeta { last_log_id: Some(log_id(1, 2, 3)), last_membership: Default::default() };
    let bytes = postcard::to_stdvec(&meta).unwrap();
    assert_eq!(bytes, [1, 1, 2, 3, 0, 0, 0, 0], "an entry, no membership, an empty name");
    assert_eq!(postcard::from_bytes::<SnapshotMetaOf<Adv>>(&bytes).unwrap(), meta);
    let vote = VoteOf::<Std>::new(1, 2);
    let bytes = postcard::to_stdvec(&vote).unwrap();
    assert_eq!(bytes, [1, 1, 2, 0], "the node as if it were optional");
    assert_eq!(postcard::from_bytes::<VoteOf<Std>>(&bytes).unwrap(), vote);
}

#[test]
fn messages() {
    type Response = AppendEntriesResponse<Adv>;
    same(Response::Success, r#""Success""#);
    same(Response::PartialSuccess(Some(log_id(1, 2, 3))), &format!(r#"{{"PartialSuccess":{LOG_ID}}}"#));
    same(Response::Conflict, r#""Conflict""#);
    same(Response::HigherVote(vote(1, 2)), &format!(r#"{{"HigherVote":{VOTE}}}"#));
    same(
        AppendEntriesRequest::<Adv> {
            vote: vote(1, 2),
            prev_log_id: None,
            entries: vec![],
            leader_commit: Some(log_id(1, 2, 3)),
        },
        &format!(r#"{{"vote":{VOTE},"prev_log_id":null,"entries":[],"leader_commit":{LOG_ID}}}"#),
    );
    let request = VoteRequest::<Adv>::new(vote(1, 2), None);
    same(request.clone(), &format!(r#"{{"vote":{VOTE},"last_log_id":null,"leadership_transfer":false}}"#));
    let old = format!(r#"{{"vote":{VOTE},"last_log_id":null}}"#);
    assert_eq!(serde_json::from_str::<VoteRequest<Adv>>(&old).unwrap(), request);
    same(
        VoteResponse::<Adv>::new(vote(1, 2), None, true),
        &format!(r#"{{"vote":{VOTE},"vote_granted":true,"last_log_id":null}}"#),
    );
    same(
        TransferLeaderRequest::<Adv>::new(vote(1, 2), 3, None),
        &format!(r#"{{"from_leader":{VOTE},"to_node_id":3,"last_log_id":null}}"#),
    );
    same(
        ClientWriteResponse::<Adv> { log_id: log_id(1, 2, 3), data: "x".into(), membership: None },
        &format!(r#"{{"log_id":{LOG_ID},"data":"x","membership":null}}"#),
    );
}

#[test]
fn errors() {
    let forward = ForwardToLeader::<Adv>::new(1, node("a"));
    same(
        RaftError::<Adv, ClientWriteError<Adv>>::APIError(forward.into()),
        r#"{"APIError":{"ForwardToLeader":{"leader_id":1,"leader_node":{"addr":"a"},"reason":"NotLeader"}}}"#,
    );
    let old = r#"{"leader_id":1,"leader_node":{"addr":"a"}}"#;
    assert_eq!(
        serde_json::from_str::<ForwardToLeader<Adv>>(old).unwrap(),
        ForwardToLeader::new(1, node("a"))
    );
    same(RaftError::<Adv>::Fatal(Fatal::Stopped), r#"{"Fatal":"Stopped"}"#);
    let timeout = Timeout { action: RPCTypes::Vote, id: 1, target: 2, timeout: Duration::from_millis(10) };
    same(
        RPCError::<Adv>::Timeout(timeout),
        r#"{"Timeout":{"action":"Vote","id":1,"target":2,"timeout":{"secs":0,"nanos":10000000}}}"#,
    );
    same(
        RemoteError::<Adv, _>::new(3, Fatal::<Adv>::Stopped),
        r#"{"target":3,"target_node":null,"source":"Stopped"}"#,
    );
    let source = r#"{"inner":{"typ":null,"msg":"foo","source":null,"context":[],"backtrace":null}}"#;
    same(Unreachable::<Adv>::from_string("foo"), &format!(r#"{{"source":{source}}}"#));
    same(
        quorate::StorageError::<Adv>::read_logs(BoxedErrorSource::from_string("foo")),
        &format!(r#"{{"subject":"Logs","verb":"Read","source":{source}}}"#),
    );
}

#[test]
fn metrics() {
    let json = serde_json::to_string(&RaftMetrics::<Adv>::new_initial(1)).unwrap();
    let empty = r#"{"log_id":null,"membership":{"configs":[],"nodes":{}}}"#;
    let expected = format!(
        concat!(
            r#"{{"running_state":{{"Ok":null}},"id":1,"current_term":0,"#,
            r#""vote":{{"leader_id":{{"term":0,"node_id":1}},"committed":false}},"last_log_index":null,"#,
            r#""local_committed":null,"cluster_committed":null,"committed":null,"last_applied":null,"#,
            r#""snapshot":null,"purged":null,"state":"Learner","current_leader":null,"#,
            r#""millis_since_quorum_ack":null,"last_quorum_acked":null,"membership_config":{empty},"#,
            r#""committed_membership_config":{empty},"heartbeat":null,"replication":null}}"#
        ),
        empty = empty
    );
    assert_eq!(json, expected);
    let back: RaftMetrics<Adv> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, RaftMetrics::new_initial(1));
}

#[tokio::test(start_paused = true)]
async fn points_in_time_are_nanoseconds_since_1970() {
    let instant = SerdeInstant::new(Adv::now());
    let nanos: u64 = serde_json::to_string(&instant).unwrap().parse().unwrap();
    assert!(nanos > 1_600_000_000_000_000_000);
    let back: SerdeInstant<quorate::TokioInstant> = serde_json::from_str(&nanos.to_string()).unwrap();
    let apart = back.saturating_duration_since(*instant).max(instant.saturating_duration_since(*back));
    assert!(apart < Duration::from_secs(60));
    // As far off as can be sent, and still no panic.
    for nanos in [0, u64::MAX] {
        let told: SerdeInstant<quorate::TokioInstant> = serde_json::from_str(&nanos.to_string()).unwrap();
        serde_json::to_string(&told).expect("whenever it was, it can be told");
    }
}

#[test]
fn configs() {
    let config = Config::default();
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(json["snapshot_policy"]["LogsSinceLast"], 5000);
    assert_eq!(json["removed_leader_step_down"]["After"], 150);
    let mut without = json.clone();
    for field in ["removed_leader_step_down", "quorum_loss_probe_interval", "enable_pre_vote"] {
        without.as_object_mut().unwrap().remove(field);
    }
    let back: Config = serde_json::from_value(without).unwrap();
    assert_eq!(format!("{back:?}"), format!("{config:?}"));
    let mut without = json;
    without.as_object_mut().unwrap().remove("heartbeat_interval");
    assert!(serde_json::from_value::<Config>(without).is_err());
}
