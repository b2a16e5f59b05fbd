#!/usr/bin/env bash
# Forms a cluster of three on this machine with curl, writes, reads on all, changes the members. Shows every message.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cargo build --quiet --package raft-kv-memstore
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

# Nodes listen on three ports from this one on.
port=${PORT:-21001}
addr() { echo "127.0.0.1:$((port + $1 - 1))"; }

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
for id in 1 2 3; do
    "$target/debug/raft-kv-memstore" --id "$id" --addr "$(addr "$id")" &
    pids+=($!)
done

# POSTs a body to a node's path, or GETs without one; the answer must contain a text.
ask() {
    local id=$1 path=$2 body=$3 expected=$4 answer
    if [ -n "$body" ]; then
        answer=$(curl -sS --max-time 10 -H 'Content-Type: application/json' -d "$body" "http://$(addr "$id")/$path")
    else
        answer=$(curl -sS --max-time 10 "http://$(addr "$id")/$path")
    fi
    printf '\n> node %s /%s %s\n< %s\n' "$id" "$path" "$body" "$answer"
    case $answer in
        *"$expected"*) ;;
        *) echo "FAILED: expected $expected" && exit 1 ;;
    esac
}

# Asks again, for ten seconds, until the answer contains the text.
await() {
    local id=$1 path=$2 body=$3 expected=$4
    for _ in $(seq 100); do
        (ask "$id" "$path" "$body" "$expected") >/dev/null 2>&1 && break
        sleep 0.1
    done
    ask "$id" "$path" "$body" "$expected"
}

echo '== three nodes, no cluster'
for id in 1 2 3; do await "$id" metrics '' '"state":"Learner"'; done

echo '== node 1 founds a cluster of its own'
ask 1 init '[]' '"Ok":null'
await 1 metrics '' '"current_leader":1'

echo '== nodes 2 and 3 learn the log, then vote'
ask 1 add-learner "[2, \"$(addr 2)\"]" '"Ok"'
ask 1 add-learner "[3, \"$(addr 3)\"]" '"Ok"'
ask 1 change-membership '[1, 2, 3]' '"Ok"'
ask 1 metrics '' '"configs":[[1,2,3]]'

echo '== what the leader took is read on all'
ask 1 write '{"Set": {"key": "foo", "value": "bar"}}' '"value":"bar"'
for id in 1 2 3; do await "$id" read '"foo"' '{"Ok":"bar"}'; done
ask 1 linearizable_read '"foo"' '{"Ok":"bar"}'

echo '== a follower says who leads'
ask 2 write '{"Set": {"key": "foo", "value": "baz"}}' '"leader_id":1'
ask 2 linearizable_read '"foo"' '"leader_id":1'

echo '== node 3 leaves; the others go on'
ask 1 change-membership '[1, 2]' '"Ok"'
ask 1 write '{"Set": {"key": "foo", "value": "without 3"}}' '"value":"without 3"'
await 2 read '"foo"' '{"Ok":"without 3"}'
ask 3 read '"foo"' '{"Ok":"bar"}'

echo '== all as expected'
