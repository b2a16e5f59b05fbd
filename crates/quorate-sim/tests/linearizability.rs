//! The checker of clients' histories: what it must accept, what it must refuse, and that a naive search agrees.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use quorate_sim::dice::Dice;
use quorate_sim::linearizability::Operation;
use quorate_sim::linearizability::Verdict;
use quorate_sim::linearizability::What;
use quorate_sim::linearizability::check;
use quorate_sim::linearizability::check_within;
use quorate_sim::linearizability::read_at_the_end;

type Op = Operation<u64, u64>;

fn op(client: u64, began: u64, ended: u64, what: What<u64>) -> Op {
    Operation { client, key: 1, began, ended: Some(ended), what }
}

fn lost(client: u64, began: u64, what: What<u64>) -> Op {
    Operation { client, key: 1, began, ended: None, what }
}

fn cas(expect: Option<u64>, new: u64, met: bool) -> What<u64> {
    What::Cas { expect, new, met }
}

fn accepted(history: &[Op]) {
    assert_eq!(check(history), Verdict::Linearizable);
}

/// The operation that cannot be explained, and what the key may have held before it.
fn refused(history: &[Op]) -> (Op, Vec<Option<u64>>) {
    match check(history) {
        Verdict::Violation(found) => (found.last, found.before),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_of_what_was_overwritten_is_stale() {
    let history = [
        op(1, 0, 1, What::Put(5)),
        op(1, 2, 3, What::Put(6)),
        op(2, 4, 5, What::Get(Some(5))),
        op(2, 6, 7, What::Delete),
    ];
    assert_eq!(refused(&history), (history[2].clone(), vec![Some(6)]));
    let mut overlapping = history.clone();
    overlapping[2].began = 3;
    accepted(&overlapping);
}

#[test]
fn reads_may_not_go_back() {
    let put = op(1, 0, 9, What::Put(5));
    accepted(&[put.clone(), op(2, 1, 2, What::Get(None)), op(3, 3, 4, What::Get(Some(5)))]);
    let back = [put, op(2, 1, 2, What::Get(Some(5))), op(3, 3, 4, What::Get(None))];
    assert_eq!(refused(&back).0, back[2]);
}

#[test]
fn an_acknowledged_write_that_is_gone_is_found() {
    let mut history = vec![op(1, 0, 1, What::Put(5)), op(1, 2, 3, What::Put(6))];
    read_at_the_end(&mut history, 1, Some(5));
    assert_eq!(refused(&history).0.client, u64::MAX);
    history.pop();
    read_at_the_end(&mut history, 1, Some(6));
    accepted(&history);
}

#[test]
fn two_compare_and_sets_cannot_both_find_the_same_value() {
    let put = op(1, 0, 1, What::Put(5));
    let both = [put.clone(), op(1, 2, 9, cas(Some(5), 6, true)), op(2, 2, 9, cas(Some(5), 7, true))];
    assert_eq!(
        refused(&both),
        (both[2].clone(), vec![Some(7)]),
        "of two values that nobody asked for, the later"
    );
    accepted(&[put.clone(), op(1, 2, 9, cas(Some(5), 6, true)), op(2, 2, 9, cas(Some(5), 7, false))]);
    accepted(&[put.clone(), op(1, 2, 9, cas(Some(5), 6, true)), op(2, 2, 9, cas(Some(6), 7, true))]);
    accepted(&[op(1, 0, 1, cas(None, 4, true)), op(1, 2, 3, cas(None, 4, false))]);
    refused(&[put, op(1, 2, 3, cas(Some(5), 6, false))]);
}

#[test]
fn a_write_of_unknown_outcome_may_be_seen_later_or_never() {
    let (put, unknown) = (op(1, 0, 1, What::Put(5)), lost(2, 2, What::Put(6)));
    accepted(&[
        put.clone(),
        unknown.clone(),
        op(3, 80, 81, What::Get(Some(5))),
        op(3, 90, 91, What::Get(Some(6))),
    ]);
    accepted(&[put.clone(), unknown.clone(), op(3, 90, 91, What::Get(Some(5)))]);
    accepted(&[put.clone(), lost(2, 2, cas(Some(5), 6, false)), op(3, 90, 91, What::Get(Some(6)))]);
    refused(&[put.clone(), lost(2, 2, cas(Some(4), 6, true)), op(3, 90, 91, What::Get(Some(6)))]);
    accepted(&[put, lost(2, 2, What::Get(Some(6))), op(3, 90, 91, What::Get(Some(5)))]);
}

#[test]
fn a_write_of_unknown_outcome_may_not_come_twice() {
    let before = [op(1, 0, 1, What::Put(5)), lost(2, 2, What::Put(6)), op(3, 4, 5, What::Get(Some(6)))];
    let unseen = [&before[..], &[op(3, 6, 7, What::Get(Some(5)))]].concat();
    assert_eq!(refused(&unseen).0, unseen[3]);
    let over = [&before[..], &[op(1, 6, 7, What::Put(5)), op(3, 8, 9, What::Get(Some(6)))]].concat();
    refused(&over);
    let twice = [&over[..], &[lost(4, 3, What::Put(6))]].concat();
    accepted(&twice);
}

#[test]
fn a_write_is_not_seen_before_it_began() {
    refused(&[op(1, 0, 1, What::Get(Some(6))), lost(2, 2, What::Put(6))]);
    refused(&[op(1, 0, 1, What::Get(Some(6))), op(2, 2, 3, What::Put(6))]);
    accepted(&[op(1, 0, 2, What::Get(Some(6))), op(2, 2, 3, What::Put(6))]);
}

#[test]
fn a_counter_example_is_the_shortest_beginning_of_one_key() {
    let mut history: Vec<Op> = (0..100).map(|n| op(1, 4 * n, 4 * n + 1, What::Put(n))).collect();
    history.insert(0, lost(7, 0, What::Put(1000)));
    history.push(op(2, 202, 203, What::Get(Some(49))));
    history.push(Operation { key: 2, ..op(2, 0, 1, What::Put(1)) });
    let Verdict::Violation(found) = check(&history) else { panic!("a stale read") };
    assert_eq!((found.key, found.prefix.len()), (1, 53));
    assert_eq!(
        found.to_string().lines().filter(|line| !line.contains("put")).collect::<Vec<_>>(),
        [
            "key 1: no order explains 53 operations",
            "  … 12 earlier ones, and those of unknown outcome:",
            "  client 2             202 .. 203          get: 49   <-- not this",
            "  before it the key may have held: 50",
        ]
    );
    assert!(found.to_string().contains("client 7               0 .. ?            put 1000\n"), "{found}");
}

#[test]
fn a_search_beyond_its_limit_is_undecided() {
    let mut history: Vec<Op> = (0..20).map(|n| op(n, 0, 100, What::Put(n))).collect();
    history.push(op(1, 200, 201, What::Get(Some(77))));
    assert_eq!(check_within(&history, 1000), Verdict::Undecided { key: 1, limit: "configurations" });
    let crowd: Vec<Op> = (0..129).map(|n| op(n, 0, 100, What::Put(n))).collect();
    assert_eq!(check(&crowd), Verdict::Undecided { key: 1, limit: "overlapping operations" });
    history.push(Operation { key: 2, ..op(1, 0, 1, What::Get(Some(1))) });
    assert!(matches!(check_within(&history, 1000), Verdict::Violation(found) if found.key == 2));
}

#[test]
fn hundreds_of_open_writes_cost_little() {
    let mut history: Vec<Op> = (0..400).map(|n| lost(n, n, What::Put(n % 300))).collect();
    history.extend((0..600).map(|n| op(500, 500 + 2 * n, 501 + 2 * n, What::Put(1000 + n))));
    history.extend((0..300).map(|n| op(501, 505 + 4 * n, 505 + 4 * n, What::Get(Some(n)))));
    accepted(&history);
    history.push(op(501, 5000, 5001, What::Get(Some(298))));
    refused(&history);
}

/// A map that changes at one moment within each operation, used by clients who overlap and sometimes lose an answer.
fn recorded(seed: u64, keys: u64, clients: u64, operations: u64) -> Vec<Op> {
    let mut dice = Dice(seed);
    // Between its two moments each client is busy; what it does takes effect at one drawn in between, or later if its
    // answer is lost, or never.
    let mut free = vec![0; clients as usize];
    let mut planned = Vec::new();
    for value in 1..=operations {
        let client = dice.below(clients) as usize;
        let began = free[client] + dice.below(20);
        let ended = began + dice.below(30);
        free[client] = ended + 1;
        let known = !dice.chance(1, 20);
        let moment = if known { began + dice.below(ended - began + 1) } else { began + dice.below(2000) };
        planned.push((moment, value, client as u64, dice.below(keys), began, known.then_some(ended)));
    }
    planned.sort_unstable();
    let mut map = BTreeMap::new();
    let mut history = Vec::new();
    for (_, value, client, key, began, ended) in planned {
        let now = map.get(&key).copied();
        let what = match dice.below(10) {
            0..3 => What::Put(value),
            3 => What::Delete,
            4..6 => {
                let expect = if dice.chance(2, 3) { now } else { Some(dice.below(value)) };
                What::Cas { expect, new: value, met: expect == now }
            }
            _ => What::Get(now),
        };
        let happens = ended.is_some() || dice.chance(1, 2);
        match &what {
            What::Put(new) | What::Cas { new, met: true, .. } if happens => drop(map.insert(key, *new)),
            What::Delete if happens => drop(map.remove(&key)),
            _ => {}
        }
        history.push(Operation { client, key, began, ended, what });
    }
    history
}

#[test]
fn what_a_real_map_answered_is_accepted() {
    for seed in 0..200 {
        assert_eq!(
            check(&recorded(seed, 1 + seed % 4, 2 + seed % 9, 300)),
            Verdict::Linearizable,
            "seed {seed}"
        );
    }
}

#[test]
fn a_hundred_thousand_operations_are_accepted() {
    let history = recorded(1, 1000, 40, 100_000);
    assert_eq!(history.len(), 100_000);
    assert_eq!(check(&history), Verdict::Linearizable);
}

#[test]
fn one_answer_altered_is_found() {
    let mut found = 0;
    for seed in 0..200 {
        let mut history = recorded(seed, 2, 6, 200);
        let mut dice = Dice(seed);
        loop {
            let place = dice.below(200) as usize;
            if let Operation { ended: Some(_), what: What::Get(Some(value)), .. } = &mut history[place] {
                // A value of another moment, or one that nobody wrote.
                *value = dice.below(200) + 1;
                break;
            }
        }
        found += u64::from(matches!(check(&history), Verdict::Violation(_)));
    }
    assert_eq!(found, 197, "of 200: the others drew what was read before, or what might have been");
}

/// Tries every order, as nobody would who had to wait for it.
fn has_an_order(left: &[&Op], state: Option<u64>) -> bool {
    if left.iter().all(|operation| operation.ended.is_none()) {
        return true;
    }
    (0..left.len()).any(|place| {
        let operation = left[place];
        let too_soon = left.iter().any(|other| other.ended.is_some_and(|ended| ended < operation.began));
        let next = match (&operation.what, operation.ended) {
            (What::Put(value), _) => Some(Some(*value)),
            (What::Delete, _) => Some(None),
            (What::Get(_), None) => Some(state),
            (What::Get(found), _) => (*found == state).then_some(state),
            (What::Cas { expect, new, .. }, None) => Some(if *expect == state { Some(*new) } else { state }),
            (What::Cas { expect, new, met: true }, _) => (*expect == state).then_some(Some(*new)),
            (What::Cas { expect, met: false, .. }, _) => (*expect != state).then_some(state),
        };
        let mut rest = left.to_vec();
        rest.remove(place);
        !too_soon && next.is_some_and(|next| has_an_order(&rest, next))
    })
}

#[test]
fn a_search_through_all_orders_agrees() {
    let mut dice = Dice(7);
    let (mut good, mut bad) = (0, 0);
    for case in 0..20_000 {
        let length = 2 + dice.below(5);
        let value = |dice: &mut Dice| dice.below(3);
        let maybe = |dice: &mut Dice| dice.chance(3, 4).then(|| dice.below(3));
        let mut history: Vec<Op> = Vec::new();
        for client in 0..length {
            let began = dice.below(12);
            let ended = began + dice.below(6);
            let what = match dice.below(8) {
                0..3 => What::Put(value(&mut dice)),
                3 => What::Delete,
                4 => cas(maybe(&mut dice), value(&mut dice), dice.chance(1, 2)),
                _ => What::Get(maybe(&mut dice)),
            };
            let ended = dice.chance(4, 5).then_some(ended);
            history.push(Operation { client, key: 1, began, ended, what });
        }
        let expected = has_an_order(&history.iter().collect::<Vec<_>>(), None);
        let verdict = check(&history);
        assert_eq!(verdict == Verdict::Linearizable, expected, "case {case}: {history:#?}\n{verdict:?}");
        if let Verdict::Violation(found) = verdict {
            bad += 1;
            // Nothing shorter is wrong: without the last answer there is an order.
            let mut shorter = found.prefix.clone();
            for operation in &mut shorter {
                // An answer at the same moment may have been looked at before.
                if operation.ended >= found.last.ended && operation.ended.is_some() {
                    operation.ended = None;
                }
            }
            assert!(has_an_order(&shorter.iter().collect::<Vec<_>>(), None), "case {case}: {found}");
        } else {
            good += 1;
        }
    }
    assert!(good > 5000 && bad > 5000, "{good} good, {bad} bad");
}
