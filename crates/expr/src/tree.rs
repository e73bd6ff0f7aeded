//! What is done to a tree between parsing and evaluating.
//!
//! - functions that do not exist are refused here, with their place;
//! - the free variables are collected;
//! - `+ - * / %` become ours (see [`crate::arithmetic`]);
//! - what multiplies is paid for (see [`crate::budget`]): what is iterated, each round, and
//!   each value that goes into a list or a map.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, operators};

use crate::budget::{CHARGE, EACH};
use crate::library::{GLOBAL, JOIN, MACROS, MACROS_OWN, MEMBER, NAMESPACED, REPLACE};

/// Most levels of a tree. The scan of the text bounds it far below; this is what evaluation
/// relies on.
const TREE_DEPTH_MAX: usize = 1200;

/// Operators and the functions that stand for them.
const ARITHMETIC: [(&str, &str); 5] = [
    (operators::ADD, "@+"),
    (operators::SUBSTRACT, "@-"),
    (operators::MULTIPLY, "@*"),
    (operators::DIVIDE, "@/"),
    (operators::MODULO, "@%"),
];

/// Operators that stay as they are.
const OPERATORS: [&str; 16] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::OPT_INDEX,
    operators::OPT_SELECT,
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
];

/// A node that is refused, and why.
pub(crate) struct Fault {
    pub node: u64,
    pub what: String,
}

/// Checks and rewrites a tree; the names that it needs values of.
pub(crate) fn prepare(tree: &mut IdedExpr) -> Result<BTreeSet<String>, Fault> {
    let mut walk = Walk { bound: Vec::new(), names: BTreeSet::new(), depth: 0 };
    walk.node(tree)?;
    Ok(walk.names)
}

struct Walk {
    /// Names that comprehensions around the node bind.
    bound: Vec<String>,
    names: BTreeSet<String>,
    depth: usize,
}

impl Walk {
    fn node(&mut self, node: &mut IdedExpr) -> Result<(), Fault> {
        let id = node.id;
        let fault = |what: &str| Fault { node: id, what: what.to_owned() };
        self.depth += 1;
        if self.depth > TREE_DEPTH_MAX {
            return Err(fault("the expression is nested too deeply here; split it"));
        }
        match &mut node.expr {
            Expr::Unspecified => return Err(fault("something is missing here")),
            Expr::Literal(_) => {}
            Expr::Struct(_) => return Err(fault("messages cannot be made; a map {'a': 1} makes JSON")),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.node(&mut select.operand)?,
            Expr::Call(call) => self.call(call, id)?,
            Expr::Comprehension(comprehension) => self.comprehension(comprehension)?,
            Expr::List(list) => {
                for element in &mut list.elements {
                    self.node(element)?;
                    pay_unless_literal(element);
                }
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    self.entry(entry)?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A name may be written absolute, with a dot before it. Names with `@` are the macros' own.
    fn name(&mut self, name: &str) {
        let plain = name.trim_start_matches('.');
        if !plain.starts_with('@') && !self.bound.iter().any(|bound| bound == plain) {
            self.names.insert(plain.to_owned());
        }
    }

    fn entry(&mut self, entry: &mut IdedEntryExpr) -> Result<(), Fault> {
        match &mut entry.expr {
            EntryExpr::StructField(_) => Err(Fault { node: entry.id, what: "a map's keys are texts in quotes".into() }),
            EntryExpr::MapEntry(pair) => {
                self.node(&mut pair.key)?;
                self.node(&mut pair.value)?;
                pay_unless_literal(&mut pair.key);
                pay_unless_literal(&mut pair.value);
                Ok(())
            }
        }
    }

    fn call(&mut self, call: &mut CallExpr, id: u64) -> Result<(), Fault> {
        if let Some((_, ours)) = ARITHMETIC.iter().find(|(operator, _)| *operator == call.func_name) {
            // the accumulator of a comprehension is the interpreter's to add to
            if !call.args.first().is_some_and(is_macros_own) {
                call.func_name = (*ours).to_owned();
            }
        } else if !OPERATORS.contains(&call.func_name.as_str()) {
            self.function(call, id)?;
        }
        if let Some(target) = &mut call.target
            && !is_namespace(target, &self.bound, &call.func_name)
        {
            self.node(target)?;
        }
        for argument in &mut call.args {
            self.node(argument)?;
        }
        Ok(())
    }

    /// Is there such a function? The bounded forms take the place of the plain ones.
    fn function(&self, call: &mut CallExpr, id: u64) -> Result<(), Fault> {
        let name = call.func_name.as_str();
        let known = match &call.target {
            None => GLOBAL.contains(&name) || MACROS_OWN.contains(&name),
            Some(target) => MEMBER.contains(&name) || is_namespace(target, &self.bound, name),
        };
        if !known {
            return Err(Fault { node: id, what: unknown(call) });
        }
        if call.target.is_some() && name == "replace" {
            if call.args.len() != 2 {
                return Err(Fault { node: id, what: "replace() takes two texts: what, and by what".into() });
            }
            call.func_name = REPLACE.to_owned();
        } else if call.target.is_some() && name == "join" {
            call.func_name = JOIN.to_owned();
        }
        Ok(())
    }

    fn comprehension(&mut self, loops: &mut ComprehensionExpr) -> Result<(), Fault> {
        self.node(&mut loops.iter_range)?;
        self.node(&mut loops.accu_init)?;
        wrap(&mut loops.iter_range, EACH);
        let bound = self.bound.len();
        self.bound.push(loops.iter_var.clone());
        self.bound.extend(loops.iter_var2.clone());
        self.node(&mut loops.loop_cond)?;
        self.node(&mut loops.loop_step)?;
        self.bound.truncate(bound);
        self.node(&mut loops.result)?;
        // `map` and `filter` keep the shape that the interpreter appends in place for: their rounds are
        // paid for in the guard and the element. The others pay in the condition, whose errors end
        // them: those of a step are put off by `all` and `exists`.
        if matches!(loops.loop_cond.expr, Expr::Literal(_)) && is_macros_own(&loops.result) {
            pay_round(&mut loops.loop_step);
        } else {
            pay(&mut loops.loop_cond);
        }
        Ok(())
    }
}

/// Pays for a round of `map` and `filter`: `@result + [x]`, or `guard ? @result + [x] : @result`.
fn pay_round(step: &mut IdedExpr) {
    let Expr::Call(call) = &mut step.expr else { return };
    match call.func_name.as_str() {
        operators::CONDITIONAL => {
            let [guard, then, _] = call.args.as_mut_slice() else { return };
            pay(guard);
            pay_round(then);
        }
        operators::ADD => {
            let Some(Expr::List(list)) = call.args.get_mut(1).map(|list| &mut list.expr) else { return };
            // what is not a literal was paid for when the list was walked
            list.elements.iter_mut().filter(|element| matches!(element.expr, Expr::Literal(_))).for_each(pay);
        }
        _ => {}
    }
}

fn pay(node: &mut IdedExpr) {
    wrap(node, CHARGE);
}

fn wrap(node: &mut IdedExpr, function: &str) {
    let inner = std::mem::take(node);
    let id = inner.id;
    let call = CallExpr { func_name: function.to_owned(), target: None, args: vec![inner] };
    *node = IdedExpr { id, expr: Expr::Call(call) };
}

fn pay_unless_literal(node: &mut IdedExpr) {
    if !matches!(node.expr, Expr::Literal(_)) {
        pay(node);
    }
}

/// Is it a name that only macros can make?
fn is_macros_own(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name.starts_with('@'))
}

/// Is the target of a call a namespace (`math.abs(…)`) and not a value?
fn is_namespace(target: &IdedExpr, bound: &[String], function: &str) -> bool {
    let Expr::Ident(name) = &target.expr else { return false };
    !bound.contains(name) && NAMESPACED.iter().any(|known| known.split_once('.') == Some((name, function)))
}

fn unknown(call: &CallExpr) -> String {
    let name = &call.func_name;
    if MACROS.contains(&name.as_str()) {
        return format!("{name}() is not written like this; has(a.b), x.map(v, …), x.filter(v, …), x.exists(v, …)");
    }
    let space = match call.target.as_ref().map(|target| &target.expr) {
        Some(Expr::Ident(space)) if NAMESPACED.iter().any(|n| n.split_once('.').is_some_and(|(s, _)| s == space)) => {
            Some(space)
        }
        _ => None,
    };
    let (shown, known) = match (space, &call.target) {
        (Some(space), _) => {
            let of = NAMESPACED.iter().filter(|n| n.starts_with(&format!("{space}.")));
            (format!("{space}.{name}"), of.copied().collect::<Vec<_>>().join(", "))
        }
        (None, Some(_)) => (format!(".{name}"), MEMBER.join(", ")),
        (None, None) => (name.clone(), GLOBAL.join(", ")),
    };
    format!("there is no function {shown}(); there are: {known}")
}

/// The way to a field (`record.material`), where the tree has one that ends in it.
pub(crate) fn path_to(tree: &IdedExpr, field: &str) -> Option<String> {
    match &tree.expr {
        Expr::Select(select) if select.field == field && !select.test => {
            Some(written(&select.operand).map_or_else(|| field.to_owned(), |way| format!("{way}.{field}")))
        }
        Expr::Select(select) => path_to(&select.operand, field),
        Expr::Call(call) => call.target.iter().map(|t| &**t).chain(&call.args).find_map(|n| path_to(n, field)),
        Expr::List(list) => list.elements.iter().find_map(|n| path_to(n, field)),
        Expr::Map(map) => map.entries.iter().find_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(pair) => path_to(&pair.key, field).or_else(|| path_to(&pair.value, field)),
            EntryExpr::StructField(_) => None,
        }),
        Expr::Comprehension(loops) => [&loops.iter_range, &loops.loop_step].into_iter().find_map(|n| path_to(n, field)),
        _ => None,
    }
}

/// A chain of names as it was written.
fn written(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", written(&select.operand)?, select.field)),
        _ => None,
    }
}
