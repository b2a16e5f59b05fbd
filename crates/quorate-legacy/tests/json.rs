//! How the messages are written, as openraft 0.9 wrote and read them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use openraft::Membership;
use openraft::StoredMembership;
use openraft::Vote;
use openraft::log_id::LogId;
use openraft::type_config::alias::LeaderIdOf;
use openraft::vote::RaftLeaderId;
use openraft_memstore::TypeConfig;
use quorate_legacy::network_v1::InstallSnapshotError;
use quorate_legacy::network_v1::InstallSnapshotRequest;
use quorate_legacy::network_v1::InstallSnapshotResponse;
use quorate_legacy::network_v1::SnapshotMeta;
use quorate_legacy::network_v1::SnapshotMismatch;
use serde_json::json;

#[test]
fn messages_in_json() {
    let last = LogId::new(LeaderIdOf::<TypeConfig>::new(5, 1).to_committed(), 9);
    let members = Membership::new_with_defaults(vec![[1].into()], []);
    let request = InstallSnapshotRequest::<TypeConfig> {
        vote: Vote::new_committed(5, 1),
        meta: SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(last), members),
            snapshot_id: "9-1-1".to_string(),
        },
        offset: 4,
        data: vec![1, 2],
        done: false,
    };
    assert_eq!(
        request.to_string(),
        "InstallSnapshotRequest { vote:<T5-N1:Q>, meta:{snapshot_id: 9-1-1, last_log:T5-N1.9, \
         last_membership: {log_id:T5-N1.9, {voters:[{1:()}], learners:[]}}}, offset:4, len:2, done:false }"
    );
    let log_id = json!({"leader_id": {"term": 5, "node_id": 1}, "index": 9});
    let written = serde_json::to_value(&request).unwrap();
    assert_eq!(
        written,
        json!({
            "vote": {"leader_id": {"term": 5, "node_id": 1}, "committed": true},
            "meta": {
                "last_log_id": log_id,
                "last_membership": {
                    "log_id": log_id,
                    "membership": {"configs": [[1]], "nodes": {"1": null}},
                },
                "snapshot_id": "9-1-1",
            },
            "offset": 4,
            "data": [1, 2],
            "done": false,
        })
    );
    assert_eq!(serde_json::from_value::<InstallSnapshotRequest<TypeConfig>>(written).unwrap(), request);

    let response = InstallSnapshotResponse::<TypeConfig> { vote: Vote::new(5, 1) };
    assert_eq!(response.to_string(), "{vote:<T5-N1:->}");
    let mismatch = SnapshotMismatch { expect: ("a", 0).into(), got: ("a", 2).into() };
    assert_eq!(
        serde_json::to_value(InstallSnapshotError::from(mismatch)).unwrap(),
        json!({"SnapshotMismatch": {"expect": {"id": "a", "offset": 0}, "got": {"id": "a", "offset": 2}}})
    );
}
