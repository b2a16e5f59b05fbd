//! The bytes of a fuzzer as choices, from front to back: a change of one byte is a change of one choice.

/// Bytes that are still to be used. When they are used up, every choice is the first one.
#[derive(Clone, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `sides`.
    pub fn below(&mut self, sides: usize) -> usize {
        usize::from(self.byte()) % sides.max(1)
    }

    pub fn two(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number that matters: mostly small, sometimes at the edge, sometimes any.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=239 => u64::from(byte % 24),
            byte @ 240..=247 => u64::MAX - u64::from(byte - 240),
            248..=250 => 1 << 63,
            251 | 252 => u64::from(u32::MAX),
            _ => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    /// The next bytes, as many as a byte says.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    /// The next bytes, as many as two bytes say.
    pub fn long_piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.two());
        self.take(length)
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        piece
    }
}
