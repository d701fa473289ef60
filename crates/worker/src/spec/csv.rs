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
    let line = text.trim_end_matches(['\n', '\r']);
    for field in fields(line).map_err(|reason| invalid(reason.to_owned()))? {
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

/// The fields of `line`.
///
/// # Errors
/// What is wrong, in words: a quote in a field that does not begin with one, something after the closing one, a second
/// line.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err("a quote in a field that does not begin with one: quote it as a whole");
                }
                if field.contains(['\n', '\r']) {
                    return Err("it has more than one line");
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

/// What is between quotes, of which two stand for one, and what follows.
fn unquote(text: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or("a quote is not closed")?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        if let Some(more) = rest.strip_prefix('"') {
            field.push('"');
            rest = more;
        } else if rest.is_empty() || rest.starts_with(',') {
            return Ok((field, rest));
        } else {
            return Err("something between a closing quote and the next comma");
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
    fn quotes_are_go_s() {
        assert_eq!(fields("type=local,src=a b").unwrap(), ["type=local", "src=a b"]);
        assert_eq!(fields(r#"type=local,"src=a,""b""""#).unwrap(), ["type=local", r#"src=a,"b""#]);
        assert_eq!(fields("a,,").unwrap(), ["a", "", ""]);
        for bad in [r#"a"b"#, r#""a"#, r#""a"b,c"#] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (text, reason) in [
            ("type", "`type` has no `=`"),
            ("", "`` has no `=`"),
            ("type=a,", "`` has no `=`"),
            ("=a", "has no key"),
            ("a=1,A=2", "`a` is there twice"),
            ("name=\"a,b\"", "quote it as a whole"),
            ("\"a=1", "not closed"),
            ("\"a=1\"x,b=2", "something between"),
            ("a=1\nb=2", "more than one line"),
        ] {
            let said = shown(text);
            assert!(said.contains(reason), "{text}: {said}");
            assert!(said.starts_with("output `"), "{said}");
        }
    }
}
