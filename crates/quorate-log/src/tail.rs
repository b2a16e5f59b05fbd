//! The newest entries, kept in memory as they go to disk, so that recent reads need no disk.

use std::collections::VecDeque;

use bytes::Bytes;

/// Encoded entries with adjoining indexes, oldest first, bounded in bytes.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pieces: VecDeque<Piece>,
    bytes: u64,
}

/// Some records just as they are written, and where the payloads of its entries are.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The index of the first entry.
    pub(crate) first: u64,
    /// Start and length of each entry's payload in `bytes`.
    pub(crate) payloads: Vec<(u32, u32)>,
    pub(crate) bytes: Bytes,
    /// The log offset at which the piece ends; when that is on disk, the piece may be dropped.
    pub(crate) end: u64,
}

impl Piece {
    fn last(&self) -> Option<u64> {
        self.first.checked_add(self.payloads.len() as u64)?.checked_sub(1)
    }

    fn cost(&self) -> u64 {
        (self.bytes.len() as u64).saturating_add((self.payloads.len() as u64).saturating_mul(8))
    }
}

impl Tail {
    /// The oldest index that can be read from here.
    pub(crate) fn first(&self) -> Option<u64> {
        self.pieces.front().map(|piece| piece.first)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        if piece.payloads.is_empty() {
            return;
        }
        self.bytes = self.bytes.saturating_add(piece.cost());
        self.pieces.push_back(piece);
    }

    /// Forgets all entries from `from` on.
    pub(crate) fn truncate(&mut self, from: u64) {
        while let Some(piece) = self.pieces.back_mut() {
            if piece.first >= from {
                self.bytes = self.bytes.saturating_sub(piece.cost());
                self.pieces.pop_back();
                continue;
            }
            let before = piece.cost();
            let keep = usize::try_from(from.saturating_sub(piece.first)).unwrap_or(usize::MAX);
            piece.payloads.truncate(keep);
            self.bytes = self.bytes.saturating_sub(before.saturating_sub(piece.cost()));
            return;
        }
    }

    /// Forgets the oldest pieces: those purged, and those on disk (up to `written`) beyond `limit` bytes.
    pub(crate) fn evict(&mut self, purged: Option<u64>, written: u64, limit: u64) {
        while let Some(piece) = self.pieces.front() {
            let gone = piece.last().is_none_or(|last| purged.is_some_and(|purged| last <= purged));
            let spare = self.bytes > limit && piece.end <= written;
            if !gone && !spare {
                return;
            }
            self.bytes = self.bytes.saturating_sub(piece.cost());
            self.pieces.pop_front();
        }
    }

    /// Adds the payloads of `from..to` to `out` until `room` bytes are used up; at least one.
    pub(crate) fn read(&self, from: u64, to: u64, room: &mut u64, out: &mut Vec<Bytes>) {
        let at = self.pieces.partition_point(|piece| piece.last().is_some_and(|last| last < from));
        for piece in self.pieces.range(at..) {
            let skip = usize::try_from(from.saturating_sub(piece.first)).unwrap_or(usize::MAX);
            let take = usize::try_from(to.saturating_sub(piece.first)).unwrap_or(usize::MAX);
            for (start, len) in piece.payloads.iter().take(take).skip(skip) {
                let (start, len) = (*start as usize, *len as usize);
                if *room < len as u64 && !out.is_empty() {
                    *room = 0;
                    return;
                }
                *room = room.saturating_sub(len as u64);
                out.push(piece.bytes.slice(start..start.saturating_add(len)));
            }
            if piece.last().is_some_and(|last| last.saturating_add(1) >= to) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(first: u64, count: u64) -> Piece {
        let text: Vec<u8> = (first..first + count).map(|i| i as u8).collect();
        let payloads = (0..count as u32).map(|i| (i, 1)).collect();
        Piece { first, payloads, bytes: text.into(), end: first + count }
    }

    fn read(tail: &Tail, from: u64, to: u64, mut room: u64) -> Vec<u8> {
        let mut out = Vec::new();
        tail.read(from, to, &mut room, &mut out);
        out.iter().map(|payload| payload[0]).collect()
    }

    #[test]
    fn reads_cross_pieces_and_stop_at_the_byte_limit() {
        let mut tail = Tail::default();
        tail.push(piece(1, 3));
        tail.push(piece(4, 2));
        assert_eq!(read(&tail, 2, 6, 100), [2, 3, 4, 5]);
        assert_eq!(read(&tail, 2, 5, 100), [2, 3, 4]);
        assert_eq!(read(&tail, 2, 6, 2), [2, 3]);
        assert_eq!(read(&tail, 2, 6, 0), [2], "always at least one");
    }

    #[test]
    fn truncation_cuts_inside_a_piece_and_eviction_spares_what_is_not_on_disk() {
        let mut tail = Tail::default();
        tail.push(piece(1, 3));
        tail.push(piece(4, 2));
        tail.truncate(3);
        assert_eq!(read(&tail, 1, 9, 100), [1, 2]);
        tail.push(piece(3, 4));
        tail.evict(None, 6, 0);
        assert_eq!(tail.first(), Some(3), "the second piece ends at 7, which is not on disk");
        tail.evict(Some(6), 0, 1000);
        assert_eq!((tail.first(), tail.bytes()), (None, 0));
    }
}
