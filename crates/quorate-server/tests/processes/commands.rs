//! What scripts use of the commands: JSON, standard input, the codes to exit with.

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::cluster::{Cluster, LONG, Server, quorate, stderr};

fn command(server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(["--server", &server.client_addr]).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a command with bytes on its standard input.
async fn fed(server: &Server, args: &[&str], input: Vec<u8>) -> Output {
    let mut child = command(server, args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        // Who has read enough may close it.
        let _ = stdin.write_all(&input).await;
    });
    let output = tokio::time::timeout(LONG, child.wait_with_output()).await.expect("it goes on").unwrap();
    feed.await.unwrap();
    output
}

async fn json(server: &Server, args: &[&str]) -> Value {
    serde_json::from_str(&server.ok(&[args, &["--json"]].concat()).await).unwrap()
}

#[tokio::test]
async fn a_value_comes_from_standard_input_up_to_its_limit() {
    let cluster = Cluster::of(1).await;
    let server = &cluster.servers[0];
    let written = fed(server, &["put", "k", "-"], b"from a file\n".to_vec()).await;
    assert!(written.status.success(), "{}", stderr(&written));
    assert_eq!(server.ok(&["get", "k"]).await, "from a file\n");
    let refused = fed(server, &["put", "k", "-", "--json"], vec![b'x'; 4 << 20]).await;
    assert_eq!(refused.status.code(), Some(1));
    let error: Value = serde_json::from_str(&stderr(&refused)).unwrap();
    assert_eq!((&error["code"], &error["exit"]), (&"too_large".into(), &1.into()), "{error}");
    assert_eq!(server.ok(&["get", "k"]).await, "from a file\n");
}

#[tokio::test]
async fn every_answer_is_there_as_json() {
    let cluster = Cluster::of(1).await;
    let server = &cluster.servers[0];
    let first = json(server, &["put", "k", "one"]).await["revision"].clone();
    let second = json(server, &["cas", "k", "two", "--expect", "one"]).await["revision"].clone();
    assert!(second.as_u64() > first.as_u64());
    let pair = json(server, &["range", "k"]).await;
    assert_eq!((&pair["key"], &pair["revision"]), (&"k".into(), &second));
    assert!(json(server, &["snapshot"]).await["index"].as_u64() >= second.as_u64());
    assert_eq!(json(server, &["delete", "k"]).await["previous"], second);
    let gone = server.fails(4, &["delete", "k", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&gone).unwrap()["code"], "not_found", "{gone}");
    let status = json(server, &["status"]).await;
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(1), "{status}");
}

#[tokio::test]
async fn a_range_of_many_pages_is_printed_whole() {
    let cluster = Cluster::of(1).await;
    let server = &cluster.servers[0];
    let value = "x".repeat(200 * 1024);
    for number in 0..12 {
        cluster.put(&format!("page/{number:02}"), &value).await;
    }
    let printed = server.ok(&["range", "page/"]).await;
    let keys: Vec<&str> = printed.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(keys.len(), 12);
    assert!(keys.is_sorted() && keys[11] == "page/11", "{keys:?}");
    assert_eq!(server.ok(&["range", "page/", "--limit", "7"]).await.lines().count(), 7);
}

#[tokio::test]
async fn a_watch_prints_what_changes_from_a_revision_on() {
    let cluster = Cluster::of(1).await;
    let server = &cluster.servers[0];
    server.ok(&["put", "k", "one"]).await;
    server.ok(&["put", "other", "x"]).await;
    server.ok(&["delete", "k"]).await;
    for (args, lines) in [
        (vec!["watch", "k", "--after", "0"], ["put\tk\tone", "delete\tk"]),
        (vec!["watch", "k", "--after", "0", "--json"], ["\"put\"", "\"delete\""]),
    ] {
        let mut watch = command(server, &args).spawn().unwrap();
        let mut printed = BufReader::new(watch.stdout.take().unwrap()).lines();
        for expected in lines {
            let line = tokio::time::timeout(LONG, printed.next_line()).await.unwrap().unwrap().unwrap();
            assert!(line.contains(expected), "{line}");
        }
        watch.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_node_joins_as_a_voter_by_one_command() {
    let mut cluster = Cluster::of(1).await;
    let member = cluster.servers[0].peer_addr.clone();
    let said = cluster.fresh(2).await.ok(&["join", &member, "--voter"]).await;
    assert_eq!(said.trim_end(), "node 2 joined as a voter");
    assert_eq!(cluster.voters().await, [1, 2]);
}

#[tokio::test]
async fn a_bench_reports_what_was_acknowledged() {
    let cluster = Cluster::of(1).await;
    let server = &cluster.servers[0];
    let short = ["bench", "--seconds", "1", "--clients", "2", "--keys", "3", "--value-size", "10"];
    let report = json(server, &short).await;
    assert!(report["acknowledged"].as_u64() > Some(0), "{report}");
    assert!(report["p50_us"].as_u64() <= report["max_us"].as_u64(), "{report}");
    let pairs = server.ok(&["range", "bench/", "--json"]).await;
    let keys: Vec<Value> =
        pairs.lines().map(|pair| serde_json::from_str::<Value>(pair).unwrap()["key"].clone()).collect();
    assert_eq!(keys, ["bench/00000000", "bench/00000001", "bench/00000002"], "{pairs}");
    let text = server.ok(&short).await;
    assert!(text.contains("puts of 10 bytes acknowledged") && text.contains("p99.9"), "{text}");
}

#[tokio::test]
async fn nobody_there_is_a_code_of_its_own() {
    let server = Server::new(1, std::path::PathBuf::new());
    for args in [&["get", "k"][..], &["watch"], &["bench", "--seconds", "1"]] {
        let output = quorate(&[&["--server", &server.client_addr, "--timeout", "1"], args].concat()).await;
        assert_eq!(output.status.code(), Some(7), "{args:?}: {}", stderr(&output));
    }
}
