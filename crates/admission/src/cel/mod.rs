//! CEL in three-valued logic: an expression is true, false or an error, or it cannot be known, because it asks for
//! something that is not known here or uses a function that is not carried out here. Never a guess.
//!
//! `false && unknown` is false, and `true || unknown` true, as with errors; between an error and something unknown the
//! unknown one wins, since it might have decided. Parsing is the `cel` crate's; its interpreter has no unknown values,
//! so evaluation is ours.

mod declared;
mod functions;
mod value;

use crate::request::Request;
use ::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use ::cel::parser::Parser;
use serde_json::Value as Json;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use value::{Failure, Outcome, Value};

/// Longer ones are not evaluated. Kubernetes' own conditions are a few lines.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Steps of one evaluation.
const STEPS_MAX: usize = 200_000;
/// Nesting of expressions.
const DEPTH_MAX: usize = 200;
/// Parser and evaluation recurse, and not on the stack of whoever asks.
const STACK_BYTES: usize = 32 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    /// What Kubernetes would have failed with, in our words.
    Error(String),
    /// Why it cannot be known.
    Unknown(String),
}

/// What an expression may name.
pub struct Variables<'a> {
    object: &'a Json,
    old_object: &'a Json,
    object_known: bool,
    request: &'a Json,
    /// Of a policy: null if it has none, absent if what it is cannot be known.
    params: Option<Option<&'a Json>>,
    /// Of a policy: `variables.NAME`.
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Variables<'a> {
    /// For a webhook's conditions; `for_cel` is the request's own form of itself.
    pub fn new(request: &'a Request, for_cel: &'a Json) -> Variables<'a> {
        Variables {
            object: &request.object,
            old_object: &request.old_object,
            object_known: request.object_known,
            request: for_cel,
            params: None,
            named: BTreeMap::new(),
        }
    }

    /// For a policy: `params` (none: they cannot be known; some null: it takes none), and its variables by name.
    pub(crate) fn with_policy(mut self, params: Option<&'a Json>, named: BTreeMap<&'a str, &'a str>) -> Variables<'a> {
        self.params = Some(params);
        self.named = named;
        self
    }
}

/// What the expression, which is to be a condition, comes to.
pub fn evaluate(expression: &str, variables: &Variables<'_>) -> Truth {
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Truth::Unknown(format!(
            "the expression has {} bytes, more than the {EXPRESSION_BYTES_MAX} that are looked at",
            expression.len()
        ));
    }
    std::thread::scope(|scope| {
        let evaluation = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || evaluate_here(expression, variables));
        match evaluation.map(|thread| thread.join()) {
            Ok(Ok(truth)) => truth,
            Ok(Err(_)) => Truth::Unknown("the expression could not be evaluated".to_owned()),
            Err(error) => Truth::Unknown(format!("the expression could not be evaluated: {error}")),
        }
    })
}

fn evaluate_here(expression: &str, variables: &Variables<'_>) -> Truth {
    let evaluation = Evaluation { variables, steps: Cell::new(0), naming: Cell::new(0) };
    let parsed = match parse(expression) {
        Ok(parsed) => parsed,
        Err(error) => return Truth::Error(error),
    };
    if let Err(error) = declared::check(&parsed, variables.params.is_some()) {
        return Truth::Error(error);
    }
    match evaluation.evaluate(&parsed, &Scope::default(), 0) {
        Ok(Value::Bool(true)) => Truth::True,
        Ok(Value::Bool(false)) => Truth::False,
        Ok(other) => Truth::Error(format!("must evaluate to bool, not {}", other.type_name())),
        Err(Failure::Error(error)) => Truth::Error(error),
        Err(Failure::Unknown(why)) => Truth::Unknown(why),
    }
}

fn parse(expression: &str) -> Result<IdedExpr, String> {
    let parser = Parser::new().enable_optional_syntax(true).enable_ident_escape_syntax(true);
    parser.parse(expression).map_err(|error| format!("compilation failed: {}", error.to_string().trim()))
}

/// Variables of the comprehensions around an expression.
#[derive(Clone, Default)]
struct Scope(Option<Rc<Binding>>);

struct Binding {
    name: String,
    value: Outcome,
    outer: Scope,
}

impl Scope {
    fn with(&self, name: &str, value: Outcome) -> Scope {
        Scope(Some(Rc::new(Binding { name: name.to_owned(), value, outer: self.clone() })))
    }

    fn find(&self, name: &str) -> Option<&Outcome> {
        let mut scope = self;
        while let Some(binding) = &scope.0 {
            if binding.name == name {
                return Some(&binding.value);
            }
            scope = &binding.outer;
        }
        None
    }
}

struct Evaluation<'a> {
    variables: &'a Variables<'a>,
    steps: Cell<usize>,
    /// How many named variables are being evaluated within each other.
    naming: Cell<usize>,
}

impl Evaluation<'_> {
    fn evaluate(&self, expr: &IdedExpr, scope: &Scope, depth: usize) -> Outcome {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS_MAX || depth > DEPTH_MAX {
            return Err(Failure::unknown("the expression takes too long to evaluate here"));
        }
        let depth = depth + 1;
        match &expr.expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Ident(name) => self.named(name, scope),
            Expr::Select(select) => {
                if !select.test && is_ident(&select.operand, "variables") && scope.find("variables").is_none() {
                    return self.policy_variable(&select.field);
                }
                let operand = self.evaluate(&select.operand, scope, depth)?;
                if select.test { operand.has(&select.field) } else { operand.select(&select.field) }
            }
            Expr::Call(call) => self.call(call, scope, depth),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, scope, depth),
            Expr::List(list) => {
                if !list.optional_indices.is_empty() {
                    return Err(Failure::unknown("optional elements are not evaluated here"));
                }
                let items = list.elements.iter().map(|element| self.evaluate(element, scope, depth));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(Failure::error("not a map entry"));
                    };
                    if entry.optional {
                        return Err(Failure::unknown("optional entries are not evaluated here"));
                    }
                    let key = self.evaluate(&entry.key, scope, depth)?;
                    entries.push((key, self.evaluate(&entry.value, scope, depth)?));
                }
                Ok(Value::Map(entries))
            }
            Expr::Struct(made) => {
                Err(Failure::unknown(&format!("objects of type {} are not made here", made.type_name)))
            }
            Expr::Unspecified => Err(Failure::error("empty expression")),
        }
    }

    fn named(&self, name: &str, scope: &Scope) -> Outcome {
        if let Some(bound) = scope.find(name) {
            return bound.clone();
        }
        let Variables { object, old_object, object_known, request, params, .. } = self.variables;
        let seen = |object: &Json| {
            let value = Value::from_json(object);
            if *object_known { value } else { value.with_unknown_parts() }
        };
        match (name, params) {
            ("object", _) => Ok(seen(object)),
            ("oldObject", _) => Ok(seen(old_object)),
            ("request", _) => Ok(Value::request(request)),
            ("authorizer", _) => Err(Failure::unknown("what the authorizer allows is not known here")),
            ("params", Some(Some(params))) => Ok(Value::from_json(params)),
            ("params", Some(None)) => Err(Failure::unknown("the policy's parameters are not known here")),
            ("namespaceObject", Some(_)) => Err(Failure::unknown("the namespace's object is not known here")),
            ("namespaceObject", None) => Ok(Value::Null),
            _ => match Value::type_named(name) {
                Some(of) => Ok(of),
                None => Err(Failure::error(&format!("undeclared reference to {name:?}"))),
            },
        }
    }

    fn policy_variable(&self, name: &str) -> Outcome {
        let expression = self.variables.named.get(name);
        let expression = expression.ok_or_else(|| Failure::error(&format!("undefined field {name:?} of variables")))?;
        if self.naming.get() >= DEPTH_MAX / 8 || expression.len() > EXPRESSION_BYTES_MAX {
            return Err(Failure::unknown("variables are nested too deeply"));
        }
        self.naming.set(self.naming.get() + 1);
        let parsed = parse(expression).map_err(|error| Failure::Error(format!("variable {name:?}: {error}")))?;
        let outcome = self.evaluate(&parsed, &Scope::default(), 0);
        self.naming.set(self.naming.get() - 1);
        outcome
    }

    fn call(&self, call: &CallExpr, scope: &Scope, depth: usize) -> Outcome {
        let argument = |place: usize| match call.args.get(place) {
            Some(argument) => self.evaluate(argument, scope, depth),
            None => Err(Failure::error(&format!("{}: an argument is missing", call.func_name))),
        };
        match call.func_name.as_str() {
            operators::LOGICAL_AND => combine(argument(0), || argument(1), false),
            operators::LOGICAL_OR => combine(argument(0), || argument(1), true),
            // A condition that is not known may be an error, even if both ways lead to one place.
            operators::CONDITIONAL => argument(if truth(argument(0))? { 1 } else { 2 }),
            operators::NOT_STRICTLY_FALSE => Ok(Value::Bool(argument(0) != Ok(Value::Bool(false)))),
            name if functions::is_macro(name) => Err(functions::not_here(name)),
            name => {
                if let Some(target) = &call.target {
                    // `math.greatest(…)`, `ip.isCanonical(…)`: libraries, not values.
                    if let Expr::Ident(library) = &target.expr
                        && functions::LIBRARIES.contains(&library.as_str())
                        && scope.find(library).is_none()
                    {
                        return Err(functions::not_here(&format!("{library}.{name}")));
                    }
                }
                let mut values = Vec::with_capacity(call.args.len() + 1);
                if let Some(target) = &call.target {
                    values.push(self.evaluate(target, scope, depth)?);
                }
                for place in 0..call.args.len() {
                    values.push(argument(place)?);
                }
                functions::call(name, call.target.is_some(), values)
            }
        }
    }

    /// The loop that macros come to.
    fn comprehension(&self, loops: &ComprehensionExpr, scope: &Scope, depth: usize) -> Outcome {
        // A loop over a map with one variable is over its keys.
        let (items, is_map): (Vec<(Value, Value)>, bool) = match self.evaluate(&loops.iter_range, scope, depth)? {
            Value::List(items) => {
                (items.into_iter().enumerate().map(|(at, item)| (Value::Int(at as i64), item)).collect(), false)
            }
            Value::Map(entries) => (entries, true),
            Value::Partial { .. } => return Err(Failure::unknown("not all of the object is known here")),
            other => return Err(Failure::error(&format!("no such overload: a loop over {}", other.type_name()))),
        };
        let mut accumulated = self.evaluate(&loops.accu_init, scope, depth);
        for (key, item) in items {
            let inner = scope.with(&loops.accu_var, accumulated.clone());
            if self.evaluate(&loops.loop_cond, &inner, depth) == Ok(Value::Bool(false)) {
                break;
            }
            let inner = match &loops.iter_var2 {
                Some(second) => inner.with(&loops.iter_var, Ok(key)).with(second, Ok(item)),
                None if is_map => inner.with(&loops.iter_var, Ok(key)),
                None => inner.with(&loops.iter_var, Ok(item)),
            };
            accumulated = self.evaluate(&loops.loop_step, &inner, depth);
            if let Err(Failure::Unknown(why)) = &accumulated
                && self.steps.get() > STEPS_MAX
            {
                return Err(Failure::Unknown(why.clone()));
            }
        }
        self.evaluate(&loops.result, &scope.with(&loops.accu_var, accumulated), depth)
    }
}

fn is_ident(expr: &IdedExpr, name: &str) -> bool {
    matches!(&expr.expr, Expr::Ident(ident) if ident == name)
}

fn constant(literal: &LiteralValue) -> Value {
    match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Bytes(value) => Value::Bytes(value.inner().to_vec()),
        LiteralValue::Double(value) => Value::Double(**value),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(value) => Value::Text(value.inner().to_owned()),
        LiteralValue::UInt(value) => Value::Uint(**value),
    }
}

fn truth(outcome: Outcome) -> Result<bool, Failure> {
    match outcome? {
        Value::Bool(truth) => Ok(truth),
        other => Err(Failure::error(&format!("no such overload: {} is no condition", other.type_name()))),
    }
}

/// `&&` if `decisive` is false, `||` if it is true: one decisive side is enough, whatever the other is.
fn combine(one: Outcome, other: impl FnOnce() -> Outcome, decisive: bool) -> Outcome {
    let one = truth(one);
    if one == Ok(decisive) {
        return Ok(Value::Bool(decisive));
    }
    match (one, truth(other())) {
        (_, Ok(other)) if other == decisive => Ok(Value::Bool(decisive)),
        (Err(Failure::Unknown(why)), _) | (_, Err(Failure::Unknown(why))) => Err(Failure::Unknown(why)),
        (Err(error), _) | (_, Err(error)) => Err(error),
        (Ok(_), Ok(_)) => Ok(Value::Bool(!decisive)),
    }
}

#[cfg(test)]
mod tests;
