//! The syntax tree of the part of bash that is evaluated natively.

use std::rc::Rc;

/// Commands that run one after another.
pub(super) type List = Vec<AndOr>;

/// Pipelines joined by `&&` and `||`.
#[derive(Debug, Clone)]
pub(super) struct AndOr {
    pub(super) first: Pipeline,
    pub(super) rest: Vec<(Join, Pipeline)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    And,
    Or,
}

/// Commands joined by `|`.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) negated: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) kind: Kind,
    pub(super) redirects: Vec<Redirect>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Simple { assigns: Vec<Assign>, args: Vec<Arg> },
    Group(List),
    Subshell(List),
    If { branches: Vec<(List, List)>, otherwise: Option<List> },
    Case { subject: Word, arms: Vec<Arm> },
    For { name: String, words: Option<Vec<Word>>, body: List },
    Loop { until: bool, condition: List, body: List },
    Function { name: String, body: Rc<Command> },
    Condition(Condition),
    Arithmetic(Word),
}

#[derive(Debug, Clone)]
pub(super) struct Arm {
    pub(super) patterns: Vec<Word>,
    pub(super) body: List,
}

/// A word of a simple command; `local` and its like take assignments as words.
#[derive(Debug, Clone)]
pub(super) enum Arg {
    Word(Word),
    Assign(Assign),
}

#[derive(Debug, Clone)]
pub(super) struct Assign {
    pub(super) name: String,
    pub(super) index: Option<Word>,
    pub(super) append: bool,
    pub(super) value: AssignValue,
}

#[derive(Debug, Clone)]
pub(super) enum AssignValue {
    Text(Word),
    /// `( … )`, each with its `[index]=` when it has one.
    Array(Vec<(Option<Word>, Word)>),
}

#[derive(Debug, Clone)]
pub(super) struct Redirect {
    /// The descriptor; none means the operator's own.
    pub(super) fd: Option<u32>,
    pub(super) kind: RedirectKind,
}

#[derive(Debug, Clone)]
pub(super) enum RedirectKind {
    /// `> word`, `>> word`.
    Out(Word),
    /// `&> word`.
    OutAndErr(Word),
    /// `>& n`.
    Duplicate(u32),
    /// `< word`.
    In(Word),
    /// `<<< word`.
    HereString(Word),
    /// `<< word`, filled in when its body has been read.
    HereDoc(Rc<std::cell::RefCell<Word>>),
}

/// A word: parts that stand side by side.
#[derive(Debug, Clone, Default)]
pub(super) struct Word(pub(super) Vec<Part>);

#[derive(Debug, Clone)]
pub(super) enum Part {
    /// Bare text: patterns in it are active.
    Literal(String),
    /// Text that means itself: escaped, or in single quotes.
    Quoted(String),
    /// What stands in double quotes.
    Double(Vec<Part>),
    Param(Box<Param>),
    Command(List),
    Arithmetic(Word),
}

/// `$name`, `${name…}`.
#[derive(Debug, Clone)]
pub(super) struct Param {
    pub(super) name: Name,
    pub(super) index: Option<Index>,
    pub(super) indirect: bool,
    pub(super) op: Op,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Variable(String),
    Positional(usize),
    /// `@`
    All,
    /// `*`
    Joined,
    /// `#`
    Count,
    /// `?`
    Status,
}

#[derive(Debug, Clone)]
pub(super) enum Index {
    All,
    Joined,
    At(Word),
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    None,
    /// `${#x}`
    Length,
    /// `${!x[@]}`
    Keys,
    /// `-`, `=`, `+` (`?` is not evaluated natively); whether empty counts as unset.
    Default {
        empty_too: bool,
        what: char,
        word: Word,
    },
    /// `#`, `##`, `%`, `%%`.
    Trim {
        end: bool,
        longest: bool,
        pattern: Word,
    },
    /// `/`, `//`, `/#`, `/%`.
    Replace {
        kind: Replace,
        pattern: Word,
        with: Word,
    },
    Slice {
        offset: Word,
        length: Option<Word>,
    },
    /// `^`, `^^`, `,`, `,,`.
    Case {
        upper: bool,
        all: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    First,
    All,
    Start,
    End,
}

/// What stands between `[[` and `]]`.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Unary(String, Word),
    Binary(Word, String, Word),
}
