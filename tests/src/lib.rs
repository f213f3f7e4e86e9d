//! Whole-program tests live in the folders beside this file.
