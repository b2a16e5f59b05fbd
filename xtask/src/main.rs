//! Short commands for long jobs.

fn main() {}
