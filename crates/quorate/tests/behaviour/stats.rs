//! What a node counts of itself (feature `runtime-stats`).

use quorate::errors::Fatal;
use quorate::stats::CommandName;
use quorate::stats::ExternalCommandName;
use quorate::stats::NotificationName;
use quorate::stats::RaftMsgName;
use quorate::stats::SMCommandName;

use crate::cluster::Cluster;
use crate::cluster::config;
use crate::stores::Add;

#[tokio::test(start_paused = true)]
async fn a_leader_counts_its_work_and_every_entry_once_a_stage() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let before = leader.runtime_stats().await.unwrap();
    let mut last = 0;
    for _ in 0..10 {
        last = leader.client_write(Add(1)).await.unwrap().log_id.index;
    }
    leader.trigger().heartbeat().await.unwrap();
    cluster.applied(last).await;
    let after = leader.runtime_stats().await.unwrap();

    let command =
        |name: CommandName| after.command_counts[name.index()] - before.command_counts[name.index()];
    assert_eq!(command(CommandName::AppendEntries), 10, "ten writes one after the other are ten appends");
    assert_eq!(command(CommandName::StateMachine(SMCommandName::Apply)), 10);
    assert!(command(CommandName::Replicate) >= 20, "each goes to both followers");
    assert_eq!(command(CommandName::SaveVote), 0);
    let message =
        |name: RaftMsgName| after.raft_msg_counts[name.index()] - before.raft_msg_counts[name.index()];
    assert_eq!(message(RaftMsgName::ClientWrite), 10);
    assert_eq!(message(RaftMsgName::ExternalCommand(ExternalCommandName::Heartbeat)), 1);
    assert_eq!(message(RaftMsgName::AppendEntries), 0, "a leader is sent no entries");
    let told = |name: NotificationName| after.notification_counts[name.index()];
    assert!(told(NotificationName::ReplicationProgress) >= 20);

    assert_eq!(after.write_batch.total() - before.write_batch.total(), 10);
    assert_eq!(after.apply_batch.total() - before.apply_batch.total(), 10);
    assert!(after.replicate_batch.total() >= 20);
    assert_eq!(after.raft_msg_budget.total(), 0);

    // One sample an entry since the node started: entry 0 is the membership.
    for histogram in [
        &after.log_stage_histograms.proposed_to_received,
        &after.log_stage_histograms.submitted_to_persisted,
        &after.log_stage_histograms.proposed_to_applied,
    ] {
        assert_eq!(histogram.total(), last + 1);
    }
    let entries: u64 =
        after.log_stage.segments().map(|segment| segment.range.end - segment.range.start).sum();
    assert_eq!(entries, last + 1);
}

#[tokio::test(start_paused = true)]
async fn a_follower_counts_too() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1, 2, 3]).await;
    let last = leader.client_write(Add(1)).await.unwrap().log_id.index;
    cluster.applied(last).await;
    let follower = cluster.nodes.values().find(|node| !node.is_leader()).unwrap();
    let stats = follower.runtime_stats().await.unwrap();
    assert!(stats.raft_msg_counts[RaftMsgName::AppendEntries.index()] > 0);
    assert_eq!(stats.log_stage_histograms.proposed_to_applied.total(), last + 1);
    assert_eq!(stats.command_counts[CommandName::Replicate.index()], 0);
}

#[tokio::test(start_paused = true)]
async fn the_stats_are_shown_in_three_ways() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    leader.client_write(Add(1)).await.unwrap();
    let stats = leader.runtime_stats().await.unwrap();
    let compact = stats.display().to_string();
    assert!(!compact.contains('\n'), "{compact}");
    assert!(compact.contains("apply_batch: [samples: ") && compact.contains(" AppendEntries="), "{compact}");
    let multiline = stats.display().multiline().to_string();
    assert_eq!(multiline.lines().count(), 9, "{multiline}");
    let human = stats.display().human_readable().to_string();
    assert!(human.contains("\ncommands:\n  "), "{human}");
    assert!(!human.contains("replicate_batch"), "what was never counted is left out: {human}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_node_has_no_stats() {
    let mut cluster = Cluster::new(config());
    let leader = cluster.found([1]).await;
    leader.shutdown().await.unwrap();
    assert!(matches!(leader.runtime_stats().await, Err(Fatal::Stopped)));
}
