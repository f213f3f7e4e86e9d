//! Assignments.

use std::collections::BTreeMap;

use super::ast::{Assign, AssignValue, Word};
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
                let text = self.text(word)?;
                match &assign.index {
                    Some(index) => {
                        let at = self.subscript(index)?;
                        let old = match (assign.append, at) {
                            (true, 0..) => self.vars.get(name)?.and_then(|v| v.element(at)).unwrap_or("").to_owned(),
                            (true, _) => return Err(Uncertain::new("appending to the end")),
                            _ => String::new(),
                        };
                        self.vars.set_element(name, at, old + &text)
                    }
                    None => {
                        let old = if assign.append {
                            self.vars.get(name)?.and_then(|v| v.element(0)).unwrap_or("").to_owned()
                        } else {
                            String::new()
                        };
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

    fn subscript(&mut self, word: &Word) -> Certain<i64> {
        if matches!(word.bare().or(word.constant().as_deref()), Some("@" | "*")) {
            return Err(Uncertain::new("an assignment to all elements"));
        }
        self.number(word)
    }
}
