//! What is looked at before a template is compiled.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::TemplateError;

/// Bytes of a template: over ten times the longest in use.
const MOST_BYTES: usize = 1 << 20;

/// Bytes that constants may come to when they are folded.
const MOST_FOLDED: usize = 1 << 20;

/// Words and signs of one tag, which can nest in the syntax tree about as deep.
const MOST_TOKENS: usize = 2_000;

/// The source as the interpreter can read it.
///
/// Python's environment has a tag that tells which part of a text the model wrote, for
/// training. It writes nothing, so it becomes a condition that is always true.
pub(super) fn prepare(source: &str, syntax: &SyntaxConfig) -> Result<String, TemplateError> {
    if source.len() > MOST_BYTES {
        let message = format!("the chat template is longer than {MOST_BYTES} bytes");
        return Err(TemplateError::new(message));
    }
    let mut prepared = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        prepared.push_str(before);
        prepared.push_str("{%");
        let signs = |c: char| c.is_whitespace() || matches!(c, '-' | '+');
        let name = tag.trim_start_matches(signs);
        let sign = &tag[..tag.len() - name.len()];
        let tags = [("generation", "if true"), ("endgeneration", "endif")];
        let found = tags.iter().find_map(|(from, to)| Some((name.strip_prefix(from)?, to)));
        rest = match found {
            Some((after, to)) if after.trim_start_matches(signs).starts_with("%}") => {
                prepared.extend([sign, to]);
                after
            }
            _ => tag,
        };
    }
    prepared.push_str(rest);
    nesting(&prepared, syntax)?;
    Ok(prepared)
}

/// A syntax tree is walked by recursion, and a long chain of operators is a deep tree.
fn nesting(source: &str, syntax: &SyntaxConfig) -> Result<(), TemplateError> {
    let mut tokens = 0;
    for token in tokenize(source, false, syntax.clone()) {
        // The parser says what is wrong with it, and where.
        let Ok((token, _)) = token else { return Ok(()) };
        tokens = match token {
            Token::VariableStart | Token::BlockStart => 0,
            _ => tokens + 1,
        };
        if tokens > MOST_TOKENS {
            let message = format!("a tag of the chat template has more than {MOST_TOKENS} words");
            return Err(TemplateError::new(message));
        }
    }
    Ok(())
}

/// Refuses constants that grow when they are folded, which happens before any limit
/// of a rendering holds.
pub(super) fn check(tree: &Stmt<'_>) -> Result<(), TemplateError> {
    statement(tree)
}

fn statements(body: &[Stmt<'_>]) -> Result<(), TemplateError> {
    body.iter().try_for_each(statement)
}

fn statement(stmt: &Stmt<'_>) -> Result<(), TemplateError> {
    match stmt {
        Stmt::Template(t) => statements(&t.children),
        Stmt::EmitExpr(e) => expression(&e.expr),
        Stmt::ForLoop(f) => {
            expression(&f.iter)?;
            f.filter_expr.iter().try_for_each(expression)?;
            statements(&f.body)?;
            statements(&f.else_body)
        }
        Stmt::IfCond(i) => {
            expression(&i.expr)?;
            statements(&i.true_body)?;
            statements(&i.false_body)
        }
        Stmt::WithBlock(w) => {
            w.assignments.iter().try_for_each(|(_, value)| expression(value))?;
            statements(&w.body)
        }
        Stmt::Set(s) => expression(&s.expr),
        Stmt::SetBlock(s) => {
            s.filter.iter().try_for_each(expression)?;
            statements(&s.body)
        }
        Stmt::AutoEscape(a) => statements(&a.body),
        Stmt::FilterBlock(f) => {
            expression(&f.filter)?;
            statements(&f.body)
        }
        Stmt::Macro(m) => {
            m.defaults.iter().try_for_each(expression)?;
            statements(&m.body)
        }
        Stmt::CallBlock(c) => {
            arguments(&c.call.args)?;
            statements(&c.macro_decl.body)
        }
        Stmt::Do(d) => {
            expression(&d.call.expr)?;
            arguments(&d.call.args)
        }
        Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => Ok(()),
        // There is one template, and nothing that it could take from another.
        Stmt::Block(_) | Stmt::Import(_) | Stmt::FromImport(_) | Stmt::Extends(_) | Stmt::Include(_) => {
            Err(TemplateError::new("a chat template cannot use blocks or other templates"))
        }
    }
}

fn arguments(args: &[CallArg<'_>]) -> Result<(), TemplateError> {
    args.iter().try_for_each(|arg| match arg {
        CallArg::Pos(e) | CallArg::Kwarg(_, e) | CallArg::PosSplat(e) | CallArg::KwargSplat(e) => {
            expression(e)
        }
    })
}

fn expression(expr: &Expr<'_>) -> Result<(), TemplateError> {
    if folded(expr) > MOST_FOLDED {
        return Err(TemplateError::new(format!(
            "a constant of the chat template is over {MOST_FOLDED} bytes"
        )));
    }
    match expr {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::Slice(s) => {
            expression(&s.expr)?;
            [&s.start, &s.stop, &s.step].into_iter().flatten().try_for_each(expression)
        }
        Expr::UnaryOp(u) => expression(&u.expr),
        Expr::BinOp(b) => {
            expression(&b.left)?;
            expression(&b.right)
        }
        Expr::Compare(c) => {
            expression(&c.expr)?;
            c.ops.iter().try_for_each(|op| expression(&op.expr))
        }
        Expr::IfExpr(i) => {
            expression(&i.test_expr)?;
            expression(&i.true_expr)?;
            i.false_expr.iter().try_for_each(expression)
        }
        Expr::Filter(f) => {
            f.expr.iter().try_for_each(expression)?;
            arguments(&f.args)
        }
        Expr::Test(t) => {
            expression(&t.expr)?;
            arguments(&t.args)
        }
        Expr::GetAttr(g) => expression(&g.expr),
        Expr::GetItem(g) => {
            expression(&g.expr)?;
            expression(&g.subscript_expr)
        }
        Expr::Call(c) => {
            expression(&c.expr)?;
            arguments(&c.args)
        }
        Expr::List(l) => l.items.iter().try_for_each(expression),
        Expr::Tuple(t) => t.items.iter().try_for_each(expression),
        Expr::Map(m) => m.keys.iter().chain(&m.values).try_for_each(expression),
    }
}

/// An upper bound of the bytes of a constant; 0 for what is no constant.
fn folded(expr: &Expr<'_>) -> usize {
    let sum = |items: &[Expr<'_>]| items.iter().map(folded).fold(0, usize::saturating_add);
    match expr {
        Expr::Const(c) => c.value.as_str().map_or(8, str::len),
        Expr::List(l) => sum(&l.items),
        Expr::Tuple(t) => sum(&t.items),
        Expr::BinOp(b) => {
            let (left, right) = (folded(&b.left), folded(&b.right));
            let times = |expr: &Expr<'_>| match expr {
                Expr::Const(c) => c.value.as_i64().and_then(|n| usize::try_from(n).ok()),
                _ => None,
            };
            match b.op {
                // A product whose factor is no plain number is a product of products.
                BinOpKind::Mul if left > 0 && right > 0 => match (times(&b.left), times(&b.right)) {
                    (Some(_), Some(_)) => 8,
                    (Some(n), None) => n.saturating_mul(right),
                    (None, Some(n)) => n.saturating_mul(left),
                    (None, None) => usize::MAX,
                },
                _ => left.saturating_add(right),
            }
        }
        _ => 0,
    }
}
