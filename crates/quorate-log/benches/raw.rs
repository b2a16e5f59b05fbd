//! Speed beside the raw limit.

fn main() {}
