//! One line of comma-separated values, as Go's `encoding/csv` reads it.

/// The fields of `line`.
///
/// # Errors
/// What is wrong, in words: a quote in a field that does not begin with one, something after the closing one, none at all.
pub(super) fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err("a quote in a field that does not begin with one");
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

    #[test]
    fn quotes_are_go_s() {
        assert_eq!(fields("type=local,src=a b").unwrap(), ["type=local", "src=a b"]);
        assert_eq!(fields(r#"type=local,"src=a,""b""""#).unwrap(), ["type=local", r#"src=a,"b""#]);
        assert_eq!(fields("a,,").unwrap(), ["a", "", ""]);
        for bad in [r#"a"b"#, r#""a"#, r#""a"b,c"#] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }
}
