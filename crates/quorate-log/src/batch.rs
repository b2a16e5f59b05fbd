//! Entries on their way into the log, encoded and checksummed outside its lock.

/// Encoded entries for one [`Log::append`](crate::Log::append); reuse one to save allocations.
#[derive(Debug, Default, Clone)]
pub struct EntryBatch {
    bytes: Vec<u8>,
    entries: Vec<Encoded>,
}

#[derive(Debug, Clone, Copy)]
struct Encoded {
    index: u64,
    term: u64,
    start: usize,
    end: usize,
    crc: u32,
}

impl EntryBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Adds an entry with this payload.
    pub fn push(&mut self, index: u64, term: u64, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.finish(index, term, start);
    }

    /// Adds an entry whose payload `encode` appends to the buffer it is given.
    ///
    /// # Errors
    /// What `encode` returns; the entry is not added then.
    pub fn push_with<E>(
        &mut self,
        index: u64,
        term: u64,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        if let Err(error) = encode(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        self.finish(index, term, start);
        Ok(())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Index, term, payload and its checksum, of each entry.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64, &[u8], u32)> {
        self.entries.iter().map(|entry| {
            let payload = self.bytes.get(entry.start..entry.end).unwrap_or_default();
            (entry.index, entry.term, payload, entry.crc)
        })
    }

    fn finish(&mut self, index: u64, term: u64, start: usize) {
        let end = self.bytes.len();
        let payload = self.bytes.get(start..end).unwrap_or_default();
        let crc = crc32c::crc32c(payload);
        self.entries.push(Encoded { index, term, start, end, crc });
    }
}
