//! JSON as Go writes it: compact, and with a few characters escaped that need not be.

use serde::Serialize;

/// The text of `value`, with the escapes of Go's encoder (`encoding/json`, "HTMLEscape").
pub(super) fn to_string(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    let is_special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
    if !text.contains(is_special) {
        return Ok(text);
    }
    // None of them is part of JSON itself: all are inside strings.
    let mut escaped = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match c {
            c if is_special(c) => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_escaped_and_nothing_else() {
        assert_eq!(to_string(&"a<b>&c\u{2028}\u{2029}\u{7f}é\u{8}").unwrap(), "\"a\\u003cb\\u003e\\u0026c\\u2028\\u2029\u{7f}é\\b\"");
    }
}
