//! What travels: a checksum, what it is, and the message as the real codec writes it.

use bytes::Bytes;

use crate::tier_b::world;

/// Checksum and kind.
const HEAD_BYTES: usize = 5;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Vote = 1,
    PreVote = 2,
    Append = 3,
    Transfer = 4,
    Snapshot = 5,
    Client = 6,
    Answer = 7,
}

const KINDS: [Kind; 7] =
    [Kind::Vote, Kind::PreVote, Kind::Append, Kind::Transfer, Kind::Snapshot, Kind::Client, Kind::Answer];

/// A frame.
pub fn seal(kind: Kind, message: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(HEAD_BYTES + message.len());
    frame.extend_from_slice(&[0; 4]);
    frame.push(kind as u8);
    frame.extend_from_slice(message);
    let checksum = crc32c::crc32c(&frame[4..]);
    frame[..4].copy_from_slice(&checksum.to_le_bytes());
    frame.into()
}

/// What is in a frame; nothing if its checksum is wrong.
pub fn open(frame: &Bytes) -> Option<(Kind, Bytes)> {
    let (head, checked) = frame.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*head) != crc32c::crc32c(checked) {
        return None;
    }
    let kind = KINDS.into_iter().find(|kind| Some(&(*kind as u8)) == checked.first())?;
    Some((kind, frame.slice(HEAD_BYTES..)))
}

/// Changes a bit of a frame on its way: its checksum tells.
pub fn flip_a_bit(frame: &Bytes) -> Bytes {
    let mut spoiled = frame.to_vec();
    let at = world::below(spoiled.len() as u64) as usize;
    if let Some(byte) = spoiled.get_mut(at) {
        *byte ^= 1 << world::below(8);
    }
    spoiled.into()
}

/// A frame whose checksum is right and whose message was spoiled before: cut off, or noise.
pub fn spoil(frame: &Bytes) -> Bytes {
    let Some((kind, message)) = open(frame) else { return frame.clone() };
    let kept = world::below(message.len() as u64) as usize;
    if world::chance(1, 2) {
        return seal(kind, &message[..kept]);
    }
    let mut noise: Vec<u8> = (0..message.len()).map(|_| world::roll() as u8).collect();
    // No field begins like this, so that noise never happens to be a message.
    if let Some(first) = noise.first_mut() {
        *first |= 0x07;
    }
    seal(kind, &noise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_seen() {
        let frame = seal(Kind::Vote, b"message");
        assert_eq!(open(&frame), Some((Kind::Vote, Bytes::from_static(b"message"))));
        for at in 0..frame.len() {
            let mut spoiled = frame.to_vec();
            spoiled[at] ^= 4;
            assert_eq!(open(&spoiled.into()), None);
        }
    }
}
