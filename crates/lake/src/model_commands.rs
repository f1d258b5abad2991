//! The commands over models: `lake plan`, `run`, `test`, `lineage` and `docs`. Each answers with text, and whether all is well.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, sync::Arc};

use serde_json::{Value, json};

use crate::{
    error::{LakeError, Result},
    models::{
        Models,
        checks::{Check, Rule, Verdict},
        header::Severity,
        page,
        select::select,
    },
    query,
    runner::{
        Runner, Served,
        audit::Auditor,
        offline::Offline,
        plan::{self, Why},
        reconcile::{self, Finding, Patience},
        session::{Sessions, whole},
    },
    settings::{ModelCommand, Settings},
    sql::{Engine, Pinned},
};

/// What a command says.
#[derive(Debug)]
pub struct Said {
    pub text: String,
    /// Nothing failed.
    pub well: bool,
}

impl Said {
    fn new(text: String, well: bool) -> Self {
        Self { text, well }
    }
}

/// What the commands work with.
pub struct Commands<'a> {
    pub runner: &'a Runner,
    pub engine: &'a Engine,
    pub settings: &'a Settings,
}

impl Commands<'_> {
    /// Runs one.
    ///
    /// # Errors
    /// When a selector names nothing, or a server is away.
    pub async fn run(&self, command: &ModelCommand) -> Result<Said> {
        let models = &self.runner.models;
        match command {
            ModelCommand::Plan { selectors, json } => {
                let planned = self.plan(&select(models, selectors)?).await?;
                Ok(Said::new(if *json { line(&json!(planned)) } else { as_table(&planned) }, true))
            }
            ModelCommand::Run { selectors, json } => {
                let served = self.runner.run_only(&select(models, selectors)?).await?;
                self.runner.history.write().await?;
                let rows = done(models, &served);
                Ok(Said::new(if *json { line(&json!(rows)) } else { as_table(&rows) }, served.is_whole()))
            }
            ModelCommand::Test { selectors, json } => {
                let rows = self.test(&select(models, selectors)?).await?;
                let well = rows.iter().all(|row| row["result"] != "failed");
                Ok(Said::new(if *json { line(&json!(rows)) } else { as_table(&rows) }, well))
            }
            ModelCommand::Lineage { selectors, json } => {
                let offline = Offline::new(models, Sessions::new(self.engine)).await?;
                let rows = lineage(&offline, &select(models, selectors)?);
                Ok(Said::new(if *json { line(&json!(rows)) } else { as_table(&rows) }, true))
            }
            ModelCommand::Docs { out } => self.docs(out).await,
        }
    }

    /// What a run would do.
    async fn plan(&self, chosen: &BTreeSet<String>) -> Result<Vec<Value>> {
        let pinned = self.runner.pin(chosen).await?;
        let mut moves: BTreeSet<&str> = BTreeSet::new();
        let mut rows = Vec::new();
        for model in self.runner.models.graph.order().iter().filter_map(|name| self.runner.models.get(name)) {
            if !chosen.contains(&model.name) {
                continue;
            }
            let present = self.runner.tables.cached(&model.ident()).await?;
            let before = present.as_deref().and_then(plan::built_from);
            let why = plan::why(model, present.as_deref(), before.as_ref(), &plan::inputs(model, &pinned));
            let follows: Vec<&str> =
                self.runner.models.graph.parents(&model.name).filter(|parent| moves.contains(parent)).collect();
            let missing = model.needs().find(|needed| !pinned.contains_key(*needed) && !moves.contains(needed));
            let kept = model.header.materialized.word();
            let (action, reason) = match (&why, missing) {
                (_, Some(missing)) => ("wait", format!("{missing} is not there yet")),
                (Why::Current, None) if follows.is_empty() => ("none", why.to_string()),
                (Why::Current, None) => (kept, format!("after {}", follows.join(", "))),
                (Why::Inputs(_), None) => (kept, why.to_string()),
                (Why::New | Why::Code, None) => ("full", why.to_string()),
            };
            if !matches!(action, "none" | "wait") {
                moves.insert(&model.name);
            }
            rows.push(json!({"model": model.name, "action": action, "why": reason, "tests": model.checks.len()}));
        }
        Ok(rows)
    }

    /// Unit tests, then the tests of what is published.
    async fn test(&self, chosen: &BTreeSet<String>) -> Result<Vec<Value>> {
        let models = &self.runner.models;
        let mut rows = Vec::new();
        let row = |model: &str, test: &str, result: &str, text: String| json!({"model": model, "test": test, "result": result, "found": text});
        if !models.unit_tests.is_empty() {
            let offline = Offline::new(models, Sessions::new(self.engine)).await?;
            for unit in offline.unit_tests(&models.unit_tests, chosen).await? {
                let result = if unit.differences.is_empty() { "passed" } else { "failed" };
                rows.push(row(&unit.model, &format!("unit: {}", unit.name), result, unit.differences.join("; ")));
            }
        }
        let pinned = self.runner.pin(chosen).await?;
        for model in chosen.iter().filter_map(|name| models.get(name)) {
            let present = self.runner.tables.load(&model.ident()).await?;
            let Some(state) = present.filter(|state| state.snapshot_id().is_some()) else {
                rows.push(row(&model.name, "-", "open", "it was not built yet".into()));
                continue;
            };
            let mut own = pinned.clone();
            own.insert(model.name.clone(), Arc::clone(&state));
            let session = Sessions::new(self.engine).over(&whole(&own)?)?;
            let auditor = Auditor { model, session: &session, pinned: &pinned };
            let audited = model.checks.iter().filter(|check| check.is_audited()).cloned().collect();
            for verdict in auditor.look(&state, audited).await? {
                let (result, text) = judged(&verdict);
                rows.push(row(&model.name, &verdict.check, result, text));
            }
            for check in &model.checks {
                if let Some(finding) = self.beside(check, &model.name, &own).await? {
                    let (result, text) = match finding {
                        Finding::Holds(text) => ("passed", text),
                        Finding::Fails(text) if check.severity == Severity::Warn => ("warned", text),
                        Finding::Fails(text) => ("failed", text),
                        Finding::Open(text) => ("open", text),
                    };
                    rows.push(row(&model.name, &check.name, result, text));
                }
            }
        }
        Ok(rows)
    }

    /// Tests that no run looks at.
    async fn beside(&self, check: &Check, table: &str, pinned: &Pinned) -> Result<Option<Finding>> {
        match &check.rule {
            Rule::Freshness(test) => reconcile::freshness(test, table, pinned, self.engine).await.map(Some),
            Rule::Reconcile(test) => {
                let source = self.settings.source_url.as_ref();
                reconcile::reconcile(test, self.engine, source, Patience::default()).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn docs(&self, out: &Path) -> Result<Said> {
        let offline = Offline::new(&self.runner.models, Sessions::new(self.engine)).await?;
        // The page is worth having without a lake: then it has no runs.
        let sql = "SELECT model, outcome, how, reason, ended_at, runs, rows, took_ms FROM serve._runs \
                   ORDER BY ended_at DESC LIMIT 200";
        let runs = match query::answer(self.engine, sql, 200).await {
            Ok(answer) => answer.rows,
            Err(_) => Vec::new(),
        };
        let html = page::page(&self.runner.models, &offline.described(), &runs);
        let file = out.join("index.html");
        let written = std::fs::create_dir_all(out).and_then(|()| std::fs::write(&file, html));
        written.map_err(|error| LakeError::definite(format!("write {}: {error}", file.display())))?;
        Ok(Said::new(format!("{}\n", file.display()), true))
    }
}

fn judged(verdict: &Verdict) -> (&'static str, String) {
    if verdict.failing == 0 {
        return ("passed", String::new());
    }
    let first = verdict.rows.first().map_or(String::new(), |row| format!(", such as {row}"));
    (if verdict.forbids() { "failed" } else { "warned" }, format!("{}{first}", verdict.reason))
}

/// What a run did, a row per model.
fn done(models: &Models, served: &Served) -> Vec<Value> {
    let row = |name: &str| {
        let said = |outcome: &str, text: String| json!({"model": name, "outcome": outcome, "found": text});
        if let Some(built) = served.built.get(name) {
            let warned: Vec<&str> = built.warnings.iter().map(|verdict| verdict.reason.as_str()).collect();
            let text =
                format!("{}, {} rows, {} ms: {}", built.how.word(), built.rows, built.took.as_millis(), built.why);
            let text = if warned.is_empty() { text } else { format!("{text}; warning: {}", warned.join("; ")) };
            return Some(said("built", text));
        }
        let rejected = served.rejected.get(name).map(|rejection| said("rejected", rejection.reason()));
        let failed = served.failed.get(name).map(|error| said("failed", error.to_string()));
        let skipped = served.skipped.get(name).map(|reason| said("skipped", reason.clone()));
        let waiting = served.waiting.get(name).map(|table| said("waiting", format!("{table} is not there yet")));
        rejected.or(failed).or(skipped).or(waiting)
    };
    models.graph.order().iter().filter_map(|name| row(name)).collect()
}

/// A row per column of the chosen models.
fn lineage(offline: &Offline<'_>, chosen: &BTreeSet<String>) -> Vec<Value> {
    let mut rows = Vec::new();
    for (model, columns) in offline.lineage.iter().filter(|(model, _)| chosen.contains(*model)) {
        for (column, origins) in columns {
            let from: Vec<String> = origins.iter().map(|(table, column)| format!("{table}.{column}")).collect();
            rows.push(json!({"model": model, "column": column, "from": from}));
        }
    }
    rows
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// Objects of the same members as a table for people.
fn as_table(rows: &[Value]) -> String {
    let Some(names) = rows.first().and_then(Value::as_object).map(|row| row.keys().cloned().collect::<Vec<_>>()) else {
        return "nothing\n".to_owned();
    };
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let lines: Vec<Vec<String>> = rows.iter().map(|row| names.iter().map(|name| cell(&row[name])).collect()).collect();
    let width = |place: usize| {
        let cells = lines.iter().map(|line| line[place].chars().count());
        cells.chain([names[place].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let mut out = String::new();
    for line in std::iter::once(&names).chain(&lines) {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        let _ = writeln!(out, "{}", padded.join("  ").trim_end());
    }
    out
}
