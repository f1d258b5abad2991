//! Pure: which columns of which tables a model's columns are made of, by following its logical plan.
//!
//! Only what goes into a value counts, not what decides which rows there are (joins, filters, grouping by other columns).

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::TreeNode as _;
use datafusion::{
    common::{Column, Result, tree_node::TreeNodeRecursion},
    logical_expr::{Expr, JoinType, LogicalPlan},
};

/// Columns by table.
pub type Origins = BTreeSet<(String, String)>;

/// What each column of a plan's result is made of, by name.
///
/// # Errors
/// When the plan is inconsistent.
pub fn of(plan: &LogicalPlan) -> Result<BTreeMap<String, Origins>> {
    let names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
    names.into_iter().enumerate().map(|(place, name)| Ok((name, trace(plan, place)?))).collect()
}

fn trace(plan: &LogicalPlan, place: usize) -> Result<Origins> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let schema = scan.table_name.schema().unwrap_or(crate::layers::SHAPE);
            let table = format!("{schema}.{}", scan.table_name.table());
            Ok([(table, scan.projected_schema.field(place).name().clone())].into())
        }
        LogicalPlan::Projection(projection) => of_expr(&projection.expr[place], &projection.input),
        LogicalPlan::Aggregate(aggregate) => {
            let grouped = aggregate.group_expr.len();
            match place.checked_sub(grouped).map(|place| &aggregate.aggr_expr[place]) {
                Some(expr) => of_expr(expr, &aggregate.input),
                None => of_expr(&aggregate.group_expr[place], &aggregate.input),
            }
        }
        LogicalPlan::Window(window) => {
            let own = window.input.schema().fields().len();
            match place.checked_sub(own) {
                Some(place) => of_expr(&window.window_expr[place], &window.input),
                None => trace(&window.input, place),
            }
        }
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            let only_right = matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti);
            match place.checked_sub(left) {
                Some(place) if !only_right => trace(&join.right, place),
                _ if only_right => trace(&join.right, place),
                _ => trace(&join.left, place),
            }
        }
        LogicalPlan::Union(union) => {
            let mut all = Origins::new();
            for input in &union.inputs {
                all.extend(trace(input, place)?);
            }
            Ok(all)
        }
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Repartition(_) => match plan.inputs().first() {
            Some(input) => trace(input, place),
            None => Ok(Origins::new()),
        },
        // Whatever it does, it is made of what it reads.
        other => {
            let mut all = Origins::new();
            for input in other.inputs() {
                for place in 0..input.schema().fields().len() {
                    all.extend(trace(input, place)?);
                }
            }
            Ok(all)
        }
    }
}

fn of_expr(expr: &Expr, input: &LogicalPlan) -> Result<Origins> {
    let mut columns: BTreeSet<Column> = BTreeSet::new();
    let mut nested = Origins::new();
    expr.apply(|node| {
        match node {
            Expr::Column(column) => drop(columns.insert(column.clone())),
            Expr::ScalarSubquery(subquery) => nested.extend(trace(&subquery.subquery, 0)?),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    for column in columns {
        if let Ok(place) = input.schema().index_of_column(&column) {
            nested.extend(trace(input, place)?);
        }
    }
    Ok(nested)
}
