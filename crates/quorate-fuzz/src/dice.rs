//! The changes that the tests make to inputs: the same in every run.

use quorate_sim::dice::Dice;

/// A number below `sides`.
pub fn below(dice: &mut Dice, sides: usize) -> usize {
    dice.below(sides as u64) as usize
}

/// `bytes` with a few changes, some of them pieces of `other`.
pub fn mutant(dice: &mut Dice, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(3) {
        let at = below(dice, bytes.len() + 1);
        match dice.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = *dice.pick(&[0, 1, 0x7f, 0x80, 0xff]).unwrap_or(&0),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..(at + below(dice, 8)).min(bytes.len()), [])),
            4 => {
                let from = below(dice, other.len() + 1);
                let to = (from + below(dice, 32)).min(other.len());
                drop(bytes.splice(at..at, other[from..to].iter().copied()));
            }
            _ => {
                let number = dice.roll().to_le_bytes();
                let count = 1 + below(dice, 8);
                drop(bytes.splice(at..at, number.into_iter().take(count)));
            }
        }
    }
    bytes
}
