//! Dice, and the changes that the tests make to inputs: the same in every run.

/// Random numbers (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `sides`.
    pub fn below(&mut self, sides: usize) -> usize {
        (self.roll() % sides.max(1) as u64) as usize
    }

    /// `bytes` with a few changes, some of them pieces of `other`.
    pub fn mutant(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => {
                    bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].get(self.below(5)).unwrap_or(&0)
                }
                2 => bytes.truncate(at),
                3 => drop(bytes.splice(at..(at + self.below(8)).min(bytes.len()), [])),
                4 => {
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(32)).min(other.len());
                    drop(bytes.splice(at..at, other[from..to].iter().copied()));
                }
                _ => {
                    let number = self.roll().to_le_bytes();
                    let count = 1 + self.below(8);
                    drop(bytes.splice(at..at, number.into_iter().take(count)));
                }
            }
        }
        bytes
    }
}
