//! The native evaluator: bash's meaning for what dkms.conf files really use, without bash.
//!
//! Text is parsed ([`parse`], [`compound`], [`simple`], [`condition`], [`word`], [`braces`]) into a tree ([`ast`]) that
//! is run ([`interp`], [`redirect`], [`assign`]): words are expanded ([`expand`], [`operate`], [`split`], [`arith`],
//! [`pattern`]) and commands answered ([`builtins`], [`externals`]). What the kernel decides is followed ([`trace`]). It
//! starts no process and reads of the machine only what everybody may ([`world`]). Whatever is not certain to mean the
//! same to bash ends it with [`Uncertain`], and bash is asked.

mod arith;
mod assign;
mod ast;
mod braces;
mod builtins;
mod compound;
mod condition;
mod expand;
mod externals;
mod interp;
mod operate;
mod parse;
mod pattern;
mod primaries;
mod printf;
mod read;
mod redirect;
mod second;
mod simple;
mod split;
mod trace;
mod vars;
mod word;
mod world;

#[cfg(test)]
pub(super) use builtins::settings;
pub(super) use second::read;
pub(super) use trace::Trace;

/// Why bash has to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::conf) struct Uncertain {
    why: &'static str,
}

impl Uncertain {
    fn new(why: &'static str) -> Self {
        Self { why }
    }
}

impl std::fmt::Display for Uncertain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.why)
    }
}

/// An answer that is certain to be bash's too.
type Certain<T> = Result<T, Uncertain>;
