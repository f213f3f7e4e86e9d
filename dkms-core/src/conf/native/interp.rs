//! Running commands: lists, loops, functions, substitutions and redirections.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::ast::{AndOr, Arg, Assign, Command, Condition, Join, Kind, List, Pipeline, Redirect, RedirectKind, Word};
use super::builtins;
use super::operate::matchable;
use super::vars::Vars;
use super::world::World;
use super::{Certain, Uncertain};

/// How long a file may take.
const MAX_TIME: Duration = Duration::from_secs(2);
/// How many steps a file may take.
const MAX_STEPS: usize = 400_000;
/// How deep calls and substitutions may go.
const MAX_DEPTH: usize = 60;
/// How much a substitution may say.
const MAX_OUTPUT: usize = 1 << 20;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break(usize),
    Continue(usize),
    Return,
    Exit,
}

/// Where a descriptor leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    Nowhere,
    Captured,
}

pub(super) struct Interp<'w> {
    pub(super) world: &'w World<'w>,
    pub(super) vars: Vars,
    pub(super) functions: HashMap<String, Rc<Command>>,
    pub(super) arguments: Vec<String>,
    pub(super) status: i32,
    /// What standard output said, when that is captured.
    pub(super) output: Vec<u8>,
    pub(super) out: Sink,
    pub(super) err: Sink,
    /// What is left of standard input.
    pub(super) input: Option<String>,
    /// Whether the command at hand has run a substitution.
    substituted: bool,
    calls: usize,
    loops: usize,
    subshells: usize,
    steps: usize,
    started: Instant,
    depth: usize,
}

impl<'w> Interp<'w> {
    pub(super) fn new(world: &'w World<'w>, vars: Vars) -> Self {
        Self {
            world,
            vars,
            functions: HashMap::new(),
            arguments: Vec::new(),
            status: 0,
            output: Vec::new(),
            out: Sink::Nowhere,
            err: Sink::Nowhere,
            input: None,
            substituted: false,
            calls: 0,
            loops: 0,
            subshells: 0,
            steps: 0,
            started: Instant::now(),
            depth: 0,
        }
    }

    pub(super) fn spend(&mut self, steps: usize) -> Certain<()> {
        let before = self.steps;
        self.steps += steps;
        if self.steps > MAX_STEPS {
            return Err(Uncertain::new("too many steps"));
        }
        // The clock is asked now and then only.
        if before / 128 != self.steps / 128 && self.started.elapsed() > MAX_TIME {
            return Err(Uncertain::new("too much time"));
        }
        Ok(())
    }

    pub(super) fn deeper(&mut self) -> Certain<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Uncertain::new("nested too deeply")) } else { Ok(()) }
    }

    pub(super) fn shallower(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn in_function(&self) -> bool {
        self.calls > 0
    }

    pub(super) fn in_loop(&self) -> bool {
        self.loops > 0
    }

    pub(super) fn in_subshell(&self) -> bool {
        self.subshells > 0
    }

    pub(super) fn say(&mut self, text: &str) -> Certain<()> {
        if self.out == Sink::Captured {
            self.output.extend_from_slice(text.as_bytes());
            if self.output.len() > MAX_OUTPUT {
                return Err(Uncertain::new("too much output"));
            }
        }
        Ok(())
    }

    pub(super) fn list(&mut self, list: &List) -> Certain<Flow> {
        for and_or in list {
            let flow = self.and_or(and_or)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn and_or(&mut self, and_or: &AndOr) -> Certain<Flow> {
        let mut flow = self.pipeline(&and_or.first)?;
        for (join, pipeline) in &and_or.rest {
            if flow != Flow::Next {
                return Ok(flow);
            }
            if (self.status == 0) == (*join == Join::And) {
                flow = self.pipeline(pipeline)?;
            }
        }
        Ok(flow)
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Certain<Flow> {
        let flow = match &pipeline.commands[..] {
            [only] => self.command(only)?,
            commands => {
                let mut input = self.input.clone();
                for (i, command) in commands.iter().enumerate() {
                    let last = i + 1 == commands.len();
                    let said = self.subshell(|shell| {
                        shell.input = input.take();
                        if !last {
                            shell.out = Sink::Captured;
                        }
                        shell.command(command)
                    })?;
                    if last {
                        if self.out == Sink::Captured {
                            self.output.extend(said);
                        }
                    } else {
                        input = Some(text(said)?);
                    }
                }
                Flow::Next
            }
        };
        if pipeline.negated {
            self.status = i32::from(self.status == 0);
        }
        Ok(flow)
    }

    /// Runs something whose effects on variables are lost; what it said is returned.
    fn subshell(&mut self, run: impl FnOnce(&mut Self) -> Certain<Flow>) -> Certain<Vec<u8>> {
        self.deeper()?;
        self.spend(128)?;
        let kept = (
            self.vars.clone(),
            self.functions.clone(),
            self.arguments.clone(),
            self.input.clone(),
            std::mem::take(&mut self.output),
            (self.out, self.err, self.loops),
        );
        self.loops = 0;
        self.subshells += 1;
        let flow = run(self)?;
        self.subshells -= 1;
        if matches!(flow, Flow::Break(_) | Flow::Continue(_)) {
            return Err(Uncertain::new("a loop left from a subshell"));
        }
        let said = std::mem::take(&mut self.output);
        (self.vars, self.functions, self.arguments, self.input, self.output, (self.out, self.err, self.loops)) = kept;
        self.shallower();
        Ok(said)
    }

    /// `$( … )`.
    pub(super) fn substitute(&mut self, list: &List) -> Certain<String> {
        let said = self.subshell(|shell| {
            if let Some(path) = only_a_file(list) {
                let path = shell.text(path)?;
                let text = shell.file(&path)?;
                shell.output = text.into_bytes();
                shell.status = 0;
                return Ok(Flow::Next);
            }
            shell.out = Sink::Captured;
            if list.is_empty() {
                shell.status = 0;
            }
            shell.list(list)
        })?;
        self.substituted = true;
        let mut text = text(said)?;
        text.truncate(text.trim_end_matches('\n').len());
        Ok(text)
    }

    pub(super) fn kind(&mut self, kind: &Kind) -> Certain<Flow> {
        self.deeper()?;
        let flow = match kind {
            Kind::Simple { assigns, args } => self.simple(assigns, args)?,
            Kind::Group(list) => self.list(list)?,
            Kind::Subshell(list) => {
                let said = self.subshell(|shell| shell.list(list))?;
                if self.out == Sink::Captured {
                    self.output.extend(said);
                }
                Flow::Next
            }
            Kind::If { branches, otherwise } => self.choose(branches, otherwise.as_ref())?,
            Kind::Case { subject, arms } => {
                let subject = self.subject(subject)?;
                let subject = matchable(&subject)?;
                let mut flow = Flow::Next;
                let mut ran = false;
                'arms: for arm in arms {
                    for pattern in &arm.patterns {
                        let pattern = self.pattern(pattern)?;
                        let hit = pattern.matches(&subject)?;
                        self.spend(pattern.steps() / 8)?;
                        if hit {
                            ran = !arm.body.is_empty();
                            flow = self.list(&arm.body)?;
                            break 'arms;
                        }
                    }
                }
                if !ran {
                    self.status = 0;
                }
                flow
            }
            Kind::For { name, words, body } => {
                let values = match words {
                    Some(words) => {
                        let mut values = Vec::new();
                        for word in words {
                            values.extend(self.fields(word)?);
                        }
                        values
                    }
                    None => self.arguments.clone(),
                };
                if values.is_empty() {
                    self.status = 0;
                }
                self.loops += 1;
                let mut flow = Flow::Next;
                for value in values {
                    self.vars.set(name, value)?;
                    if let Some(over) = self.body(body)? {
                        flow = over;
                        break;
                    }
                }
                self.loops -= 1;
                flow
            }
            Kind::Loop { until, condition, body } => {
                let mut last = 0;
                self.loops += 1;
                let mut flow = Flow::Next;
                loop {
                    if let Some(over) = self.body(condition)? {
                        flow = over;
                        break;
                    }
                    if (self.status == 0) == *until {
                        self.status = last;
                        break;
                    }
                    if let Some(over) = self.body(body)? {
                        flow = over;
                        break;
                    }
                    last = self.status;
                }
                self.loops -= 1;
                flow
            }
            Kind::Function { name, body } => {
                if builtins::is_special(name) {
                    return Err(Uncertain::new("a builtin's name for a function"));
                }
                self.functions.insert(name.clone(), Rc::clone(body));
                self.status = 0;
                Flow::Next
            }
            Kind::Condition(condition) => {
                let holds = self.condition(condition)?;
                self.status = i32::from(!holds);
                Flow::Next
            }
            Kind::Arithmetic(word) => {
                let value = self.number(word)?;
                self.status = i32::from(value == 0);
                Flow::Next
            }
        };
        self.shallower();
        Ok(flow)
    }

    /// One round of a loop; how the loop ends when it is over.
    fn body(&mut self, body: &List) -> Certain<Option<Flow>> {
        self.spend(1)?;
        Ok(match self.list(body)? {
            Flow::Next | Flow::Continue(1) => None,
            Flow::Break(1) => Some(Flow::Next),
            Flow::Break(n) => Some(Flow::Break(n - 1)),
            Flow::Continue(n) => Some(Flow::Continue(n - 1)),
            over => Some(over),
        })
    }

    fn choose(&mut self, branches: &[(List, List)], otherwise: Option<&List>) -> Certain<Flow> {
        for (condition, body) in branches {
            let flow = self.list(condition)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
            if self.status == 0 {
                return self.list(body);
            }
        }
        match otherwise {
            Some(body) => self.list(body),
            None => {
                self.status = 0;
                Ok(Flow::Next)
            }
        }
    }

    fn condition(&mut self, condition: &Condition) -> Certain<bool> {
        self.spend(1)?;
        match condition {
            Condition::And(a, b) => Ok(self.condition(a)? && self.condition(b)?),
            Condition::Or(a, b) => Ok(self.condition(a)? || self.condition(b)?),
            Condition::Not(a) => Ok(!self.condition(a)?),
            Condition::Unary(op, word) => {
                let operand = self.text(word)?;
                self.unary_test(op, &operand)
            }
            Condition::Binary(left, op, right) => {
                let left = self.text(left)?;
                match op.as_str() {
                    "=" | "==" | "!=" => {
                        let pattern = self.pattern(right)?;
                        let hit = pattern.matches(&matchable(&left)?)?;
                        self.spend(pattern.steps() / 8)?;
                        Ok(hit == (op != "!="))
                    }
                    "=~" => {
                        let pattern = self.regex(right)?;
                        self.regex_test(&left, &pattern)
                    }
                    "<" | ">" => {
                        let right = self.text(right)?;
                        Ok(if op == "<" { left < right } else { left > right })
                    }
                    op => {
                        let right = self.text(right)?;
                        let a = super::arith::evaluate(self, &left, 0)?;
                        let b = super::arith::evaluate(self, &right, 0)?;
                        Ok(super::primaries::compare(op, a, b)?)
                    }
                }
            }
        }
    }

    fn simple(&mut self, assigns: &[Assign], args: &[Arg]) -> Certain<Flow> {
        let mut words = Vec::new();
        let mut declared = Vec::new();
        self.substituted = false;
        for arg in args {
            match arg {
                Arg::Word(word) => words.extend(self.fields(word)?),
                Arg::Assign(assign) => declared.push(assign),
            }
        }
        let Some((name, rest)) = words.split_first() else {
            for assign in assigns {
                self.assign(assign)?;
            }
            // The status of the last substitution, when there was one.
            if !self.substituted {
                self.status = 0;
            }
            return Ok(Flow::Next);
        };
        if !assigns.is_empty() {
            return self.with_assigns(assigns, name, rest, &declared);
        }
        self.call(name, rest, &declared)
    }

    pub(super) fn call(&mut self, name: &str, args: &[String], declared: &[&Assign]) -> Certain<Flow> {
        self.spend(1)?;
        let Some(body) = self.functions.get(name).map(Rc::clone) else {
            return builtins::run(self, name, args, declared);
        };
        self.deeper()?;
        let arguments = std::mem::replace(&mut self.arguments, args.to_vec());
        let loops = std::mem::take(&mut self.loops);
        self.vars.enter();
        self.calls += 1;
        let flow = self.command(&body)?;
        self.calls -= 1;
        self.vars.leave()?;
        self.loops = loops;
        self.arguments = arguments;
        self.shallower();
        match flow {
            Flow::Exit => Ok(Flow::Exit),
            Flow::Next | Flow::Return => Ok(Flow::Next),
            Flow::Break(_) | Flow::Continue(_) => Err(Uncertain::new("a loop left from a function")),
        }
    }
}

/// The word of `$(< word)`, which stands for the text of that file.
fn only_a_file(list: &List) -> Option<&Word> {
    let [AndOr { first: Pipeline { negated: false, commands }, rest }] = &list[..] else { return None };
    let ([Command { kind: Kind::Simple { assigns, args }, redirects }], true) = (&commands[..], rest.is_empty()) else {
        return None;
    };
    match &redirects[..] {
        [Redirect { fd: None | Some(0), kind: RedirectKind::In(word) }] if assigns.is_empty() && args.is_empty() => {
            Some(word)
        }
        _ => None,
    }
}

fn text(said: Vec<u8>) -> Certain<String> {
    String::from_utf8(said).map_err(|_| Uncertain::new("output that is not UTF-8"))
}
