//! Pure: the docs page of the models, one HTML file that needs nothing else: the graph as SVG, and per model its columns,
//! tests, lineage, query and last runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::Value;

use super::{Model, Models, lineage::Origins};

/// A column as the page shows it.
#[derive(Debug, Clone)]
pub struct DescribedColumn {
    pub name: String,
    pub kind: String,
    pub from: Origins,
}

/// Columns of every table.
pub type Described = BTreeMap<String, Vec<DescribedColumn>>;

const STYLE: &str = include_str!("page.css");
const BOX_WIDTH: usize = 230;
const BOX_HEIGHT: usize = 30;
const GAP_X: usize = 90;
const GAP_Y: usize = 14;
const MARGIN: usize = 12;

/// The page. `runs` are rows of `serve._runs`, newest first: model, outcome, how, reason, ended, runs, rows, milliseconds.
#[must_use]
pub fn page(models: &Models, described: &Described, runs: &[Value]) -> String {
    let mut body = String::new();
    let _ = write!(body, "<h1>Models</h1>\n<figure>{}</figure>\n", graph(models));
    let _ = write!(body, "{}", overview(models, runs));
    for model in models.graph.order().iter().filter_map(|name| models.get(name)) {
        body.push_str(&section(models, model, described, runs));
    }
    body.push_str("<h1>Sources</h1>\n");
    for name in models.sources() {
        let said = models.declared.get(name).map_or("", |source| source.description.as_str());
        let _ = write!(body, "<section id=\"{0}\"><h2>{0}</h2><p>{1}</p>", escape(name), escape(said));
        body.push_str(&columns(described.get(name), None));
        body.push_str("</section>\n");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Models of the lake</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// Where each name stands: column by distance from the sources, row by the rows of what it is made of.
fn places(models: &Models) -> BTreeMap<&str, (usize, usize)> {
    let mut depth: BTreeMap<&str, usize> = models.sources().map(|name| (name, 0)).collect();
    for name in models.graph.order() {
        let deepest = models.graph.parents(name).filter_map(|parent| depth.get(parent)).max();
        depth.insert(name, deepest.map_or(0, |deepest| deepest + 1));
    }
    let mut layers: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (name, layer) in &depth {
        layers.entry(*layer).or_default().push(name);
    }
    let mut places: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (layer, mut names) in layers {
        // Beside what they are made of, so that few lines cross: by the mean row of the parents.
        let mean = |name: &&str| {
            let rows: Vec<usize> =
                models.graph.parents(name).filter_map(|parent| places.get(parent)).map(|(_, row)| *row).collect();
            rows.iter().sum::<usize>() * 1000 / rows.len().max(1)
        };
        names.sort_by_key(|name| (mean(name), *name));
        for (row, name) in names.into_iter().enumerate() {
            places.insert(name, (layer, row));
        }
    }
    places
}

fn graph(models: &Models) -> String {
    let places = places(models);
    let at =
        |(column, row): (usize, usize)| (MARGIN + column * (BOX_WIDTH + GAP_X), MARGIN + row * (BOX_HEIGHT + GAP_Y));
    let (columns, rows) =
        places.values().fold((0, 0), |(columns, rows), (column, row)| (columns.max(column + 1), rows.max(row + 1)));
    let (right, bottom) = at((columns, rows));
    let (width, height) = (right.saturating_sub(GAP_X) + MARGIN, bottom);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"which table is made of which\">\n"
    );
    for (name, place) in &places {
        let (x, y) = at(*place);
        for parent in models.graph.parents(name) {
            let Some(from) = places.get(parent) else { continue };
            let (parent_x, parent_y) = at(*from);
            let (x1, y1, y2) = (parent_x + BOX_WIDTH, parent_y + BOX_HEIGHT / 2, y + BOX_HEIGHT / 2);
            let middle = x1 + (x - x1) / 2;
            let _ = writeln!(svg, "<path d=\"M{x1} {y1} C{middle} {y1} {middle} {y2} {x} {y2}\"/>");
        }
    }
    for (name, place) in &places {
        let (x, y) = at(*place);
        let kind = match models.get(name) {
            Some(model) => model.layer.as_str(),
            None => "source",
        };
        let _ = writeln!(
            svg,
            "<a href=\"#{name}\"><rect class=\"{kind}\" x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"5\"/><text x=\"{}\" y=\"{}\">{name}</text></a>",
            x + 10,
            y + BOX_HEIGHT / 2 + 4,
            name = escape(name),
        );
    }
    svg.push_str("</svg>");
    svg
}

fn overview(models: &Models, runs: &[Value]) -> String {
    let mut out = "<table><thead><tr><th>model</th><th>kept</th><th>owner</th><th>tags</th><th>tests</th><th>last run</th></tr></thead><tbody>\n".to_owned();
    for model in models.graph.order().iter().filter_map(|name| models.get(name)) {
        let last = runs.iter().find(|run| run[0] == model.name.as_str());
        let last = last.map_or_else(|| "-".to_owned(), |run| format!("{}, {}", text(&run[1]), text(&run[4])));
        let _ = writeln!(
            out,
            "<tr><td><a href=\"#{0}\">{0}</a></td><td>{1}</td><td>{2}</td><td>{3}</td><td>{4}</td><td>{5}</td></tr>",
            escape(&model.name),
            model.header.materialized.word(),
            escape(model.header.owner.as_deref().unwrap_or("-")),
            escape(&model.header.tags.join(", ")),
            model.checks.len(),
            escape(&last),
        );
    }
    out.push_str("</tbody></table>\n");
    out
}

fn section(models: &Models, model: &Model, described: &Described, runs: &[Value]) -> String {
    let header = &model.header;
    let kept = match header.materialized.slice() {
        Some(slice) => format!("{} by {}", header.materialized.word(), slice.by),
        None => header.materialized.word().to_owned(),
    };
    let links = |names: BTreeSet<String>| {
        let link = |name: &String| format!("<a href=\"#{0}\">{0}</a>", escape(name));
        if names.is_empty() { "nothing".to_owned() } else { names.iter().map(link).collect::<Vec<_>>().join(", ") }
    };
    let mut out = format!(
        "<section id=\"{0}\">\n<h2>{0}</h2>\n<p>{1}</p>\n<p class=\"facts\">kept: {2} · owner: {3} · tags: {4} · keys: {5}</p>\n<p class=\"facts\">made of {6}; used by {7}</p>\n",
        escape(&model.name),
        escape(&header.description),
        escape(&kept),
        escape(header.owner.as_deref().unwrap_or("-")),
        escape(&header.tags.join(", ")),
        escape(&header.keys.join(", ")),
        links(model.inputs.iter().cloned().collect()),
        links(models.graph.below(&model.name)),
    );
    out.push_str(&columns(described.get(&model.name), Some(model)));
    let tests: Vec<String> = model.checks.iter().map(|check| format!("<li>{}</li>", escape(&check.name))).collect();
    let units = models.unit_tests.iter().filter(|test| test.model == model.name);
    let units: Vec<String> = units.map(|test| format!("<li>unit: {}</li>", escape(&test.name))).collect();
    let _ = writeln!(out, "<h3>Tests</h3><ul>{}{}</ul>", tests.concat(), units.concat());
    let _ = writeln!(out, "<details><summary>Query</summary><pre>{}</pre></details>", escape(model.sql.trim()));
    let own: Vec<&Value> = runs.iter().filter(|run| run[0] == model.name.as_str()).take(5).collect();
    if !own.is_empty() {
        out.push_str("<h3>Last runs</h3><table><thead><tr><th>ended</th><th>outcome</th><th>how</th><th>why</th><th>runs</th><th>rows</th><th>ms</th></tr></thead><tbody>\n");
        for run in own {
            let cells = [4, 1, 2, 3, 5, 6, 7].map(|place| format!("<td>{}</td>", escape(&text(&run[place]))));
            let _ = writeln!(out, "<tr>{}</tr>", cells.concat());
        }
        out.push_str("</tbody></table>\n");
    }
    out.push_str("</section>\n");
    out
}

fn columns(columns: Option<&Vec<DescribedColumn>>, model: Option<&Model>) -> String {
    let Some(columns) = columns else { return String::new() };
    let mut out = "<table><thead><tr><th>column</th><th>type</th>".to_owned();
    out.push_str(if model.is_some() {
        "<th>what</th><th>made of</th></tr></thead><tbody>\n"
    } else {
        "</tr></thead><tbody>\n"
    });
    for column in columns {
        let _ = write!(out, "<tr><td>{}</td><td>{}</td>", escape(&column.name), escape(&column.kind));
        if let Some(model) = model {
            let said = model.header.columns.get(&column.name).map_or("", |said| said.description.as_str());
            let from: Vec<String> = column
                .from
                .iter()
                .map(|(table, name)| format!("<a href=\"#{0}\">{0}</a>.{1}", escape(table), escape(name)))
                .collect();
            let _ = write!(out, "<td>{}</td><td>{}</td>", escape(said), from.join(", "));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n");
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_model_is_made_of_stands_left_of_it_and_text_is_escaped() {
        let file = |layer: &'static str, name: &str, text: &str| (layer, name.to_owned(), text.to_owned());
        let models = Models::parse([
            file("shape", "b", "SELECT a FROM shape.s"),
            file("serve", "c", "/* ---\ndescription: a < b\n--- */\nSELECT a FROM shape.b, shape.s"),
        ])
        .unwrap();
        let places = places(&models);
        assert_eq!((places["shape.s"].0, places["shape.b"].0, places["serve.c"].0), (0, 1, 2));
        let html = page(&models, &Described::new(), &[]);
        assert!(html.contains("a &lt; b") && html.matches("<path ").count() == 3);
        assert!(!html.contains("http://") || html.matches("http://").count() == 1, "only the name of SVG");
    }
}
