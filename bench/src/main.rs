//! Quorate beside openraft 0.10, in one process, in turns: puts a second of three nodes with stores in memory.
//!
//! `cargo run --release -- [clients…] [--rounds N] [--millis N]`. The ratios are what counts; the machines are shared.

use std::time::Duration;

mod ours {
    use quorate as lib;
    include!("cluster.rs");
}

mod theirs {
    use openraft as lib;
    include!("cluster.rs");
}

fn main() {
    let (mut clients, mut rounds, mut millis) = (Vec::new(), 5, 1000);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number");
        match arg.as_str() {
            "--rounds" => rounds = number(),
            "--millis" => millis = number(),
            count => clients.push(count.parse().expect("a number of clients")),
        }
    }
    if clients.is_empty() {
        clients = vec![1, 64, 4096];
    }
    println!("{:>8} {:>14} {:>14} {:>7}   medians of {rounds} interleaved rounds", "clients", "quorate", "openraft", "ratio");
    for clients in clients {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            a.push(ours::run(clients, Duration::from_millis(millis)));
            b.push(theirs::run(clients, Duration::from_millis(millis)));
        }
        let (a, b) = (median(a), median(b));
        println!("{clients:>8} {a:>12.0}/s {b:>12.0}/s {:>7.2}", a / b);
    }
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}
