//! Pure: which table is made of which, as the models' own SQL says.

use std::collections::{BTreeMap, BTreeSet};

use super::ModelError;

/// Models and the tables they read. A name that has no parents is a source (or a model that reads nothing).
#[derive(Debug, Clone, Default)]
pub struct Graph {
    parents: BTreeMap<String, BTreeSet<String>>,
    children: BTreeMap<String, BTreeSet<String>>,
    /// Models, each after those it reads.
    order: Vec<String>,
}

impl Graph {
    /// A graph of models with what each reads.
    ///
    /// # Errors
    /// When they read each other in a circle.
    pub fn new<'a>(models: impl Iterator<Item = (&'a str, &'a [String])>) -> Result<Self, ModelError> {
        let mut graph = Self::default();
        let mut names = Vec::new();
        for (name, inputs) in models {
            names.push(name.to_owned());
            graph.parents.entry(name.to_owned()).or_default().extend(inputs.iter().cloned());
            for input in inputs {
                graph.parents.entry(input.clone()).or_default();
                graph.children.entry(input.clone()).or_default().insert(name.to_owned());
            }
        }
        let mut done = BTreeSet::new();
        for name in &names {
            graph.visit(name, &mut Vec::new(), &mut done)?;
        }
        graph.order.retain(|name| names.contains(name));
        Ok(graph)
    }

    fn visit(&mut self, name: &str, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> Result<(), ModelError> {
        if done.contains(name) {
            return Ok(());
        }
        if let Some(start) = path.iter().position(|seen| seen == name) {
            let mut circle = path[start..].to_vec();
            circle.push(name.to_owned());
            return Err(ModelError::Circle(circle));
        }
        path.push(name.to_owned());
        for parent in self.parents.get(name).cloned().unwrap_or_default() {
            self.visit(&parent, path, done)?;
        }
        path.pop();
        done.insert(name.to_owned());
        self.order.push(name.to_owned());
        Ok(())
    }

    /// Models, each after those it reads.
    #[must_use]
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// All names, models and sources.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.parents.keys().map(String::as_str)
    }

    /// What a model reads.
    pub fn parents(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parents.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Everything a name is made of, at any distance.
    #[must_use]
    pub fn above(&self, name: &str) -> BTreeSet<String> {
        reach(&self.parents, name)
    }

    /// Everything that is made of a name, at any distance.
    #[must_use]
    pub fn below(&self, name: &str) -> BTreeSet<String> {
        reach(&self.children, name)
    }
}

fn reach(edges: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        for next in edges.get(name).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Result<Graph, ModelError> {
        let models: Vec<(String, Vec<String>)> = edges
            .iter()
            .map(|(name, inputs)| ((*name).to_owned(), inputs.iter().map(|input| (*input).to_owned()).collect()))
            .collect();
        Graph::new(models.iter().map(|(name, inputs)| (name.as_str(), inputs.as_slice())))
    }

    #[test]
    fn a_model_comes_after_what_it_reads() {
        let graph = graph(&[("a", &["b", "s"]), ("b", &["c"]), ("c", &["s"])]).unwrap();
        assert_eq!(graph.order(), ["c", "b", "a"]);
        assert_eq!(graph.above("a").into_iter().collect::<Vec<_>>(), vec!["b", "c", "s"]);
        assert_eq!(graph.below("s").into_iter().collect::<Vec<_>>(), vec!["a", "b", "c"]);
    }

    #[test]
    fn a_circle_is_named() {
        let error = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]).unwrap_err();
        assert_eq!(error, ModelError::Circle(vec!["b".into(), "c".into(), "b".into()]));
        assert_eq!(graph(&[("a", &["a"])]).unwrap_err(), ModelError::Circle(vec!["a".into(), "a".into()]));
    }
}
