//! One line of comma-separated `key=value` fields, quoted as Go's `encoding/csv` has it (RFC 4180).

use crate::error::{Error, Result};

/// The fields of a spec in their order, keys in small letters up to their first dot: `type=image,"name=a,b",push=true`. A field is quoted as a
/// whole or not at all; in a quoted one `""` is a quote. `what` is named in errors: `output`, say.
///
/// # Errors
/// [`Error::Spec`] for a quote where none may be, one that is not closed, a second line, a field without `=`, and a key
/// that is there twice.
pub fn attributes(what: &'static str, text: &str) -> Result<Vec<(String, String)>> {
    let invalid = |reason: String| Error::Spec { what, spec: text.to_owned(), reason };
    let mut found: Vec<(String, String)> = Vec::new();
    for field in fields(text).map_err(invalid)? {
        let (key, value) = field.split_once('=').ok_or_else(|| invalid(format!("`{field}` has no `=`")))?;
        let (head, tail) = key.trim().split_at(key.trim().find('.').unwrap_or(key.trim().len()));
        let key = format!("{}{tail}", head.to_ascii_lowercase());
        if key.is_empty() {
            return Err(invalid(format!("`{field}` has no key")));
        }
        if found.iter().any(|(known, _)| *known == key) {
            return Err(invalid(format!("`{key}` is there twice")));
        }
        found.push((key, value.to_owned()));
    }
    Ok(found)
}

fn fields(text: &str) -> Result<Vec<String>, String> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => plain_field(rest)?,
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// A field up to the next comma, and what is behind it.
fn plain_field(text: &str) -> Result<(String, Option<&str>), String> {
    let (field, after) = match text.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (text, None),
    };
    if field.contains('"') {
        return Err(format!("a quote within `{field}`: quote the whole field, `\"key=value\"`"));
    }
    if field.contains(['\n', '\r']) {
        return Err("it has more than one line".to_owned());
    }
    Ok((field.to_owned(), after))
}

/// The rest of a field whose first quote has been read, and what is behind its comma.
fn quoted_field(text: &str) -> Result<(String, Option<&str>), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or("a quote is not closed")?;
        field.push_str(part);
        rest = match after.chars().next() {
            Some('"') => {
                field.push('"');
                after.get(1..).unwrap_or_default()
            }
            Some(',') => return Ok((field, after.get(1..))),
            None => return Ok((field, None)),
            Some(_) => return Err(format!("something follows the quotes of `{field}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match attributes("output", text) {
            Ok(found) => found.iter().map(|(key, value)| format!("{key}:{value};")).collect(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn fields_are_quoted_as_a_whole() {
        assert_eq!(shown("type=image,name=a:1,push=true"), "type:image;name:a:1;push:true;");
        assert_eq!(shown("type=image,\"name=a,b\",push=true\n"), "type:image;name:a,b;push:true;");
        assert_eq!(shown("\"a=say \"\"no\"\"\",b="), "a:say \"no\";b:;");
        assert_eq!(shown("Annotation.K=x=y"), "annotation.K:x=y;");
        assert_eq!(shown("dest= a b "), "dest: a b ;", "blanks belong to values");
    }

    #[test]
    fn faults_are_named() {
        for (text, reason) in [
            ("type", "`type` has no `=`"),
            ("", "`` has no `=`"),
            ("type=a,", "`` has no `=`"),
            ("=a", "has no key"),
            ("a=1,A=2", "`a` is there twice"),
            ("name=\"a,b\"", "quote the whole field"),
            ("\"a=1", "not closed"),
            ("\"a=1\"x,b=2", "something follows"),
            ("a=1\nb=2", "more than one line"),
        ] {
            let said = shown(text);
            assert!(said.contains(reason), "{text}: {said}");
            assert!(said.starts_with("output `"), "{said}");
        }
    }
}
