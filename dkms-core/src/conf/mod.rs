//! dkms.conf: from text to values to a validated [`Recipe`] for one kernel (dkms-contract.md §3).
//!
//! The caller never learns whether the native evaluator or bash answered: [`Evaluator`] is the only door.

pub mod recipe;
pub mod version;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use recipe::{ModuleRecipe, Recipe};

/// What a directive was set to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `NAME=text`.
    Scalar(String),
    /// `NAME[i]=text`; may be sparse.
    Array(BTreeMap<u32, String>),
}

/// Every directive that was set, after the second expansion.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(pub BTreeMap<String, Value>);
