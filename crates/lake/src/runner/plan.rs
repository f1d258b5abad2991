//! Pure: whether a model is to be built, and why.

use std::collections::BTreeMap;

use crate::{
    models::Model,
    offsets::{property, recorded},
    sql::Pinned,
    tables::TableState,
};

/// Snapshots by SQL name of the table; `None` is a table without rows so far.
pub type Inputs = BTreeMap<String, Option<i64>>;

/// What a run would do with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// There is no such table yet, or nothing in it.
    New,
    /// The query, or how the table is kept, is another one than that it was built with.
    Code,
    /// These inputs have other rows.
    Inputs(Vec<String>),
    /// Nothing changed.
    Current,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New => f.write_str("it was never built"),
            Self::Code => f.write_str("its code changed"),
            Self::Inputs(inputs) => write!(f, "new rows in {}", inputs.join(", ")),
            Self::Current => f.write_str("nothing changed"),
        }
    }
}

/// The snapshots of a model's inputs.
#[must_use]
pub fn inputs(model: &Model, pinned: &Pinned) -> Inputs {
    let snapshot = |name: &String| pinned.get(name).and_then(|state| state.rows_snapshot_id());
    model.inputs.iter().map(|name| (name.clone(), snapshot(name))).collect()
}

/// The snapshots that a table says it was built from.
#[must_use]
pub fn built_from(state: &TableState) -> Option<Inputs> {
    serde_json::from_str(recorded(state.metadata(), property::INPUTS)?).ok()
}

/// Why a model is to be built, by what its table says and what there is.
#[must_use]
pub fn why(model: &Model, present: Option<&TableState>, before: Option<&Inputs>, now: &Inputs) -> Why {
    let (Some(state), Some(before)) = (present, before) else { return Why::New };
    decide(recorded(state.metadata(), property::MODEL), &model.code, before, now)
}

fn decide(built_by: Option<&str>, code: &str, before: &Inputs, now: &Inputs) -> Why {
    if built_by != Some(code) {
        return Why::Code;
    }
    let changed: Vec<String> = now
        .iter()
        .filter(|(name, snapshot)| before.get(*name) != Some(*snapshot))
        .map(|(name, _)| name.clone())
        .collect();
    if changed.is_empty() { Why::Current } else { Why::Inputs(changed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comes_before_inputs_and_a_new_input_counts() {
        let before = Inputs::from([("a".into(), Some(1)), ("b".into(), None)]);
        assert_eq!(decide(Some("x"), "x", &before, &before), Why::Current);
        assert_eq!(decide(Some("y"), "x", &before, &before), Why::Code);
        assert_eq!(decide(None, "x", &before, &before), Why::Code);
        let now = Inputs::from([("a".into(), Some(1)), ("b".into(), Some(5)), ("c".into(), Some(1))]);
        assert_eq!(decide(Some("x"), "x", &before, &now), Why::Inputs(vec!["b".into(), "c".into()]));
    }
}
