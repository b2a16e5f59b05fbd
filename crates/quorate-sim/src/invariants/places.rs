//! What is known of every place in every log there ever was.

use crate::ids::Id;
use crate::ids::Ids;

/// Values by place: an index, and the leader that proposed the entry there. Most indexes see one leader or two.
#[derive(Debug)]
pub struct Places<L: Ids, T> {
    by_index: Vec<Vec<(L::Committed, T)>>,
}

impl<L: Ids, T> Default for Places<L, T> {
    fn default() -> Self {
        Self { by_index: Vec::new() }
    }
}

impl<L: Ids, T> Places<L, T> {
    /// What is known of this place.
    pub fn get(&self, id: &Id<L>) -> Option<&T> {
        let at = self.by_index.get(id.index as usize)?;
        at.iter().find(|(leader, _)| *leader == id.leader_id).map(|(_, value)| value)
    }

    /// Notes a value, in place of what was known.
    pub fn put(&mut self, id: &Id<L>, value: T) {
        let index = id.index as usize;
        if self.by_index.len() <= index {
            self.by_index.resize_with(index + 1, Vec::new);
        }
        let at = &mut self.by_index[index];
        match at.iter_mut().find(|(leader, _)| *leader == id.leader_id) {
            Some((_, known)) => *known = value,
            None => at.push((id.leader_id.clone(), value)),
        }
    }
}
