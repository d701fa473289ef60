//! What the last cell of a row says.

/// What a row says of its proof.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    /// `FILE::NAME`.
    pub(super) tests: Vec<(String, String)>,
    /// The same of types.
    pub(super) types: Vec<(String, String)>,
    pub(super) later: Option<String>,
    /// Why there is no such thing here.
    pub(super) not_here: Option<String>,
    pub(super) pending: bool,
}

impl Proof {
    /// Reads `` `FILE::TEST`<br>`FILE::TEST`; types: `FILE::TYPE`, why; later: issue 6, the build engine; not here: why ``,
    /// of which each part may be missing, or `pending`.
    pub(super) fn parse(cell: &str) -> Result<Self, String> {
        let mut proof = Self::default();
        for clause in cell.split("; ") {
            if clause == "pending" {
                proof.pending = true;
            } else if let Some(part) = clause.strip_prefix("later: ") {
                proof.later = Some(part.to_owned());
            } else if let Some(why) = clause.strip_prefix("not here: ") {
                proof.not_here = Some(why.to_owned());
            } else if let Some(types) = clause.strip_prefix("types: ") {
                let (quoted, why) = quoted(types);
                if why.is_empty() || quoted.is_empty() {
                    return Err(format!("`{clause}` does not say which type, or why"));
                }
                proof.types.extend(quoted.iter().map(|text| in_file(text)).collect::<Result<Vec<_>, _>>()?);
            } else {
                let (quoted, rest) = quoted(clause);
                if !rest.is_empty() || quoted.is_empty() {
                    return Err(format!("`{clause}` is none of tests, types, later, not here, pending"));
                }
                proof.tests.extend(quoted.iter().map(|text| in_file(text)).collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(proof)
    }

    /// Whether a clause is not about tests, and therefore stays when these are written anew.
    pub(super) fn is_lasting(clause: &str) -> bool {
        ["types: ", "later: ", "not here: "].iter().any(|beginning| clause.starts_with(beginning))
    }
}

/// What stands between back quotes, and the words beside it.
fn quoted(text: &str) -> (Vec<&str>, String) {
    let (mut inside, mut outside) = (Vec::new(), String::new());
    for (nth, part) in text.split('`').enumerate() {
        if nth % 2 == 1 { inside.push(part) } else { outside.push_str(part) }
    }
    (inside, outside.replace("<br>", "").replace(',', "").trim().to_owned())
}

fn in_file(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once("::").filter(|(file, _)| file.ends_with(".rs"));
    parts.map(|(file, name)| (file.to_owned(), name.to_owned())).ok_or(format!("`{text}` is not FILE::NAME"))
}
