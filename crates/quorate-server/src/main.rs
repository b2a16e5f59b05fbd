//! The command `quorate`: runs a node of the key-value server, or speaks to a cluster of them.

mod commands;
mod exit;
mod output;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use quorate_server::client::Client;
use quorate_server::config::LISTEN;

use crate::commands::{admin, bench, demo, kv, serve, status};
use crate::exit::{CODES, Failure};

/// How long a command is silent before it says what it waits for.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// A replicated key-value store: every node holds the data, and any minority of them may fail
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What all commands that speak to a cluster understand.
#[derive(Debug, Clone, Args)]
struct Global {
    /// Client addresses of nodes, with commas between them; any one that answers is enough
    #[arg(long, short, global = true, value_name = "HOST:PORT", value_delimiter = ',', default_value = LISTEN)]
    server: Vec<String>,
    /// How long a request may take, with all attempts, in seconds
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Serve(serve::ServeArgs),
    /// Found a cluster with the node at --server, which is then its only member
    Init,
    /// Let the node at --server join the cluster of a member
    Join(admin::JoinArgs),
    /// Set a key
    Put(kv::PutArgs),
    /// Print the value of a key
    Get(kv::GetArgs),
    /// Remove a key
    Delete(kv::DeleteArgs),
    /// Print keys and values in order
    Range(kv::RangeArgs),
    /// Set a key if it holds what you expect
    Cas(kv::CasArgs),
    /// Print changes as they happen
    Watch(kv::WatchArgs),
    /// Show all nodes: role, term, applied, lag, last contact
    Status,
    /// Change the members of the cluster
    #[command(subcommand)]
    Member(admin::MemberCommand),
    /// Hand leadership to another voter
    TransferLeader(admin::IdArgs),
    /// Take a snapshot on the node at --server
    Snapshot,
    /// Write for some time, and report throughput and latency
    Bench(bench::BenchArgs),
    /// Start a cluster on this machine, load real data, kill the leader, and check that nothing was lost
    Demo(demo::DemoArgs),
}

impl Command {
    /// Whether one request and its answer are all of it.
    fn is_short(&self) -> bool {
        !matches!(self, Self::Serve(_) | Self::Watch(_) | Self::Bench(_) | Self::Demo(_))
    }
}

impl Global {
    /// A client of the cluster; requests take at most `--timeout`, or this long if it is not given.
    fn client(&self, default: Duration) -> Result<Client, Failure> {
        let timeout = self.timeout.map_or(default, Duration::from_secs);
        Ok(Client::new(self.server.iter().cloned(), timeout)?)
    }
}

fn main() -> ExitCode {
    #[cfg(quorate_mutants)]
    switch_mutant_on();
    let cli = Cli::parse();
    let json = cli.global.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli));
            // What still runs has nothing left to say, and may wait for its peers.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::from(error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Lets the process have the seeded bug that it is told to have: to see that a run with real processes finds it.
#[cfg(quorate_mutants)]
fn switch_mutant_on() {
    let number = std::env::var("QUORATE_MUTANT").ok().and_then(|number| number.parse().ok());
    quorate_core::mutants::switch_on(number.unwrap_or(0));
}

/// Carries a command out; if it takes long, tells a person what it waits for.
async fn run(cli: Cli) -> Result<(), Failure> {
    let tells = !cli.global.json && cli.command.is_short();
    let servers = cli.global.server.join(", ");
    let mut work = Box::pin(carry_out(cli));
    if tells {
        if let Ok(result) = tokio::time::timeout(SILENCE_MAX, &mut work).await {
            return result;
        }
        eprintln!("no answer yet, asking {servers} again; --server names others, --timeout ends it sooner");
    }
    work.await
}

async fn carry_out(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Init => admin::init(&global).await,
        Command::Join(args) => admin::join(&global, args).await,
        Command::Put(args) => kv::put(&global, args).await,
        Command::Get(args) => kv::get(&global, args).await,
        Command::Delete(args) => kv::delete(&global, args).await,
        Command::Range(args) => kv::range(&global, args).await,
        Command::Cas(args) => kv::cas(&global, args).await,
        Command::Watch(args) => kv::watch(&global, args).await,
        Command::Status => status::run(&global).await,
        Command::Member(command) => admin::member(&global, command).await,
        Command::TransferLeader(args) => admin::transfer_leader(&global, args).await,
        Command::Snapshot => admin::snapshot(&global).await,
        Command::Bench(args) => bench::run(&global, args).await,
        Command::Demo(args) => demo::run(&global, args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn servers_and_flags_stand_before_or_after_the_command() {
        let cli = Cli::try_parse_from(["quorate", "get", "k", "--stale", "-s", "a:1,b:2", "--json"]).unwrap();
        assert_eq!(cli.global.server, ["a:1", "b:2"]);
        assert!(cli.global.json);
        assert!(matches!(cli.command, Command::Get(_)));
        assert!(Cli::try_parse_from(["quorate", "--timeout", "0", "status"]).is_err());
    }
}
