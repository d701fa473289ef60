//! JSON as Go writes it, since keys are hashes of that: compact, fields in their order, empty ones left out, and `<`, `>`,
//! `&`, U+2028 and U+2029 escaped.

use std::fmt::Write as _;

/// An object that is being written. Fields that are zero, empty or absent are left out, unless their method says otherwise.
#[derive(Debug, Default)]
pub(super) struct Object {
    text: String,
}

impl Object {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        string(&mut self.text, key);
        self.text.push(':');
    }

    /// A string, even if it is empty.
    pub(super) fn always(&mut self, key: &str, value: &str) {
        self.key(key);
        string(&mut self.text, value);
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.always(key, value);
        }
    }

    pub(super) fn texts(&mut self, key: &str, values: &[String]) {
        self.list(key, values, |text, value| string(text, value));
    }

    pub(super) fn number(&mut self, key: &str, value: i64) {
        if value != 0 {
            self.raw(key, &value.to_string());
        }
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.raw(key, "true");
        }
    }

    /// Bytes, as padded base64.
    pub(super) fn bytes(&mut self, key: &str, value: &[u8]) {
        if !value.is_empty() {
            self.always(key, &base64(value));
        }
    }

    /// Something written already, even if there is nothing in it.
    pub(super) fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text.push_str(value);
    }

    /// A message within, if there is one; even one in which everything is zero.
    pub(super) fn object<T>(&mut self, key: &str, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        if let Some(value) = value {
            let mut object = Self::new();
            write(&mut object, value);
            self.raw(key, &object.finish());
        }
    }

    /// Messages within.
    pub(super) fn objects<T>(&mut self, key: &str, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.list(key, values, |text, value| {
            let mut object = Self::new();
            write(&mut object, value);
            text.push_str(&object.finish());
        });
    }

    fn list<T>(&mut self, key: &str, values: &[T], write: impl Fn(&mut String, &T)) {
        if values.is_empty() {
            return;
        }
        self.key(key);
        array(&mut self.text, values, write);
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str(if self.text.is_empty() { "{}" } else { "}" });
        self.text
    }
}

/// An array, even if there is nothing in it.
pub(super) fn array<T>(text: &mut String, values: &[T], write: impl Fn(&mut String, &T)) {
    text.push('[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(text, value);
    }
    text.push(']');
}

/// A string with its quotes.
pub(super) fn string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// A list of strings.
pub(crate) fn go_strings(values: &[String]) -> String {
    let mut text = String::new();
    array(&mut text, values, |text, value| string(text, value));
    text
}

pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut text = String::new();
        string(&mut text, "a\"\\/\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}<>&'\u{2028}\u{2029}\u{85}é😀");
        let wanted = concat!(
            r#""a\"\\/\n\r\t\b\f\u0000\u001f"#,
            "\u{7f}",
            r"\u003c\u003e\u0026'\u2028\u2029",
            "\u{85}é😀\""
        );
        assert_eq!(text, wanted);
        // Whatever else is escaped, it is still JSON.
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        let mut text = String::new();
        string(&mut text, &all);
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), all);
    }

    #[test]
    fn empty_fields_are_left_out_and_messages_are_not() {
        let mut object = Object::new();
        object.text("a", "");
        object.number("b", 0);
        object.flag("c", false);
        object.bytes("d", b"");
        object.texts("e", &[]);
        object.object("f", None::<&()>, |_, ()| {});
        object.object("g", Some(&()), |_, ()| {});
        object.objects("h", &[1, 0], |object, n| object.number("n", *n));
        object.always("i", "");
        object.bytes("j", b"\xff\xfe");
        object.number("k", -1);
        assert_eq!(object.finish(), r#"{"g":{},"h":[{"n":1},{}],"i":"","j":"//4=","k":-1}"#);
        assert_eq!(Object::new().finish(), "{}");
    }
}
