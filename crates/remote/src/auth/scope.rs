//! What a token must allow.

use std::collections::{BTreeMap, BTreeSet};

use crate::reference::RepositoryName;

/// A set of rights, one token's worth of them. An operation that touches two repositories of a registry asks for both
/// at once, so that it needs one token and not two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// The right to read `repository`.
    #[must_use]
    pub fn pull(repository: &RepositoryName) -> Self {
        Self::default().and("repository", repository.path(), &["pull"])
    }

    /// The right to read and write `repository`.
    #[must_use]
    pub fn push(repository: &RepositoryName) -> Self {
        Self::default().and("repository", repository.path(), &["pull", "push"])
    }

    /// The right to delete from `repository`.
    #[must_use]
    pub fn delete(repository: &RepositoryName) -> Self {
        Self::default().and("repository", repository.path(), &["delete", "pull"])
    }

    /// The rights of both.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (resource, actions) in &other.0 {
            self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
        self
    }

    fn and(mut self, kind: &str, name: &str, actions: &[&str]) -> Self {
        self.0
            .entry(format!("{kind}:{name}"))
            .or_default()
            .extend(actions.iter().map(|action| (*action).to_owned()));
        self
    }

    /// Takes in what a challenge lists (`TYPE:NAME:ACTION,ACTION`); what has another form is left out.
    pub(crate) fn extend(&mut self, challenged: &[String]) {
        for scope in challenged {
            if let Some((resource, actions)) = scope.rsplit_once(':') {
                let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned);
                self.0.entry(resource.to_owned()).or_default().extend(actions);
            }
        }
    }

    /// The scopes as a token server takes them, those of `first` first: some servers read only one.
    pub(crate) fn in_order(&self, first: &[String]) -> Vec<String> {
        let rank = |resource: &str| {
            first.iter().position(|scope| scope.rsplit_once(':').is_some_and(|(name, _)| name == resource))
        };
        let mut resources: Vec<_> = self.0.iter().collect();
        resources.sort_by_key(|(resource, _)| rank(resource).unwrap_or(usize::MAX));
        let join =
            |actions: &BTreeSet<String>| actions.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        resources.into_iter().map(|(resource, actions)| format!("{resource}:{}", join(actions))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_of_two_repositories_are_one_set() {
        let a: RepositoryName = "h.io/a/x".parse().unwrap();
        let b: RepositoryName = "h.io/b".parse().unwrap();
        let mut both = Scopes::push(&b).union(&Scopes::pull(&a)).union(&Scopes::pull(&b));
        assert_eq!(both.in_order(&[]), ["repository:a/x:pull", "repository:b:pull,push"]);
        both.extend(&["repository:c:pull".into(), "odd".into()]);
        let first = ["repository:c:pull".to_owned()];
        assert_eq!(both.in_order(&first)[0], "repository:c:pull");
        assert_eq!(both.in_order(&first).len(), 3);
    }
}
