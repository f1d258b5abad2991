//! Pure: whether a change may be put on top of commits that came in between, without being computed again.
//!
//! A change names what it was computed from ([`Basis`]). Files it removes, or deletes rows of, must still be live and must
//! not have got other deletes meanwhile (a rewritten file would bring deleted rows back); partitions it replaces must not
//! have got other files. Those are the validations that Iceberg asks of a replace, a row delta and an overwrite under
//! serializable isolation; what does not pass is computed anew.

use std::collections::HashSet;

use iceberg::spec::Struct;

use super::{TableState, commit::Basis, commit::Change, deletes::Placed};

/// Why a change cannot be rebased.
pub type Reason = String;

/// Whether `change`, computed from `base`, says the same on `now`.
///
/// # Errors
/// With the reason why not.
pub fn rebase(base: &TableState, now: &TableState, change: &Change) -> Result<(), Reason> {
    let (before, after) = (base.metadata(), now.metadata());
    if before.uuid() != after.uuid() {
        return Err("it is another table of the same name".into());
    }
    // The change's files were written by them.
    if before.current_schema_id() != after.current_schema_id() {
        return Err("the schema changed".into());
    }
    if before.default_partition_spec_id() != after.default_partition_spec_id() {
        return Err("the partition spec changed".into());
    }
    let touched: HashSet<&str> = change
        .remove
        .iter()
        .map(String::as_str)
        .chain(change.deletes.iter().map(|deletes| deletes.of.as_str()))
        .collect();
    let known: HashSet<&str> = base.live().map(|live| live.path).collect();
    still_live(&touched, now)?;
    no_new_deletes(&touched, &known, now)?;
    match &change.basis {
        Basis::Table => Err("it was computed from the whole table".into()),
        Basis::Files => Ok(()),
        Basis::Partitions(partitions) => no_new_files(partitions, &known, now),
    }
}

fn still_live(touched: &HashSet<&str>, now: &TableState) -> Result<(), Reason> {
    let live: HashSet<&str> = now.live().map(|live| live.path).collect();
    match touched.iter().find(|path| !live.contains(**path)) {
        Some(path) => Err(format!("{path} is no longer there")),
        None => Ok(()),
    }
}

fn no_new_deletes(touched: &HashSet<&str>, known: &HashSet<&str>, now: &TableState) -> Result<(), Reason> {
    let new: Vec<_> = now.deletes.iter().filter(|delete| !known.contains(delete.entry.file_path())).collect();
    if new.is_empty() {
        return Ok(());
    }
    let hit = |data: &Placed<'_>| touched.contains(data.path) && new.iter().any(|delete| delete.applies(*data));
    match now.live().find(hit) {
        Some(data) => Err(format!("rows of {} were deleted", data.path)),
        None => Ok(()),
    }
}

fn no_new_files(partitions: &HashSet<Struct>, known: &HashSet<&str>, now: &TableState) -> Result<(), Reason> {
    let spec = now.metadata().default_partition_spec_id();
    let new = now
        .live()
        .find(|live| !known.contains(live.path) && (live.spec_id != spec || partitions.contains(live.partition)));
    match new {
        Some(new) => Err(format!("{} came into a partition that is replaced", new.path)),
        None => Ok(()),
    }
}

/// The change that replaces the partitions which the data files `add` are of (dynamic partition overwrite): what else is
/// in them goes, other partitions stay. `None` when the table holds files of an older spec, whose rows may be of any of
/// the partitions: rewrite them first.
pub fn replace_partitions(state: &TableState, add: Vec<iceberg::spec::DataFile>) -> Option<Change> {
    let spec = state.metadata().default_partition_spec_id();
    let partitions: HashSet<Struct> = add.iter().map(|file| file.partition().clone()).collect();
    let mut remove = HashSet::new();
    for live in state.live() {
        if live.spec_id != spec {
            return None;
        }
        if partitions.contains(live.partition) {
            remove.insert(live.path.to_owned());
        }
    }
    Some(Change { remove, add, basis: Basis::Partitions(partitions), ..Change::default() })
}
