//! Variables: scalars and sparse arrays, with the scopes of functions.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::{Certain, Trace, Uncertain};

/// Where `=~` puts what it captured.
const REMATCH: &str = "BASH_REMATCH";

/// How much all values together may hold, in bytes.
const MAX_BYTES: usize = 8 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Var {
    Scalar(String),
    Array(BTreeMap<i64, String>),
}

impl Var {
    pub(super) fn element(&self, index: i64) -> Option<&str> {
        match self {
            Self::Scalar(text) => (index == 0).then_some(text),
            Self::Array(elements) => elements.get(&index).map(String::as_str),
        }
    }

    /// Every element, by index.
    pub(super) fn elements(&self) -> Vec<(i64, &str)> {
        match self {
            Self::Scalar(text) => vec![(0, text)],
            Self::Array(elements) => elements.iter().map(|(i, v)| (*i, v.as_str())).collect(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Scalar(text) => text.len() + 64,
            Self::Array(elements) => elements.values().map(|v| v.len() + 64).sum::<usize>() + 64,
        }
    }
}

/// Names that bash itself gives a meaning or a value; what depends on them is left to bash.
fn is_special(name: &str) -> bool {
    name.starts_with("BASH")
        || name.starts_with("LC_")
        || name.starts_with("COMP_")
        || matches!(
            name,
            "_" | "CDPATH"
                | "COLUMNS"
                | "DIRSTACK"
                | "ENV"
                | "EPOCHREALTIME"
                | "EPOCHSECONDS"
                | "EUID"
                | "EXECIGNORE"
                | "FIGNORE"
                | "FUNCNAME"
                | "FUNCNEST"
                | "GLOBIGNORE"
                | "GROUPS"
                | "HISTCMD"
                | "HISTFILE"
                | "HOME"
                | "HOSTNAME"
                | "HOSTTYPE"
                | "LANG"
                | "LANGUAGE"
                | "LINENO"
                | "LINES"
                | "MACHTYPE"
                | "OLDPWD"
                | "OPTARG"
                | "OPTERR"
                | "OPTIND"
                | "OSTYPE"
                | "PATH"
                | "PIPESTATUS"
                | "POSIXLY_CORRECT"
                | "PPID"
                | "PS1"
                | "PS2"
                | "PS4"
                | "PWD"
                | "RANDOM"
                | "READLINE_LINE"
                | "SECONDS"
                | "SHELL"
                | "SHELLOPTS"
                | "SHLVL"
                | "SRANDOM"
                | "TERM"
                | "TIMEFORMAT"
                | "TMOUT"
                | "TMPDIR"
                | "UID"
                | "USER"
                | "LOGNAME"
        )
        || name.starts_with("__dkmsd")
}

#[derive(Debug, Clone)]
pub(super) struct Vars {
    live: HashMap<String, Var>,
    /// For the file, which is read inside a function, and each function that runs: what its locals hide.
    hidden: Vec<HashMap<String, Option<Var>>>,
    /// Whether what the last `=~` captured is not certain.
    uncertain_captures: bool,
    bytes: usize,
    /// Shared with the copies that subshells make: what they read counts.
    trace: Rc<Trace>,
}

impl Vars {
    pub(super) fn new(trace: Rc<Trace>) -> Self {
        Self { live: HashMap::new(), hidden: vec![HashMap::new()], uncertain_captures: false, bytes: 0, trace }
    }

    pub(super) fn get(&self, name: &str) -> Certain<Option<&Var>> {
        self.trace.read(name);
        self.peek(name)
    }

    /// What a variable holds, for what only hands it on.
    pub(super) fn peek(&self, name: &str) -> Certain<Option<&Var>> {
        if name == REMATCH && self.uncertain_captures {
            return Err(Uncertain::new("what =~ captured"));
        }
        if name != REMATCH && is_special(name) {
            return Err(Uncertain::new("a variable of bash's own"));
        }
        Ok(self.live.get(name))
    }

    /// Fills `BASH_REMATCH`; none when what it holds is not certain.
    pub(super) fn captured(&mut self, groups: Option<Vec<String>>) {
        self.uncertain_captures = groups.is_none();
        let elements = (0..).zip(groups.unwrap_or_default()).collect();
        self.live.insert(REMATCH.to_owned(), Var::Array(elements));
    }

    /// `$IFS`; the default when it is unset.
    pub(super) fn ifs(&self) -> &str {
        self.trace.read("IFS");
        self.live.get("IFS").and_then(|v| v.element(0)).unwrap_or(" \t\n")
    }

    fn put(&mut self, name: &str, var: Option<Var>) -> Certain<()> {
        if is_special(name) {
            return Err(Uncertain::new("a variable of bash's own"));
        }
        if let Some(var) = &var {
            self.bytes += var.size();
        }
        let old = match var {
            Some(var) => self.live.insert(name.to_owned(), var),
            None => self.live.remove(name),
        };
        self.bytes = self.bytes.saturating_sub(old.map_or(0, |v| v.size()));
        if self.bytes > MAX_BYTES { Err(Uncertain::new("values that are too big")) } else { Ok(()) }
    }

    /// `name=text`; an array's element 0.
    pub(super) fn set(&mut self, name: &str, text: String) -> Certain<()> {
        match self.live.get(name) {
            Some(Var::Array(_)) => self.set_element(name, 0, text),
            _ => self.put(name, Some(Var::Scalar(text))),
        }
    }

    pub(super) fn set_element(&mut self, name: &str, index: i64, text: String) -> Certain<()> {
        if is_special(name) || name == "IFS" {
            return Err(Uncertain::new("a variable of bash's own"));
        }
        let mut index = index;
        if index < 0 && !matches!(self.live.get(name), Some(Var::Array(_))) {
            return Err(Uncertain::new("a subscript before the start"));
        }
        let var = self.live.entry(name.to_owned()).or_insert_with(|| Var::Array(BTreeMap::new()));
        if let Var::Scalar(old) = var {
            *var = Var::Array(BTreeMap::from([(0, std::mem::take(old))]));
        }
        let Var::Array(elements) = var else { return Err(Uncertain::new("an array")) };
        if index < 0 {
            // From the end.
            let end = elements.last_key_value().map_or(0, |(i, _)| i + 1);
            index += end;
            if index < 0 {
                return Err(Uncertain::new("a subscript before the start"));
            }
        }
        self.bytes += text.len() + 64;
        let old = elements.insert(index, text);
        self.bytes = self.bytes.saturating_sub(old.map_or(0, |t| t.len() + 64));
        if self.bytes > MAX_BYTES { Err(Uncertain::new("values that are too big")) } else { Ok(()) }
    }

    pub(super) fn set_array(&mut self, name: &str, elements: BTreeMap<i64, String>) -> Certain<()> {
        if name == "IFS" {
            return Err(Uncertain::new("IFS as an array"));
        }
        self.put(name, Some(Var::Array(elements)))
    }

    pub(super) fn unset(&mut self, name: &str) -> Certain<()> {
        if name == "IFS" {
            return Err(Uncertain::new("IFS unset"));
        }
        let [callers @ .., own] = &self.hidden[..] else { return self.put(name, None) };
        if !own.contains_key(name) && callers.iter().any(|frame| frame.contains_key(name)) {
            return Err(Uncertain::new("unset of a caller's local variable"));
        }
        self.put(name, None)
    }

    pub(super) fn unset_element(&mut self, name: &str, index: i64) -> Certain<()> {
        match self.live.get_mut(name) {
            Some(Var::Array(elements)) => {
                let index = if index < 0 { elements.last_key_value().map_or(0, |(i, _)| i + 1) + index } else { index };
                elements.remove(&index);
                Ok(())
            }
            Some(Var::Scalar(_)) => Err(Uncertain::new("a subscript of what is no array")),
            None => Ok(()),
        }
    }

    /// A function begins.
    pub(super) fn enter(&mut self) {
        self.hidden.push(HashMap::new());
    }

    /// It ends: what its locals hid is back.
    pub(super) fn leave(&mut self) -> Certain<()> {
        for (name, var) in self.hidden.pop().unwrap_or_default() {
            self.put(&name, var)?;
        }
        Ok(())
    }

    /// Makes a name local to the function that runs, unset.
    pub(super) fn local(&mut self, name: &str) -> Certain<()> {
        let Some(frame) = self.hidden.last() else { return Ok(()) };
        if frame.contains_key(name) {
            return Ok(());
        }
        let old = self.live.get(name).cloned();
        if name == "IFS" {
            return Err(Uncertain::new("a local IFS"));
        }
        self.put(name, None)?;
        if let Some(frame) = self.hidden.last_mut() {
            frame.insert(name.to_owned(), old);
        }
        Ok(())
    }
}
