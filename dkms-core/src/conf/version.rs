//! Version order: split at digit/non-digit borders, pad numbers to three digits, compare as strings
//! (dkms-contract.md §2, last paragraph).
