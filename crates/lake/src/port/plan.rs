//! A statement from its text to something that gives rows, with its parameters.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::{
    common::ParamValues,
    common::tree_node::{TreeNode as _, TreeNodeRecursion},
    config::Dialect as DialectName,
    execution::SendableRecordBatchStream,
    logical_expr::Expr,
    physical_plan::EmptyRecordBatchStream,
    scalar::ScalarValue,
    sql::sqlparser::dialect::PostgreSqlDialect,
};

use super::{answers::Fault, catalog, commands, params, rewrite, rewrite::Rewritten, types};
use crate::{
    error::LakeError,
    sql::{self, Engine, Planned, Reading, travel},
};

static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};
static FUNCTIONS: LazyLock<[Arc<datafusion::logical_expr::ScalarUDF>; 2]> =
    LazyLock::new(|| [Arc::new(catalog::format_type()), Arc::new(catalog::oid_of_name())]);

/// What gives rows.
pub enum Source {
    Planned(Box<Planned>),
    /// A table of the catalog that is always empty.
    Nothing(Arc<Schema>),
}

/// Type of a parameter: the client's, and the planner's guess.
#[derive(Debug, Clone, Default)]
pub struct Parameter {
    pub oid: u32,
    pub inferred: Option<DataType>,
}

impl Parameter {
    /// The type that is told to the client.
    pub fn described(&self) -> u32 {
        match (&self.inferred, self.oid) {
            (Some(kind), 0) => types::described(&types::plain(kind)).0,
            (None, 0) => types::TEXT,
            (_, oid) => oid,
        }
    }
}

/// Plans a query on the tables as they are now.
///
/// # Errors
/// With the SQLSTATE PostgreSQL has for it.
pub async fn query(engine: &Engine, sql: &str) -> Result<Source, Fault> {
    let sql = travel::rewrite(sql, &DIALECT).map_err(fault)?;
    let mut statements = sql::statements(&sql, &DIALECT).map_err(fault)?;
    let (Some(mut statement), true) = (statements.pop(), statements.is_empty()) else {
        return Err(Fault::new("42601", "cannot insert multiple commands into a prepared statement"));
    };
    let beside = match rewrite::statement(&mut statement) {
        Rewritten::Nothing(columns) => {
            let field = |name| Field::new(name, DataType::Utf8, true);
            return Ok(Source::Nothing(Arc::new(Schema::new(columns.into_iter().map(field).collect::<Vec<_>>()))));
        }
        Rewritten::Plan { reads_catalog: false } => None,
        Rewritten::Plan { reads_catalog: true } => {
            Some((rewrite::SCHEMA, catalog::schema(engine.tables()).await.map_err(fault)?))
        }
    };
    let reading = Reading { name: DialectName::PostgreSQL, dialect: &DIALECT, beside, functions: FUNCTIONS.to_vec() };
    Ok(Source::Planned(Box::new(engine.plan(statement, &reading).await.map_err(fault)?)))
}

impl Source {
    /// Its parameters; `given` are the types that the client named.
    pub fn parameters(&self, given: &[u32]) -> Result<Vec<Parameter>, Fault> {
        let inferred: HashMap<String, Option<DataType>> = match self {
            Self::Planned(planned) => planned.plan.get_parameter_types().map_err(|error| fault(error.into()))?,
            Self::Nothing(_) => HashMap::new(),
        };
        let position = |name: &str| name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        let mut count = given.len();
        for name in inferred.keys() {
            match position(name) {
                Some(number) if (1..=usize::from(u16::MAX)).contains(&number) => count = count.max(number),
                _ => return Err(Fault::new("42P02", format!("there is no parameter {name}"))),
            }
        }
        let mut parameters = vec![Parameter::default(); count];
        for (parameter, oid) in parameters.iter_mut().zip(given) {
            parameter.oid = *oid;
        }
        let mut inferred = inferred;
        for (name, kind) in self.casts() {
            inferred.entry(name).or_insert(None).get_or_insert(kind);
        }
        for (name, kind) in inferred {
            if let Some(parameter) = position(&name).and_then(|number| parameters.get_mut(number - 1)) {
                parameter.inferred = kind;
            }
        }
        Ok(parameters)
    }

    /// Parameters that are cast, which the planner has no type for: `$1::date`.
    fn casts(&self) -> HashMap<String, DataType> {
        let mut found = HashMap::new();
        let Self::Planned(planned) = self else { return found };
        // Neither closure fails.
        let _ = planned.plan.apply_with_subqueries(|plan| {
            plan.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Expr::Cast(cast) = expr
                        && let Expr::Placeholder(placeholder) = cast.expr.as_ref()
                    {
                        found.entry(placeholder.id.clone()).or_insert_with(|| cast.data_type.clone());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        });
        found
    }

    /// The columns it will have.
    pub fn schema(&self, parameters: &[Parameter]) -> Arc<Schema> {
        match self {
            Self::Nothing(schema) => schema.clone(),
            Self::Planned(planned) => {
                let nulls = parameters.iter().map(|parameter| params::null(parameter.oid, parameter.inferred.as_ref()));
                let filled = planned.plan.clone().with_param_values(ParamValues::from(nulls.collect::<Vec<_>>()));
                let plan = if parameters.is_empty() { Err(()) } else { filled.map_err(|_| ()) };
                plan.as_ref().map_or(planned.plan.schema(), |plan| plan.schema()).inner().clone()
            }
        }
    }

    /// Starts it.
    pub async fn run(self, values: Vec<ScalarValue>) -> Result<SendableRecordBatchStream, Fault> {
        match self {
            Self::Nothing(schema) => Ok(Box::pin(EmptyRecordBatchStream::new(schema))),
            Self::Planned(mut planned) => {
                if !values.is_empty() {
                    let plan = planned.plan.with_param_values(ParamValues::from(values));
                    planned.plan = plan.map_err(|error| fault(error.into()))?;
                }
                planned.run().await.map_err(fault)
            }
        }
    }
}

/// An error of the lake as clients of PostgreSQL know it. The planner's errors are told apart by their text: they come
/// from many crates, none of which has codes.
pub fn fault(error: LakeError) -> Fault {
    let text = error.to_string();
    let has = |part: &str| text.contains(part);
    let code = match error {
        LakeError::Away { .. } => "58000",
        LakeError::Definite(_) | LakeError::Conflict { .. } => "XX000",
        LakeError::Query(_)
            if has("DML not supported") || has("DDL not supported") || has("Statement not supported") =>
        {
            return commands::read_only("a statement that changes something");
        }
        LakeError::Query(_) if has("Resources exhausted") => "53200",
        LakeError::Query(_)
            if has("ParserError") || has("TokenizerError") || has("SQL error") || has("AS OF wants") =>
        {
            "42601"
        }
        LakeError::Query(_) if has("has no snapshot") || has("' not found") => "42P01",
        LakeError::Query(_) if has("No field named") => "42703",
        LakeError::Query(_) if has("Invalid function") => "42883",
        LakeError::Query(_) if has("Divide by zero") => "22012",
        LakeError::Query(_) if has("Cast error") || has("Cannot cast string") => "22P02",
        LakeError::Query(_) if has("not implemented") || has("not supported") => "0A000",
        LakeError::Query(_) => "42000",
    };
    Fault { code, text }
}
