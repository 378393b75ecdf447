//! What an expression names, checked before it is evaluated, as a compiler does: a name that does not exist is an error
//! even where nobody would get to it.
//!
//! Types are not checked, but for the request's fields: what else a compiler refuses is an error only once it is
//! evaluated.

use super::functions::LIBRARIES;
use super::value::Value;
use ::cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// Of `request`, with whether it has fields of its own.
const REQUEST: &[(&str, bool)] = &[
    ("kind", true),
    ("resource", true),
    ("subResource", false),
    ("requestKind", true),
    ("requestResource", true),
    ("requestSubResource", false),
    ("name", false),
    ("namespace", false),
    ("operation", false),
    ("userInfo", true),
    ("dryRun", false),
    ("options", true),
];

/// Fails with the first name that is not declared. `of_policy`: what only a policy may name counts as declared.
pub(super) fn check(expr: &IdedExpr, of_policy: bool) -> Result<(), String> {
    Check { of_policy, bound: Vec::new() }.expr(expr)
}

struct Check<'a> {
    of_policy: bool,
    /// Variables of the loops around.
    bound: Vec<&'a str>,
}

impl<'a> Check<'a> {
    fn expr(&mut self, expr: &'a IdedExpr) -> Result<(), String> {
        match &expr.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                self.field(&select.operand, &select.field)?;
                self.expr(&select.operand)
            }
            Expr::Call(call) => {
                match call.target.as_deref() {
                    Some(target) if matches!(&target.expr, Expr::Ident(name) if LIBRARIES.contains(&name.as_str())) => {
                    }
                    Some(target) => self.expr(target)?,
                    None => {}
                }
                // Left as a call, a loop with two variables: they are not known as such.
                if super::functions::is_macro(&call.func_name) {
                    return Ok(());
                }
                call.args.iter().try_for_each(|argument| self.expr(argument))
            }
            Expr::Comprehension(loops) => {
                self.expr(&loops.iter_range)?;
                self.expr(&loops.accu_init)?;
                let before = self.bound.len();
                self.bound.extend([loops.iter_var.as_str(), loops.accu_var.as_str()]);
                self.bound.extend(loops.iter_var2.as_deref());
                let inside = [&loops.loop_cond, &loops.loop_step, &loops.result];
                let checked = inside.into_iter().try_for_each(|inside| self.expr(inside));
                self.bound.truncate(before);
                checked
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expr(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.expr(&entry.key)?;
                    self.expr(&entry.value)
                }
                EntryExpr::StructField(field) => self.expr(&field.value),
            }),
            Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn name(&self, name: &str) -> Result<(), String> {
        let of_policy = matches!(name, "params" | "variables");
        let known = matches!(name, "object" | "oldObject" | "request" | "authorizer" | "namespaceObject")
            || of_policy && self.of_policy
            || self.bound.contains(&name)
            || Value::type_named(name).is_some();
        if known { Ok(()) } else { Err(format!("undeclared reference to {name:?}")) }
    }

    /// Of the request, which has no other fields than these.
    fn field(&self, operand: &IdedExpr, field: &str) -> Result<(), String> {
        let is_request = |expr: &IdedExpr| {
            matches!(&expr.expr, Expr::Ident(name) if name == "request") && !self.bound.contains(&"request")
        };
        let undefined = || Err(format!("undefined field {field:?}"));
        if is_request(operand) {
            return if REQUEST.iter().any(|(name, _)| *name == field) { Ok(()) } else { undefined() };
        }
        let Expr::Select(outer) = &operand.expr else { return Ok(()) };
        let has_fields = REQUEST.iter().any(|(name, has_fields)| *name == outer.field && *has_fields);
        if is_request(&outer.operand) && !has_fields { undefined() } else { Ok(()) }
    }
}
