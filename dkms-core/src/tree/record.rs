//! Records of ours as JSON: a damaged one is set aside as if it were not there, because none of them is worth stopping for.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{IoContext, Result};
use crate::tree::files;

/// Reads a record; none when there is none or when it makes no sense, which is logged.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(bytes) = files::read(path)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(record) => Ok(Some(record)),
        Err(e) => {
            tracing::warn!(path = %path.display(), "ignored: it is damaged: {e}");
            Ok(None)
        }
    }
}

/// The bytes of a record; `path` is where they will go.
pub(crate) fn bytes<T: Serialize>(record: &T, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(record).map_err(std::io::Error::from).at("write", path)?;
    bytes.push(b'\n');
    Ok(bytes)
}
