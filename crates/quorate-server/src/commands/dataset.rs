//! Real records to write: the lines of a file, each a key and a value.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use quorate_server::machine::{VALUE_BYTES_MAX, check_key};

use crate::exit::{Exit, Failure};

/// The records that come with the program: airports, with their code as the key.
const AIRPORTS: &str = include_str!("../../../../data/airports.csv");

/// The largest file that is loaded, in bytes: all of it is kept in memory, to be compared with in the end.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Pairs with different keys, in the order of the file.
#[derive(Debug)]
pub(crate) struct Dataset {
    pairs: Vec<(String, Bytes)>,
}

impl Dataset {
    /// The records in a file; without one, those that come with the program.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else { return Self::parse(AIRPORTS) };
        let fail = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Usage, "load", format!("cannot load {}: {error}", path.display()))
        };
        let size = std::fs::metadata(path).map_err(|error| fail(&error))?.len();
        if size > FILE_BYTES_MAX {
            return Err(fail(&format!("it has {size} bytes, the limit is {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fail(&error))?;
        Self::parse(&text)
    }

    /// The first column of a line is its key and the rest its value. A line without a comma, or without a usable or
    /// new key in front of it, is a value as a whole, and its number the key.
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut pairs = Vec::new();
        let mut keys = HashSet::new();
        for (number, line) in (1_u64..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            if line.len() > VALUE_BYTES_MAX {
                let message =
                    format!("line {number} has {} bytes, the limit is {VALUE_BYTES_MAX}", line.len());
                return Err(Failure::new(Exit::Usage, "load", message));
            }
            let column = line.split_once(',').map(|(key, value)| (key.trim_matches('"').to_owned(), value));
            let fits = column.filter(|(key, _)| check_key(key).is_ok() && !keys.contains(key));
            let (key, value) = fits.unwrap_or_else(|| (format!("line/{number:08}"), line));
            keys.insert(key.clone());
            pairs.push((key, Bytes::copy_from_slice(value.as_bytes())));
        }
        if pairs.is_empty() {
            return Err(Failure::new(Exit::Usage, "load", "there is nothing to load: the file has no lines"));
        }
        Ok(Self { pairs })
    }

    pub(crate) fn len(&self) -> u64 {
        self.pairs.len() as u64
    }

    /// The pair with a number; beyond the last, the records come again under other keys.
    pub(crate) fn pair(&self, number: u64) -> (String, Bytes) {
        let round = number.checked_div(self.len()).unwrap_or(0);
        let at = usize::try_from(number.checked_rem(self.len()).unwrap_or(0)).unwrap_or(0);
        let (key, value) = self.pairs.get(at).cloned().unwrap_or_default();
        if round == 0 { (key, value) } else { (format!("round/{round}/{key}"), value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_lines_become_pairs_with_different_keys() {
        let set = Dataset::parse("AAA,Anaa,PF\n\"BBB\",b\n\nplain line\nAAA,again\n,no key\n").unwrap();
        let pairs: Vec<_> = (0..set.len()).map(|number| set.pair(number)).collect();
        let expected = [
            ("AAA", "Anaa,PF"),
            ("BBB", "b"),
            ("line/00000004", "plain line"),
            ("line/00000005", "AAA,again"),
            ("line/00000006", ",no key"),
        ];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), Bytes::from(value))));
        assert_eq!(set.pair(6).0, "round/1/BBB");
    }

    #[test]
    fn the_records_that_come_along_are_all_usable() {
        let set = Dataset::load(None).unwrap();
        assert!(set.len() > 5000);
        assert!((0..set.len()).all(|number| set.pair(number).0.len() == 3));
    }

    #[test]
    fn a_file_that_cannot_be_loaded_says_so() {
        let error = Dataset::load(Some(Path::new("no/such/file"))).unwrap_err();
        assert!(format!("{error:?}").contains("cannot load no/such/file"), "{error:?}");
        assert!(Dataset::parse("\n\n").is_err());
    }
}
