//! The attributes of a spec, taken one by one; what nobody takes is an error.

use super::csv::attributes;
use crate::error::{Error, Result};

/// True or false in Go's words (`strconv.ParseBool`); nothing for any other.
pub(crate) fn yes_or_no(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Attributes that have not been taken yet.
pub(super) struct Attrs<'a> {
    what: &'static str,
    text: &'a str,
    left: Vec<(String, String)>,
}

impl<'a> Attrs<'a> {
    pub(super) fn read(what: &'static str, text: &'a str) -> Result<Self> {
        Ok(Self { what, text, left: attributes(what, text)? })
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.left.iter().position(|(known, _)| known == key)?;
        Some(self.left.remove(at).1)
    }

    /// The first one left whose key begins with `prefix`: the rest of the key, and the value.
    pub(super) fn take_prefixed(&mut self, prefix: &str) -> Option<(String, String)> {
        let at = self.left.iter().position(|(known, _)| known.starts_with(prefix))?;
        let (key, value) = self.left.remove(at);
        Some((key.get(prefix.len()..).unwrap_or_default().to_owned(), value))
    }

    /// A switch: a key without a value is on.
    pub(super) fn switch(&mut self, key: &str) -> Result<Option<bool>> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("") => Ok(Some(true)),
            Some(word) => match yes_or_no(word) {
                None => Err(self.invalid(format!("{key}: `{word}` is neither true nor false"))),
                said => Ok(said),
            },
        }
    }

    /// A number that is not negative; a key without a value says nothing.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<u64>> {
        match self.take(key).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => {
                let number = value.parse().ok();
                number.map(Some).ok_or_else(|| self.invalid(format!("{key}: `{value}` is not a number")))
            }
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(self, known: &str) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some((key, _)) => Err(self.invalid(format!("there is no `{key}` here: {known}"))),
        }
    }

    pub(super) fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::Spec { what: self.what, spec: self.text.to_owned(), reason: reason.into() }
    }
}
