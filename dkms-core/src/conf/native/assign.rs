//! Assignments.

use std::collections::BTreeMap;

use super::ast::{Assign, AssignValue, Index, Name, Op, Param, Part, Word};
use super::interp::{Flow, Interp};
use super::{Certain, Uncertain};

impl Interp<'_> {
    /// `IFS=. read …`: assignments that last as long as the command. Only for `read`, which is what it is used with.
    pub(super) fn with_assigns(
        &mut self,
        assigns: &[Assign],
        name: &str,
        rest: &[String],
        declared: &[&Assign],
    ) -> Certain<Flow> {
        let [Assign { name: variable, index: None, append: false, value: AssignValue::Text(word) }] = assigns else {
            return Err(Uncertain::new("assignments before a command"));
        };
        let harmless = matches!(variable.as_str(), "LC_ALL" | "LANG");
        if harmless && self.text(word)? == "C" && !self.functions.contains_key(name) {
            return self.call(name, rest, declared);
        }
        if variable != "IFS" || name != "read" || self.functions.contains_key(name) {
            return Err(Uncertain::new("assignments before a command"));
        }
        let before = self.vars.ifs().to_owned();
        let text = self.text(word)?;
        self.vars.set("IFS", text)?;
        let flow = self.call(name, rest, declared)?;
        self.vars.set("IFS", before)?;
        Ok(flow)
    }

    pub(super) fn assign(&mut self, assign: &Assign) -> Certain<()> {
        self.spend(1)?;
        let name = &assign.name;
        match &assign.value {
            AssignValue::Text(word) => {
                let plain = is_plain(&word.0);
                let text = if plain { self.hand_on(name, |shell| shell.text(word))? } else { self.text(word)? };
                let old = |shell: &mut Self, at| {
                    let old = |shell: &mut Self| {
                        Ok(shell.vars.get(name)?.and_then(|v| v.element(at)).unwrap_or("").to_owned())
                    };
                    if assign.append { shell.hand_on(name, old) } else { Ok(String::new()) }
                };
                match &assign.index {
                    Some(index) => {
                        let at = self.subscript(index)?;
                        if assign.append && at < 0 {
                            return Err(Uncertain::new("appending to the end"));
                        }
                        let old = old(self, at)?;
                        self.vars.set_element(name, at, old + &text)
                    }
                    None => {
                        let old = old(self, 0)?;
                        self.vars.set(name, old + &text)
                    }
                }
            }
            AssignValue::Array(words) => {
                let mut elements: BTreeMap<i64, String> = BTreeMap::new();
                let mut values = Vec::new();
                // Every word is expanded before the old value goes.
                for (index, word) in words {
                    match index {
                        Some(index) => {
                            let at = self.subscript(index)?;
                            if at < 0 {
                                return Err(Uncertain::new("a negative subscript in a list"));
                            }
                            values.push((Some(at), self.text(word)?));
                        }
                        None => values.extend(self.fields(word)?.into_iter().map(|v| (None, v))),
                    }
                }
                if assign.append
                    && let Some(var) = self.vars.get(name)?
                {
                    elements.extend(var.elements().into_iter().map(|(i, v)| (i, v.to_owned())));
                }
                let mut next = elements.last_key_value().map_or(0, |(i, _)| i + 1);
                for (at, value) in values {
                    let at = at.unwrap_or(next);
                    elements.insert(at, value);
                    next = at + 1;
                }
                self.vars.set_array(name, elements)
            }
        }
    }

    /// Evaluates what becomes a part of a variable's value and nothing else ([`super::trace`]).
    fn hand_on(&mut self, name: &str, evaluate: impl FnOnce(&mut Self) -> Certain<String>) -> Certain<String> {
        let world = self.world;
        world.trace.hand_on(name, || evaluate(self))
    }

    fn subscript(&mut self, word: &Word) -> Certain<i64> {
        if matches!(word.bare().or(word.constant().as_deref()), Some("@" | "*")) {
            return Err(Uncertain::new("an assignment to all elements"));
        }
        self.number(word)
    }
}

/// Whether a word is only put together: text, and the values of variables as they are.
fn is_plain(parts: &[Part]) -> bool {
    // Other subscripts are reckoned with.
    let number = |index: &Word| index.constant().is_some_and(|text| text.bytes().all(|c| c.is_ascii_digit()));
    parts.iter().all(|part| match part {
        Part::Literal(_) | Part::Quoted(_) => true,
        Part::Double(parts) => is_plain(parts),
        Part::Param(param) => match &**param {
            Param { name: Name::Variable(_), index: None, indirect: false, op: Op::None } => true,
            Param { name: Name::Variable(_), index: Some(Index::At(index)), indirect: false, op: Op::None } => {
                number(index)
            }
            _ => false,
        },
        Part::Command(_) | Part::Arithmetic(_) => false,
    })
}
