//! `quorate bench`: writes for some time, throughput and latency.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use quorate_server::machine::VALUE_BYTES_MAX;
use rand::Rng as _;
use serde::Serialize;
use tokio::time::Instant;

use super::load::{self, Progress, milliseconds};
use crate::Global;
use crate::exit::Failure;
use crate::output::{self, thousands};

/// How long one request may take, with all attempts.
const TIMEOUT: Duration = Duration::from_secs(12);

/// The width of the longest bar.
const BAR_WIDTH: u64 = 40;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How many clients write at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// The size of each value, in bytes
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=VALUE_BYTES_MAX as i64))]
    value_size: u32,
    /// How long to write, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How many different keys to write
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    clients: u16,
    value_size: u32,
    seconds: f64,
    acknowledged: u64,
    puts_per_second: u64,
    outcome_unknown: u64,
    not_accepted: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

pub(crate) async fn run(global: &Global, args: BenchArgs) -> Result<(), Failure> {
    let client = global.client(TIMEOUT)?;
    client.learn_members().await?;
    let mut value = vec![0; args.value_size as usize];
    rand::rng().fill_bytes(&mut value);
    let value = Bytes::from(value);
    let started = Instant::now();
    let end = started + Duration::from_secs(args.seconds);
    let keys = args.keys;
    let source = move |number: u64| {
        (Instant::now() < end)
            .then(|| (format!("bench/{:08}", number.checked_rem(keys).unwrap_or(0)), value.clone()))
    };
    let progress = Arc::new(Progress::default());
    let latencies = load::run(&client, args.clients.into(), Arc::new(source), progress.clone()).await?;
    let seconds = started.elapsed().as_secs_f64();
    let acknowledged = progress.acknowledged();
    let report = Report {
        clients: args.clients,
        value_size: args.value_size,
        seconds,
        acknowledged,
        puts_per_second: (acknowledged as f64 / seconds) as u64,
        outcome_unknown: progress.unknown(),
        not_accepted: progress.not_accepted(),
        p50_us: latencies.value_at_quantile(0.5),
        p90_us: latencies.value_at_quantile(0.9),
        p99_us: latencies.value_at_quantile(0.99),
        p999_us: latencies.value_at_quantile(0.999),
        max_us: latencies.max(),
    };
    if global.json { output::json(&report) } else { print(&report, &latencies) }
}

fn print(report: &Report, latencies: &Histogram<u64>) -> Result<(), Failure> {
    output::line(&format!(
        "{} puts of {} bytes acknowledged in {:.1} s by {} clients: {} puts/s",
        thousands(report.acknowledged),
        thousands(report.value_size.into()),
        report.seconds,
        report.clients,
        thousands(report.puts_per_second)
    ))?;
    if report.outcome_unknown + report.not_accepted > 0 {
        output::line(&format!(
            "written again after an unknown outcome {}, after not being accepted {}",
            thousands(report.outcome_unknown),
            thousands(report.not_accepted)
        ))?;
    }
    output::line(&format!(
        "latency: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        milliseconds(report.p50_us),
        milliseconds(report.p90_us),
        milliseconds(report.p99_us),
        milliseconds(report.p999_us),
        milliseconds(report.max_us)
    ))?;
    output::bytes(bars(latencies).as_bytes())
}

/// The latencies in steps that double, one line each.
fn bars(latencies: &Histogram<u64>) -> String {
    let first = latencies.min().max(1).next_power_of_two();
    let steps: Vec<(u64, u64)> = latencies
        .iter_log(first, 2.0)
        .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
        .collect();
    let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let mut text = String::new();
    for (up_to, count) in steps {
        let width = count.saturating_mul(BAR_WIDTH).div_ceil(most);
        let bar = "#".repeat(usize::try_from(width).unwrap_or(0));
        text.push_str(&format!("  up to {:>11}  {:>10}  {bar}\n", milliseconds(up_to), thousands(count)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_account_for_every_write() {
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 1_000_000, 3).unwrap();
        latencies.record_n(900, 10).unwrap();
        latencies.record_n(3_000, 20).unwrap();
        let text = bars(&latencies);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains(" 10 ") && lines[2].contains(" 20 "), "{text}");
        assert_eq!(lines[2].matches('#').count(), 40, "{text}");
        assert_eq!(lines[0].matches('#').count(), 20, "{text}");
    }
}
