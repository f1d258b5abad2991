//! Statements as clients of PostgreSQL write them, in words that DataFusion plans: functions of the session become their
//! values, and the catalog's operators, casts and tables become those of [`super::catalog`]. Works on the parsed
//! statement; what it does not know it leaves to the planner.

use std::ops::ControlFlow;

use datafusion::sql::{
    parser::Statement as DfStatement,
    sqlparser::ast::{
        self, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArguments, Ident, JoinOperator, ObjectName,
        ObjectNamePart, Query, SelectItem, SetExpr, Statement, TableFactor, Value, VisitMut, VisitorMut,
    },
};

use super::{catalog, commands};

/// Name of the schema.
pub const SCHEMA: &str = "pg_catalog";

/// What became of a statement.
pub enum Rewritten {
    /// To be planned, with the catalog's tables beside the layers if it reads them.
    Plan { reads_catalog: bool },
    /// It reads a table of the catalog that is always empty: no rows, of these columns.
    Nothing(Vec<String>),
}

/// Rewrites a statement in place.
pub fn statement(statement: &mut DfStatement) -> Rewritten {
    let inner = match statement {
        DfStatement::Statement(inner) => inner,
        DfStatement::Explain(explain) => return self::statement(&mut explain.statement),
        _ => return Rewritten::Plan { reads_catalog: false },
    };
    let mut rewriter = Rewriter { reads_catalog: false };
    let _ = inner.as_mut().visit(&mut rewriter);
    if let Statement::Query(query) = inner.as_ref()
        && rewriter.reads_catalog
        && let Some(columns) = nothing(query)
    {
        return Rewritten::Nothing(columns);
    }
    Rewritten::Plan { reads_catalog: rewriter.reads_catalog }
}

fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

fn number(value: i64) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).into())
}

fn boolean(value: bool) -> Expr {
    Expr::Value(Value::Boolean(value).into())
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

/// The last part of a name, if it is plain or of the catalog.
fn of_catalog(name: &ObjectName) -> Option<String> {
    let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect();
    match &parts[..] {
        [name] => Some(name.clone()),
        [schema, name] if schema == SCHEMA => Some(name.clone()),
        _ => None,
    }
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

struct Rewriter {
    reads_catalog: bool,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_values(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        let explicit = relation.0.len() == 2;
        if let Some(name) = of_catalog(relation)
            && (explicit || name.starts_with("pg_"))
        {
            self.reads_catalog = true;
            *relation = ObjectName::from(vec![Ident::new(SCHEMA), Ident::with_quote('"', name)]);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Subquery(query) if nothing(query).is_some() => *expr = null(),
            Expr::Exists { subquery, negated } if nothing(subquery).is_some() => *expr = boolean(*negated),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                if let Some(value) = value_of(function) {
                    *expr = value;
                }
            }
            Expr::BinaryOp { left, op, right } => {
                if of_function(left)
                    && matches!(right.as_ref(), Expr::Value(value) if matches!(value.value, Value::Number(..)))
                {
                    **right = text("-");
                }
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(plain) = operator(parts.last().map_or("", String::as_str))
                {
                    *op = plain;
                }
            }
            Expr::Collate { expr: inner, .. } => *expr = take(inner),
            Expr::Cast { kind: CastKind::DoubleColon | CastKind::Cast, expr: inner, data_type, .. } => {
                match cast(inner, data_type) {
                    Some(Cast::Value(value)) => *expr = *value,
                    Some(Cast::To(kind)) => *data_type = kind,
                    None => {}
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Names columns that are about to become values as PostgreSQL names them; each name once, as DataFusion wants it.
fn name_values(body: &mut SetExpr) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { left, right, .. } => {
            name_values(left);
            return name_values(right);
        }
        _ => return,
    };
    let mut taken: Vec<String> = Vec::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = &*item else { continue };
        let name = match expr {
            Expr::Function(function) if value_of(&mut function.clone()).is_some() => column(item),
            Expr::Subquery(query) if nothing(query).is_some() => column(item),
            Expr::Value(value) if value.value == Value::Null => column(item),
            _ => continue,
        };
        let unique = if taken.contains(&name) { format!("{name}{}", taken.len()) } else { name };
        taken.push(unique.clone());
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', unique) };
    }
}

/// A column of the catalog that names a function: 0 is none, which reads as `-`.
fn of_function(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(ident) => folded(ident),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded).unwrap_or_default(),
        _ => return false,
    };
    ["typinput", "typreceive", "typsend"].contains(&name.as_str())
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

fn operator(text: &str) -> Option<BinaryOperator> {
    Some(match text {
        "~" => BinaryOperator::PGRegexMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "+" => BinaryOperator::Plus,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        _ => return None,
    })
}

/// What a function of the session or the catalog answers, where it needs no row; its schema is cut off otherwise.
fn value_of(function: &mut Function) -> Option<Expr> {
    let name = of_catalog(&function.name)?;
    let value = match name.as_str() {
        "current_database" | "current_catalog" => text(super::DATABASE),
        "current_schema" => text("shape"),
        "current_schemas" => Expr::Array(ast::Array { elem: vec![text(SCHEMA), text("shape")], named: true }),
        "current_user" | "session_user" | "user" | "current_role" | "pg_get_userbyid" => text(super::USER),
        "version" => text(super::VERSION_TEXT),
        "pg_backend_pid" | "inet_server_port" | "txid_current" => number(1),
        "pg_is_in_recovery" | "pg_is_other_temp_schema" | "pg_relation_is_publishable" => boolean(false),
        "pg_table_is_visible"
        | "pg_type_is_visible"
        | "pg_function_is_visible"
        | "has_table_privilege"
        | "has_schema_privilege"
        | "has_database_privilege"
        | "has_column_privilege"
        | "has_any_column_privilege" => boolean(true),
        "pg_encoding_to_char" => text("UTF8"),
        "pg_get_expr"
        | "obj_description"
        | "col_description"
        | "shobj_description"
        | "pg_get_viewdef"
        | "pg_get_indexdef"
        | "pg_get_constraintdef"
        | "pg_get_partkeydef"
        | "pg_tablespace_location"
        | "pg_get_statisticsobjdef_columns"
        | "pg_my_temp_schema"
        | "inet_server_addr"
        | "inet_client_addr" => null(),
        "quote_ident" => return sole_argument(function),
        "current_setting" => match sole_argument(function) {
            Some(Expr::Value(name)) => {
                let name = name.value.into_string()?.to_lowercase();
                commands::value(&name).map_or_else(null, text)
            }
            _ => return None,
        },
        // Of columns that are always null here: access rights, options.
        "array_to_string" if function.name.0.len() == 2 => null(),
        "array" => match &function.args {
            FunctionArguments::Subquery(query) if nothing(query).is_some() => null(),
            _ => return None,
        },
        _ => {
            if function.name.0.len() == 2 {
                function.name = ObjectName::from(vec![Ident::new(name)]);
            }
            return None;
        }
    };
    Some(value)
}

fn sole_argument(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match &list.args[..] {
        [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))] => Some(argument.clone()),
        _ => None,
    }
}

/// A function of one text.
fn call(name: &str, argument: Expr) -> Expr {
    let argument = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(argument),
        data_type: DataType::Text,
        array: false,
        format: None,
    };
    let argument = ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument));
    let list = ast::FunctionArgumentList { duplicate_treatment: None, args: vec![argument], clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

enum Cast {
    Value(Box<Expr>),
    To(DataType),
}

/// A cast to a type that only PostgreSQL has.
fn cast(inner: &mut Expr, kind: &DataType) -> Option<Cast> {
    let DataType::Custom(name, _) = kind else {
        return matches!(kind, DataType::Regclass).then(|| regclass(inner));
    };
    match of_catalog(name)?.as_str() {
        "regclass" => Some(regclass(inner)),
        "oid" | "xid" | "int8" => Some(Cast::To(DataType::BigInt(None))),
        "int4" => Some(Cast::To(DataType::Int(None))),
        "int2" => Some(Cast::To(DataType::SmallInt(None))),
        "bool" => Some(Cast::To(DataType::Boolean)),
        "float8" => Some(Cast::To(DataType::DoublePrecision)),
        "numeric" => Some(Cast::To(DataType::Numeric(ast::ExactNumberInfo::PrecisionAndScale(38, 10)))),
        "text" | "name" | "char" | "varchar" | "bpchar" | "regtype" | "regproc" | "regnamespace" | "regrole"
        | "json" | "jsonb" | "uuid" => Some(Cast::To(DataType::Text)),
        _ => None,
    }
}

/// `'pg_class'::regclass` is the oid of that table.
fn regclass(inner: &mut Expr) -> Cast {
    if matches!(inner, Expr::Value(value) if matches!(value.value, Value::Placeholder(_))) {
        return Cast::Value(Box::new(call(catalog::OID_OF, take(inner))));
    }
    if let Expr::Value(value) = inner
        && let Some(name) = value.value.clone().into_string()
    {
        return Cast::Value(Box::new(number(catalog::oid_of(&name))));
    }
    Cast::To(DataType::Text)
}

/// Names of the columns of a query that has no rows because it needs some of a table that is always empty.
fn nothing(query: &Query) -> Option<Vec<String>> {
    nothing_of(&query.body)
}

fn nothing_of(body: &SetExpr) -> Option<Vec<String>> {
    match body {
        SetExpr::SetOperation { left, right, .. } => nothing_of(left).filter(|_| nothing_of(right).is_some()),
        SetExpr::Query(query) => nothing(query),
        SetExpr::Select(select) => {
            let empty = |relation: &TableFactor| match relation {
                TableFactor::Table { name, .. } => of_catalog(name).is_some_and(|name| catalog::is_empty(&name)),
                TableFactor::Derived { subquery, .. } => nothing(subquery).is_some(),
                _ => false,
            };
            let inner = |join: &ast::Join| {
                matches!(
                    join.join_operator,
                    JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
                )
            };
            let none = select.from.iter().any(|from| {
                let all_inner = from.joins.iter().all(inner);
                (empty(&from.relation) && (all_inner || from.joins.iter().all(|join| !right_outer(join))))
                    || (from.joins.iter().any(|join| inner(join) && empty(&join.relation))
                        && from.joins.iter().all(|join| !right_outer(join)))
            });
            let columns: Vec<String> = select.projection.iter().map(column).collect();
            // An aggregate has a row of nothing.
            let counts = select.projection.iter().any(|item| item.to_string().to_lowercase().contains("count("));
            (none && !counts).then_some(columns)
        }
        _ => None,
    }
}

fn right_outer(join: &ast::Join) -> bool {
    matches!(join.join_operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_))
}

fn column(item: &SelectItem) -> String {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => folded(ident),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(folded).unwrap_or_default(),
        SelectItem::UnnamedExpr(Expr::Function(function)) => of_catalog(&function.name).unwrap_or_default(),
        _ => "?column?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

    use super::*;
    use crate::sql::statements;

    fn rewritten(sql: &str) -> Result<String, Vec<String>> {
        let mut parsed = statements(sql, &PostgreSqlDialect {}).unwrap().pop().unwrap();
        match statement(&mut parsed) {
            Rewritten::Plan { .. } => Ok(parsed.to_string()),
            Rewritten::Nothing(columns) => Err(columns),
        }
    }

    #[test]
    fn what_only_postgres_has_becomes_what_datafusion_plans() {
        for (sql, expected) in [
            (
                "SELECT current_database(), version() AS v",
                "SELECT 'lake' AS \"current_database\", 'PostgreSQL 15.0 (haus-am-see lake 0.1.0)' AS v",
            ),
            (
                "SELECT c.relname FROM pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^a$' COLLATE pg_catalog.default",
                "SELECT c.relname FROM pg_catalog.\"pg_class\" c WHERE c.relname ~ '^a$'",
            ),
            ("SELECT 'pg_class'::regclass", "SELECT 1259"),
            ("SELECT $1::regclass::oid", "SELECT haus_oid_of(CAST($1 AS TEXT))::BIGINT"),
            ("SELECT current_setting('TIMEZONE')", "SELECT 'UTC' AS \"current_setting\""),
            (
                "SELECT oid FROM pg_type WHERE typreceive != 0",
                "SELECT oid FROM pg_catalog.\"pg_type\" WHERE typreceive <> '-'",
            ),
            ("SELECT count(*) FROM pg_index", "SELECT count(*) FROM pg_catalog.\"pg_index\""),
            ("SELECT a FROM orders", "SELECT a FROM orders"),
        ] {
            assert_eq!(rewritten(sql).unwrap(), expected, "{sql}");
        }
        let nothing = rewritten("SELECT p.polname, 1 AS x, 2 FROM pg_catalog.pg_policy p WHERE p.polrelid = '1'");
        assert_eq!(nothing.unwrap_err(), ["polname", "x", "?column?"]);
        let nested = "SELECT k.x FROM (SELECT i.x FROM pg_class c JOIN pg_index i ON true) k WHERE k.x = 1";
        assert_eq!(rewritten(nested).unwrap_err(), ["x"]);
        // Rows of the other side stay.
        assert!(rewritten("SELECT 1 FROM pg_class c LEFT JOIN pg_index i ON true").is_ok());
        assert!(rewritten("SELECT 1 FROM pg_index i RIGHT JOIN pg_class c ON true").is_ok());
    }
}
