//! Whether a build's modules bear a signature, and whose: what is on record of it (item "Signing" of dkms-contract.md §4).

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::artifact::certificate::Certificate;
use crate::artifact::{ModInfo, modinfo};
use crate::error::Result;

/// The signature on all modules of one build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Signing {
    /// Nobody has looked: another tool has built it.
    #[default]
    Unknown,
    /// At least one bears none.
    Unsigned {
        /// Why it could not be signed; none where it was not meant to be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
        /// [`crate::artifact::sign::Offer::mark`] of what it could have been signed with then; empty where that was
        /// not all there, or not to be used. The same is not worth another try.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        tried: String,
    },
    /// All bear one.
    Signed {
        /// The certificate's digest: [`Certificate::digest`]; empty when it is not ours.
        certificate: String,
        /// Its [`Certificate::key_id`].
        key_id: String,
    },
}

impl Signing {
    /// Reads the modules of a build. `failed`: why they could not be signed, when they should have been; `tried`: the
    /// mark of what there was to sign them with.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn of<'a>(
        modules: impl IntoIterator<Item = &'a Path>,
        certificate: Option<&Certificate>,
        failed: Option<String>,
        tried: String,
    ) -> Result<Self> {
        let mut ours = certificate;
        for module in modules {
            let bytes = modinfo::contents(module)?;
            if !ModInfo::parse(&bytes).is_ok_and(|info| info.signed) {
                return Ok(Self::Unsigned { failed, tried });
            }
            ours = ours.filter(|certificate| certificate.signed(&bytes));
        }
        let (certificate, key_id) = ours.map(|c| (c.digest.clone(), c.key_id.clone())).unwrap_or_default();
        Ok(Self::Signed { certificate, key_id })
    }
}
