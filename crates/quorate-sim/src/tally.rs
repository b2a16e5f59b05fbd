//! What happened in a run, counted: to tell that a run got somewhere, and what it went through.

/// The counters, each with its name as a summary shows it.
macro_rules! tally {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        /// Counts over one run, or over many.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Tally {
            $(#[doc = $name] $(#[$doc])* pub $field: u64,)*
        }

        impl Tally {
            /// Adds the counts of another run.
            pub fn add(&mut self, other: &Tally) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
            }

            /// Every counter with its name.
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field)),*]
            }
        }
    };
}

tally! {
    /// Steps of a node after which everything was checked.
    events: "events",
    simulated_us: "simulated microseconds",
    elections: "elections won",
    commits: "entries committed",
    changes: "membership changes committed",
    writes: "writes acknowledged",
    reads: "reads by a quorum",
    leased: "reads by the lease",
    built: "snapshots built",
    installed: "snapshots installed",
    crashes: "fault: crashes",
    dropped: "fault: messages lost",
    duplicated: "fault: messages twice",
    late: "fault: answers too late",
    cuts: "fault: links cut",
    stalls: "fault: slow disks",
    hangs: "fault: hung disks",
    wiped: "fault: disks lost for good",
    blackouts: "fault: majorities crashed at once",
    pauses: "fault: nodes paused",
    starved: "fault: timers starved",
    leaps: "fault: clocks leapt",
    held: "fault: messages held back",
    slow_links: "fault: links slow or flapping",
    disk_errors: "fault: disk errors",
    damages: "fault: damage to disks",
    refused: "starts refused",
    untold: "damage that nothing tells of",
    log_reads: "reads of the log",
    power_cuts: "fault: power cuts amid what a disk does",
    full_disks: "fault: full disks",
    corrupted: "fault: messages corrupted",
    unanswered: "fault: calls and connections never answered",
    strandings: "fault: leaders cut off until another one led",
    probes: "leases looked at",
    keys: "histories of keys checked",
    undecided: "histories of keys left undecided",
    transfers: "operator: transfers",
    orders: "operator: elections",
}

impl Tally {
    /// All faults together.
    pub fn faults(&self) -> u64 {
        let process = self.crashes + self.pauses + self.starved + self.leaps;
        let failing = self.disk_errors + self.damages + self.full_disks + self.power_cuts;
        let disk = self.stalls + self.hangs + self.wiped + failing;
        let net = self.dropped + self.duplicated + self.late + self.cuts + self.held + self.slow_links;
        process + disk + net + self.corrupted + self.unanswered
    }

    /// Every operation of a client whose outcome was checked.
    pub fn operations(&self) -> u64 {
        self.writes + self.reads + self.leased
    }
}
