//! `Filter` by a simple expression: comparisons of fields with literals, joined by `&&`, `||`, `!` and brackets.
//!
//! The part of Groovy and JavaScript that filters of change events are mostly written in, such as
//! `value.op == 'u' && value.after.id != 2`. Anything else is refused when the connector is made.

use std::cmp::Ordering;

use model::connect_record::{Datum, Value};
use regex::Regex;

use super::Record;

/// Keeps the records for which the expression holds.
#[derive(Debug, Clone)]
pub struct Filter {
    pub expression: Expression,
    /// Records of other topics are kept (`topic.regex`).
    pub topics: Option<Regex>,
    /// What becomes of tombstones (`null.handling.mode`).
    pub tombstones: Tombstones,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tombstones {
    Keep,
    Drop,
    Evaluate,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Compare { path: Vec<String>, operator: Operator, literal: Literal },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
}

impl Filter {
    pub fn apply(&self, record: Record) -> Option<Record> {
        if self.topics.as_ref().is_some_and(|topics| !topics.is_match(&record.topic)) {
            return Some(record);
        }
        let kept = match (&record.value, self.tombstones) {
            (None, Tombstones::Keep) => true,
            (None, Tombstones::Drop) => false,
            _ => self.expression.holds(&record),
        };
        kept.then_some(record)
    }
}

impl Expression {
    fn holds(&self, record: &Record) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(record)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(record)),
            Self::Not(part) => !part.holds(record),
            Self::Compare { path, operator, literal } => {
                let found = compared(record, path, literal);
                match operator {
                    Operator::Equal => found == Some(Ordering::Equal),
                    Operator::NotEqual => found != Some(Ordering::Equal),
                    Operator::Less => found == Some(Ordering::Less),
                    Operator::LessOrEqual => found.is_some_and(Ordering::is_le),
                    Operator::Greater => found == Some(Ordering::Greater),
                    Operator::GreaterOrEqual => found.is_some_and(Ordering::is_ge),
                }
            }
        }
    }
}

/// How the value at a path compares with a literal; `None` when they cannot be compared.
fn compared(record: &Record, path: &[String], literal: &Literal) -> Option<Ordering> {
    let (first, rest) = path.split_first()?;
    let root = match first.as_str() {
        "topic" if rest.is_empty() => return text(literal).map(|literal| record.topic.as_str().cmp(literal)),
        "key" => record.key.as_ref(),
        _ => record.value.as_ref(),
    };
    let found = rest.iter().try_fold(root.cloned(), |datum: Option<Datum>, name| match datum {
        Some(datum) if !datum.value.is_null() => datum.take(name).map(Some),
        _ => Some(None),
    })?;
    match (found.map_or(Value::Null, |datum| datum.value), literal) {
        (Value::Null, Literal::Null) => Some(Ordering::Equal),
        (Value::Boolean(value), Literal::Boolean(literal)) => Some(value.cmp(literal)),
        (Value::Int(value), Literal::Number(literal)) => (value as f64).partial_cmp(literal),
        (Value::Float32(value), Literal::Number(literal)) => f64::from(value).partial_cmp(literal),
        (Value::Float64(value), Literal::Number(literal)) => value.partial_cmp(literal),
        (Value::String(value), literal) => text(literal).map(|literal| value.as_str().cmp(literal)),
        _ => None,
    }
}

fn text(literal: &Literal) -> Option<&str> {
    match literal {
        Literal::Text(text) => Some(text),
        _ => None,
    }
}

/// Reads an expression.
///
/// # Errors
/// When it is none of this language.
pub fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser { rest: text.trim() };
    let expression = parser.any()?;
    if parser.rest.is_empty() { Ok(expression) } else { Err(format!("'{}' is not understood", parser.rest)) }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.all()?];
        while self.took("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.one()?];
        while self.took("&&") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self) -> Result<Expression, String> {
        if self.took("(") {
            let inner = self.any()?;
            return if self.took(")") { Ok(inner) } else { Err("a bracket is not closed".to_owned()) };
        }
        if self.rest.starts_with('!') && self.took("!") {
            return Ok(Expression::Not(Box::new(self.one()?)));
        }
        let path = self.path()?;
        const OPERATORS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let operator = OPERATORS.iter().find(|(sign, _)| self.took(sign)).ok_or("a comparison is expected")?.1;
        Ok(Expression::Compare { path, operator, literal: self.literal()? })
    }

    fn path(&mut self) -> Result<Vec<String>, String> {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && !"_.?".contains(c)).unwrap_or(self.rest.len());
        let (path, rest) = self.rest.split_at(end);
        let parts: Vec<String> = path.split('.').map(|part| part.trim_end_matches('?').to_owned()).collect();
        if !matches!(parts[0].as_str(), "value" | "key" | "topic") || parts.iter().any(String::is_empty) {
            return Err(format!("'{path}' is no field: value.…, key.… or topic is expected"));
        }
        self.rest = rest.trim_start();
        Ok(parts)
    }

    fn literal(&mut self) -> Result<Literal, String> {
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let (text, rest) = self.rest[1..].split_once(quote).ok_or("a quote is not closed")?;
            let literal = Literal::Text(text.to_owned());
            self.rest = rest.trim_start();
            return Ok(literal);
        }
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && !"._+-".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let literal = match word {
            "null" => Literal::Null,
            "true" => Literal::Boolean(true),
            "false" => Literal::Boolean(false),
            number => Literal::Number(number.parse().map_err(|_| format!("'{number}' is no literal"))?),
        };
        self.rest = rest.trim_start();
        Ok(literal)
    }

    fn took(&mut self, sign: &str) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use model::connect_record::{Field, Kind, Schema};
    use proptest::prelude::*;

    use super::*;

    fn record(op: &str, id: Option<i64>) -> Record {
        let field = |name: &str, schema: Schema| Field { name: name.into(), schema: Arc::new(schema) };
        let row = Schema::of(Kind::Struct(vec![field("id", Schema::of(Kind::Int32))])).optional();
        let schema = Schema::of(Kind::Struct(vec![field("op", Schema::of(Kind::String)), field("after", row)]));
        let after = id.map_or(Value::Null, |id| Value::Struct(vec![Value::Int(id)]));
        let value = Value::Struct(vec![Value::String(op.into()), after]);
        let value = Some(Datum { schema: Arc::new(schema), value });
        Record { topic: "p.public.t".into(), key: None, value, headers: vec![], timestamp_ms: None }
    }

    #[test]
    fn comparisons_are_joined_as_written() {
        let holds = |text: &str, record: &Record| parse(text).unwrap().holds(record);
        let update = record("u", Some(2));
        assert!(holds("value.op == 'u' && value.after.id == 2", &update));
        assert!(!holds("value.op == \"u\" && value.after.id != 2", &update));
        assert!(holds("value.op == 'c' || (value.after.id >= 2 && !(value.after.id > 2))", &update));
        assert!(
            holds("value.after == null", &record("d", None)) && holds("value.after?.id == null", &record("d", None))
        );
        assert!(holds("topic == 'p.public.t'", &update));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["", "value.op", "value.op = 'u'", "op == 'u'", "value.op == 'u", "(value.op == 'u'", "f(value)"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-z.()&|!<>='\" 0-9é]{0,40}") {
            let _ = parse(&text);
        }
    }
}
