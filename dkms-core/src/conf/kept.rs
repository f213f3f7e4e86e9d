//! Values that only bash could give, kept over restarts: a look at the state starts no process.
//!
//! Best effort: where the folder cannot be written, bash is asked again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Heard;
use super::values::hex;
use crate::error::Result;

/// How long a result is kept that nobody asked for again.
const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// A folder with a file a result, named by the digest of all it depends on.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The values that are kept, else those that `evaluate` gives, which are kept from then on.
    pub(super) fn get_or(&self, key: &[u8; 32], evaluate: impl FnOnce() -> Result<Heard>) -> Result<Heard> {
        let path = self.folder.join(hex(key) + ".json");
        if let Some(heard) = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(heard);
        }
        let heard = evaluate()?;
        if let Err(why) = self.keep(&path, &heard) {
            tracing::debug!(path = %path.display(), %why, "cannot keep what bash said");
        }
        Ok(heard)
    }

    fn keep(&self, path: &Path, heard: &Heard) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            if age.is_some_and(|age| age > KEPT_FOR) {
                // Gone already is as good.
                let _ = fs::remove_file(entry.path());
            }
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&serde_json::to_vec(heard)?)?;
        file.persist(path)?;
        Ok(())
    }
}
