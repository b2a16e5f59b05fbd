//! I3: a leader never removes nor replaces an entry of its own log.

use std::collections::BTreeMap;

use quorate_core::ids::Vote;

use crate::ids::Id;
use crate::ids::Ids;

/// Each leadership under way, and the end of its log when it was last looked at.
#[derive(Debug)]
pub struct AppendOnly<L: Ids> {
    led: BTreeMap<u64, (Vote<L>, Option<Id<L>>)>,
}

impl<L: Ids> Default for AppendOnly<L> {
    fn default() -> Self {
        Self { led: BTreeMap::new() }
    }
}

impl<L: Ids> AppendOnly<L> {
    /// A node leads by `vote`; its log ends with `last` now. `has` tells which entries the log holds.
    pub fn leads(&mut self, node: u64, vote: &Vote<L>, last: Option<&Id<L>>, has: impl Fn(&Id<L>) -> bool) {
        match self.led.get_mut(&node) {
            Some((before, end)) if before == vote => {
                if end.as_ref() == last {
                    return;
                }
                let kept = end.as_ref().is_none_or(has);
                assert!(kept, "I3: leader {node} removed entries of its own log");
                *end = last.cloned();
            }
            _ => {
                self.led.insert(node, (vote.clone(), last.cloned()));
            }
        }
    }

    /// A node leads no more, or is down.
    pub fn leads_no_more(&mut self, node: u64) {
        self.led.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::ids::LogId;
    use quorate_core::ids::RaftLeaderId;

    use super::*;
    use crate::ids::Std;

    fn id(term: u64, index: u64) -> Id<Std> {
        LogId::new(Std::new(term, 1).to_committed(), index)
    }

    #[test]
    fn a_log_grows_and_another_leadership_begins_anew() {
        let mut watch = AppendOnly::<Std>::default();
        watch.leads(1, &Vote::new_committed(3, 1), Some(&id(3, 5)), |_| true);
        watch.leads(1, &Vote::new_committed(3, 1), Some(&id(3, 6)), |held| held.index <= 6);
        watch.leads(1, &Vote::new_committed(5, 1), Some(&id(5, 2)), |_| false);
        watch.leads_no_more(1);
        watch.leads(1, &Vote::new_committed(5, 1), Some(&id(5, 1)), |_| false);
    }

    #[test]
    #[should_panic(expected = "I3:")]
    fn a_shorter_log_is_seen() {
        let mut watch = AppendOnly::<Std>::default();
        watch.leads(1, &Vote::new_committed(3, 1), Some(&id(3, 5)), |_| true);
        watch.leads(1, &Vote::new_committed(3, 1), Some(&id(3, 4)), |held| held.index <= 4);
    }

    #[test]
    #[should_panic(expected = "I3:")]
    fn another_entry_in_place_of_one_is_seen() {
        let mut watch = AppendOnly::<Std>::default();
        watch.leads(1, &Vote::new_committed(3, 1), Some(&id(2, 5)), |_| true);
        watch.leads(1, &Vote::new_committed(3, 1), Some(&id(3, 6)), |held| *held == id(3, 5));
    }
}
