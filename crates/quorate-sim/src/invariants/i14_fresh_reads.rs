//! I14: a read sees whatever anyone saw before it began.

/// What somebody has seen so far: the entries below `floor`.
#[derive(Debug, Default)]
pub struct FreshReads {
    floor: u64,
}

impl FreshReads {
    /// A read begins, and must see at least the entries below what this returns.
    pub fn begins(&self) -> u64 {
        self.floor
    }

    /// Somebody has seen the entries below `end`: an answer to a write, or to a read.
    pub fn saw(&mut self, end: u64) {
        self.floor = self.floor.max(end);
    }

    /// A read that began with `floor` is answered from a state with the entries below `seen`.
    pub fn completes(&mut self, floor: u64, seen: u64) {
        assert!(seen >= floor, "I14: a read saw {seen}, others {floor} before");
        self.saw(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_may_see_more_than_there_was_when_it_began() {
        let mut reads = FreshReads::default();
        reads.saw(3);
        let floor = reads.begins();
        reads.saw(5);
        reads.completes(floor, 4);
        assert_eq!(reads.begins(), 5);
    }

    #[test]
    #[should_panic(expected = "I14:")]
    fn a_stale_read_is_seen() {
        let mut reads = FreshReads::default();
        let early = reads.begins();
        reads.completes(early, 3);
        let floor = reads.begins();
        reads.completes(floor, 2);
    }
}
