//! Pure: selectors of models: `daily_revenue`, `+serve.daily_revenue` (and what it is made of), `shape.orders+` (and what is
//! made of it), `+x+`, `tag:sales`, `serve.*`. Several select what any of them does; none at all selects everything.

use std::collections::BTreeSet;

use super::{ModelError, Models};

/// The models that selectors choose.
///
/// # Errors
/// When one names nothing.
pub fn select(models: &Models, selectors: &[String]) -> Result<BTreeSet<String>, ModelError> {
    if selectors.is_empty() {
        return Ok(models.iter().map(|model| model.name.clone()).collect());
    }
    let mut chosen = BTreeSet::new();
    for selector in selectors {
        let (above, name) = selector.strip_prefix('+').map_or((false, selector.as_str()), |rest| (true, rest));
        let (below, name) = name.strip_suffix('+').map_or((false, name), |rest| (true, rest));
        for name in named(models, name)? {
            if above {
                chosen.extend(models.graph.above(&name));
            }
            if below {
                chosen.extend(models.graph.below(&name));
            }
            chosen.insert(name);
        }
    }
    chosen.retain(|name| models.get(name).is_some());
    Ok(chosen)
}

/// Models and sources of a name without its signs.
fn named(models: &Models, name: &str) -> Result<Vec<String>, ModelError> {
    let found: Vec<String> = if let Some(tag) = name.strip_prefix("tag:") {
        let tagged = models.iter().filter(|model| model.header.tags.iter().any(|known| known == tag));
        tagged.map(|model| model.name.clone()).collect()
    } else {
        models.graph.nodes().filter(|node| matches(name, node)).map(str::to_owned).collect()
    };
    if found.is_empty() {
        let known: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        return Err(ModelError::Unknown(name.to_owned(), known.join(", ")));
    }
    Ok(found)
}

/// Whether a pattern with `*` means a name, whole or without its layer.
fn matches(pattern: &str, node: &str) -> bool {
    let bare = node.split_once('.').map_or(node, |(_, bare)| bare);
    like(pattern, node) || (!pattern.contains('.') && like(pattern, bare))
}

fn like(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).filter(|&cut| rest.is_char_boundary(cut)).any(|cut| like(tail, &rest[cut..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn models() -> Models {
        let file = |layer: &'static str, name: &str, text: &str| (layer, name.to_owned(), text.to_owned());
        Models::parse([
            file("shape", "totals", "SELECT 1 AS a FROM shape.orders, shape.items"),
            file("serve", "revenue", "/* ---\ntags: [sales]\n--- */\nSELECT 1 AS a FROM shape.totals"),
            file("serve", "funnel", "/* ---\ntags: [sales, ops]\n--- */\nSELECT 1 AS a FROM shape.orders"),
            file("serve", "stock", "SELECT 1 AS a FROM shape.items"),
        ])
        .unwrap()
    }

    fn chosen(selectors: &[&str]) -> String {
        let selectors: Vec<String> = selectors.iter().map(|text| (*text).to_owned()).collect();
        select(&models(), &selectors).unwrap().into_iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn selectors_choose_models_and_what_is_above_and_below() {
        assert_eq!(chosen(&[]), "serve.funnel serve.revenue serve.stock shape.totals");
        assert_eq!(chosen(&["revenue"]), "serve.revenue");
        assert_eq!(chosen(&["+revenue"]), "serve.revenue shape.totals");
        assert_eq!(chosen(&["orders+"]), "serve.funnel serve.revenue shape.totals");
        assert_eq!(chosen(&["+totals+"]), "serve.revenue shape.totals");
        assert_eq!(chosen(&["tag:sales"]), "serve.funnel serve.revenue");
        assert_eq!(chosen(&["+tag:ops", "stock"]), "serve.funnel serve.stock");
        assert_eq!(chosen(&["serve.*"]), "serve.funnel serve.revenue serve.stock");
        assert_eq!(chosen(&["s*k"]), "serve.stock");
    }

    #[test]
    fn a_selector_that_names_nothing_is_an_error() {
        for selector in ["revenu", "tag:none", "shape.x*"] {
            let error = select(&models(), &[selector.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(selector.trim_start_matches("tag:")), "{error}");
        }
        // A source alone selects no model.
        assert_eq!(chosen(&["shape.orders"]), "");
    }
}
