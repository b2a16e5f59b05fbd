//! Metrics in the text format of Prometheus: the node's gauges, read when asked, and what the process has counted.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use quorate_node::{MemberStatus, Members, Role, Status};

use super::App;

pub(super) async fn render(State(app): State<App>) -> impl IntoResponse {
    let (keys, revision) = app.node.read_stale(|machine| (machine.len() as u64, machine.revision()));
    let mut text = app.metrics.as_ref().map(|metrics| metrics.render()).unwrap_or_default();
    text.push_str(&gauges(&app.node.status(), &app.node.members(), keys, revision));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

fn gauges(status: &Status, members: &Members, keys: u64, revision: u64) -> String {
    let leads = status.role == Role::Leader;
    let mut text = String::new();
    for (name, help, value) in [
        ("term", "The highest term seen.", Some(status.term)),
        ("leader", "The id of the known leader; 0 if none is known.", Some(status.leader.unwrap_or(0))),
        ("is_leader", "1 on the leader.", Some(leads.into())),
        ("up", "1 while the node runs.", Some(status.stopped.is_none().into())),
        ("last_log_index", "The index of the last log entry.", status.last_log),
        ("committed_index", "The index up to which the log is known to be committed.", status.committed),
        ("applied_index", "The index up to which the state machine has applied.", status.applied),
        ("snapshot_index", "The index that the newest snapshot covers.", status.snapshot),
        ("purged_index", "The index up to which the log was purged.", status.purged),
        ("quorum_ack_age_ms", "On the leader: milliseconds since a quorum answered.", status.quorum_ack_ms),
        ("proposals_in_flight", "Proposals that wait for their answer.", Some(status.in_flight as u64)),
        ("proposals_in_flight_bytes", "The bytes of those proposals.", Some(status.in_flight_bytes as u64)),
        (
            "warnings",
            "Things that an operator should look at; see the status.",
            Some(status.warnings.len() as u64),
        ),
        ("keys", "Keys in the state machine.", Some(keys)),
        ("revision", "The revision of the state machine.", Some(revision)),
    ] {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "# HELP quorate_{name} {help}\n# TYPE quorate_{name} gauge\nquorate_{name} {value}\n"
            );
        }
    }
    if leads {
        peer_gauge(&mut text, "peer_lag_entries", "Log entries that a member lacks.", members, |peer| {
            peer.lag
        });
        let help = "Milliseconds since a member last answered.";
        peer_gauge(&mut text, "peer_last_contact_ms", help, members, |peer| peer.last_contact_ms);
    }
    text
}

fn peer_gauge(
    text: &mut String,
    name: &str,
    help: &str,
    members: &Members,
    value: impl Fn(&MemberStatus) -> Option<u64>,
) {
    let _ = write!(text, "# HELP quorate_{name} {help}\n# TYPE quorate_{name} gauge\n");
    for peer in &members.members {
        if let Some(value) = value(peer) {
            let _ = writeln!(text, "quorate_{name}{{peer=\"{}\"}} {value}", peer.id);
        }
    }
}
