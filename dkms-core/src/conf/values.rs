//! What the directives were set to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::directive::{is_array, is_directive};

/// What a directive was set to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Read")]
pub enum Value {
    /// `NAME=text`.
    Scalar(String),
    /// `NAME[i]=text`; may be sparse.
    Array(BTreeMap<u32, String>),
}

/// A value as JSON has it, where every key is a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Scalar(String),
    Array(BTreeMap<String, String>),
}

impl TryFrom<Read> for Value {
    type Error = std::num::ParseIntError;

    fn try_from(read: Read) -> Result<Self, Self::Error> {
        Ok(match read {
            Read::Scalar(text) => Self::Scalar(text),
            Read::Array(elements) => {
                Self::Array(elements.into_iter().map(|(i, v)| Ok((i.parse()?, v))).collect::<Result<_, _>>()?)
            }
        })
    }
}

/// Every directive that was set, after the second expansion.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(pub BTreeMap<String, Value>);

impl Values {
    /// A directive without an index, or an array's index 0.
    #[must_use]
    pub fn scalar(&self, name: &str) -> Option<&str> {
        self.at(name, 0)
    }

    /// One element of an array; a scalar is its index 0, as in bash.
    #[must_use]
    pub fn at(&self, name: &str, index: u32) -> Option<&str> {
        match self.0.get(name)? {
            Value::Scalar(text) => (index == 0).then_some(text.as_str()),
            Value::Array(elements) => elements.get(&index).map(String::as_str),
        }
    }

    /// Every element of a directive, by index.
    pub fn elements(&self, name: &str) -> impl Iterator<Item = (u32, &str)> {
        let (scalar, array) = match self.0.get(name) {
            Some(Value::Scalar(text)) => (Some((0, text.as_str())), None),
            Some(Value::Array(elements)) => (None, Some(elements.iter().map(|(i, v)| (*i, v.as_str())))),
            None => (None, None),
        };
        scalar.into_iter().chain(array.into_iter().flatten())
    }

    /// Every value that was set: name, index (0 for a scalar), text.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.0.keys().flat_map(|name| self.elements(name).map(move |(index, text)| (name.as_str(), index, text)))
    }

    /// SHA-256 of the values, in hex: the same whenever the values are.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, index, text) in self.entries() {
            hash.update(name);
            hash.update([0]);
            hash.update(index.to_le_bytes());
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hex(&hash.finalize())
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, b| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Takes name, index and text as bash knows them, and keeps what is a directive in the shape it has here.
#[derive(Debug, Default)]
pub(super) struct Collector(Values);

impl Collector {
    /// An index that is not a number of ours, or a scalar's other than 0, takes no effect.
    pub(super) fn put(&mut self, name: &str, index: &str, text: &str) {
        let Ok(index) = index.parse::<u32>() else { return };
        if !is_directive(name) {
            return;
        }
        if is_array(name) {
            let entry = self.0.0.entry(name.to_owned()).or_insert_with(|| Value::Array(BTreeMap::new()));
            if let Value::Array(elements) = entry {
                elements.insert(index, text.to_owned());
            }
        } else if index == 0 {
            self.0.0.insert(name.to_owned(), Value::Scalar(text.to_owned()));
        }
    }

    pub(super) fn finish(self) -> Values {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_shape_in_json() {
        let mut values = Collector::default();
        values.put("MAKE", "2", "make");
        values.put("CLEAN", "0", "true");
        values.put("CLEAN", "1", "lost");
        values.put("OTHER", "0", "lost");
        let values = values.finish();
        let json = r#"{"CLEAN":"true","MAKE":{"2":"make"}}"#;
        assert_eq!(serde_json::to_string(&values).unwrap(), json);
        assert_eq!(serde_json::from_str::<Values>(json).unwrap(), values);
        assert!(serde_json::from_str::<Values>(r#"{"MAKE":{"x":"make"}}"#).is_err());
    }
}
