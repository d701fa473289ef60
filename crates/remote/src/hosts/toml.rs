//! One `hosts.toml`: its text as typed sections, with the line of whatever is wrong.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};

type Value<'a> = Spanned<DeValue<'a>>;

/// What one file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HostsFile {
    /// The URL of `server`, as written.
    pub(super) server: Option<String>,
    /// What is said of the server.
    pub(super) root: Section,
    /// The mirrors with their URLs, in the order of the file.
    pub(super) mirrors: Vec<(String, Section)>,
}

/// What is said of the server or of a mirror.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) pull: bool,
    pub(super) resolve: bool,
    pub(super) ca: Vec<PathBuf>,
    pub(super) client: Option<(PathBuf, PathBuf)>,
    pub(super) skip_verify: bool,
    pub(super) headers: Vec<(String, String)>,
    pub(super) override_path: bool,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            pull: true,
            resolve: true,
            ca: Vec::new(),
            client: None,
            skip_verify: false,
            headers: Vec::new(),
            override_path: false,
        }
    }
}

/// Parses the text of the file at `path`.
///
/// # Errors
/// [`Error::Invalid`] naming file and line.
pub(super) fn parse(path: &Path, text: &str) -> Result<HostsFile> {
    let reader = Reader { path, text };
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or(0..0);
        reader.fault(&at, error.message())
    })?;
    reader.document(document.get_ref())
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn fault(&self, at: &Range<usize>, reason: impl std::fmt::Display) -> Error {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        Error::invalid("read hosts configuration", format_args!("{}:{line}", self.path.display()), reason)
    }

    fn wanted(&self, key: &str, kind: &str, value: &Value<'_>) -> Error {
        let found = value.get_ref().type_str();
        self.fault(&value.span(), format_args!("`{key}` is to be {kind}, not {found}"))
    }

    fn document(&self, table: &DeTable<'_>) -> Result<HostsFile> {
        let mut file = HostsFile::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "server" => file.server = Some(self.url("server", self.string("server", value)?, value)?),
                "host" => file.mirrors = self.mirrors(value)?,
                key => self.field(&mut file.root, key, value)?,
            }
        }
        Ok(file)
    }

    fn mirrors(&self, value: &Value<'_>) -> Result<Vec<(String, Section)>> {
        let mut entries: Vec<_> = self.table("host", value)?.iter().collect();
        // The order of the file is the order of asking; the table's own is that of the alphabet.
        entries.sort_by_key(|(url, _)| url.span().start);
        entries.into_iter().map(|(url, value)| self.mirror(url, value)).collect()
    }

    fn mirror(
        &self,
        url: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Value<'_>,
    ) -> Result<(String, Section)> {
        let mut section = Section::default();
        for (key, value) in self.table("host", value)? {
            match key.get_ref().as_ref() {
                "host" => return Err(self.fault(&key.span(), "a mirror has no mirrors")),
                key => self.field(&mut section, key, value)?,
            }
        }
        Ok((self.url("host", url.get_ref(), url)?, section))
    }

    fn field(&self, section: &mut Section, key: &str, value: &Value<'_>) -> Result<()> {
        match key {
            "capabilities" => self.capabilities(section, value)?,
            "ca" => section.ca = self.files(key, value)?,
            "client" => section.client = self.client(value)?,
            "skip_verify" => section.skip_verify = self.boolean(key, value)?,
            "override_path" => section.override_path = self.boolean(key, value)?,
            "header" => section.headers = self.headers(value)?,
            other => tracing::warn!(file = %self.path.display(), key = other, "key of hosts.toml ignored"),
        }
        Ok(())
    }

    fn capabilities(&self, section: &mut Section, value: &Value<'_>) -> Result<()> {
        let entries = self.array("capabilities", value)?;
        if !entries.is_empty() {
            (section.pull, section.resolve) = (false, false);
        }
        for entry in entries {
            match self.string("capabilities", entry)?.to_ascii_lowercase().as_str() {
                "pull" => section.pull = true,
                "resolve" => section.resolve = true,
                // Pushes go to the upstream, and referrers wherever manifests may come from.
                "push" | "referrers" => {}
                other => return Err(self.fault(&entry.span(), format_args!("unknown capability `{other}`"))),
            }
        }
        Ok(())
    }

    fn client(&self, value: &Value<'_>) -> Result<Option<(PathBuf, PathBuf)>> {
        let DeValue::Array(entries) = value.get_ref() else {
            let both = self.file(self.string("client", value)?);
            return Ok(Some((both.clone(), both)));
        };
        if entries.len() > 1 {
            tracing::warn!(file = %self.path.display(), "only the first client certificate is used");
        }
        let mut pairs = Vec::new();
        for entry in entries {
            let files = self.strings("client", entry)?;
            pairs.push(match files.as_slice() {
                [both] | [both, ""] => (self.file(both), self.file(both)),
                [chain, key] => (self.file(chain), self.file(key)),
                _ => return Err(self.fault(&entry.span(), "`client` takes pairs of certificate and key")),
            });
        }
        Ok(pairs.into_iter().next())
    }

    fn headers(&self, value: &Value<'_>) -> Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        let mut entries: Vec<_> = self.table("header", value)?.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let field = name.get_ref();
            if http::HeaderName::try_from(field.as_ref()).is_err() {
                return Err(self.fault(&name.span(), format_args!("`{field}` is not a header name")));
            }
            for text in self.strings("header", value)? {
                // The value may be a secret, so it is not shown.
                if http::HeaderValue::try_from(text).is_err() {
                    return Err(self
                        .fault(&value.span(), format_args!("the value of `{field}` is not a header value")));
                }
                headers.push((field.to_string(), text.to_owned()));
            }
        }
        Ok(headers)
    }

    fn url<T>(&self, key: &str, text: &str, at: &Spanned<T>) -> Result<String> {
        super::file::endpoint(text, false)
            .map(|_| text.to_owned())
            .map_err(|reason| self.fault(&at.span(), format_args!("`{key}`: {reason}")))
    }

    fn files(&self, key: &str, value: &Value<'_>) -> Result<Vec<PathBuf>> {
        Ok(self.strings(key, value)?.into_iter().map(|file| self.file(file)).collect())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(name)
    }

    fn table<'v>(&self, key: &str, value: &'v Value<'v>) -> Result<&'v DeTable<'v>> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wanted(key, "a table", value)),
        }
    }

    fn array<'v>(&self, key: &str, value: &'v Value<'v>) -> Result<&'v [Value<'v>]> {
        value.get_ref().as_array().map(|array| &**array).ok_or_else(|| self.wanted(key, "a list", value))
    }

    fn boolean(&self, key: &str, value: &Value<'_>) -> Result<bool> {
        value.get_ref().as_bool().ok_or_else(|| self.wanted(key, "true or false", value))
    }

    fn string<'v>(&self, key: &str, value: &'v Value<'_>) -> Result<&'v str> {
        value.get_ref().as_str().ok_or_else(|| self.wanted(key, "a string", value))
    }

    /// A string or a list of strings.
    fn strings<'v>(&self, key: &str, value: &'v Value<'_>) -> Result<Vec<&'v str>> {
        match value.get_ref() {
            DeValue::Array(entries) => entries.iter().map(|entry| self.string(key, entry)).collect(),
            DeValue::String(text) => Ok(vec![text.as_ref()]),
            _ => Err(self.wanted(key, "a string or a list of strings", value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<HostsFile> {
        parse(Path::new("/d/hosts.toml"), text)
    }

    /// Row 56: mirrors stay in the order of the file.
    #[test]
    fn every_field_is_read_and_order_kept() {
        let file = parsed(
            r#"
            server = "https://up.example"
            skip_verify = true
            dial_timeout = "1s"
            [host."https://z.example/us"]
            capabilities = ["pull", "PUSH"]
            ca = "z.pem"
            client = [["c.crt", "c.key"], ["d.pem", ""]]
            [host."https://z.example/us".header]
            x-b = ["1", "2"]
            x-a = "3"
            [host."http://a.example"]
            ca = ["/abs/a.pem", "b.pem"]
            client = "both.pem"
            override_path = true
            "#,
        )
        .unwrap();
        assert_eq!(file.server.as_deref(), Some("https://up.example"));
        assert!(file.root.skip_verify && file.root.pull && file.root.resolve);
        let [(z_url, z), (a_url, a)] = &file.mirrors[..] else { panic!("{file:?}") };
        assert_eq!((z_url.as_str(), a_url.as_str()), ("https://z.example/us", "http://a.example"));
        assert!(z.pull && !z.resolve && !z.skip_verify && !z.override_path);
        assert_eq!(z.ca, [Path::new("/d/z.pem")]);
        assert_eq!(z.client, Some(("/d/c.crt".into(), "/d/c.key".into())));
        let headers = [("x-b", "1"), ("x-b", "2"), ("x-a", "3")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(z.headers, headers);
        assert!(a.pull && a.resolve && a.override_path);
        assert_eq!(a.ca, [Path::new("/abs/a.pem"), Path::new("/d/b.pem")]);
        assert_eq!(a.client, Some(("/d/both.pem".into(), "/d/both.pem".into())));
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parsed("").unwrap(), HostsFile::default());
    }

    /// Row 58b: every fault of the file is named with its line.
    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, reason) in [
            ("\nserver = ", 2, ""),
            ("server = 1", 1, "`server` is to be a string, not integer"),
            ("server = \"ftp://x\"", 1, "http"),
            ("server = \"https://u:secret@x.example\"", 1, "user"),
            ("host = 1", 1, "a table"),
            ("\n\n[host.\"::\"]", 3, "`host`"),
            ("[host.\"https://m\"]\ncapabilities = [\"pull\", \"fly\"]", 2, "unknown capability `fly`"),
            ("[host.\"https://m\"]\ncapabilities = \"pull\"", 2, "a list"),
            ("[host.\"https://m\"]\nca = 1", 2, "a string or a list of strings"),
            ("[host.\"https://m\"]\nclient = [[\"a\", \"b\", \"c\"]]", 2, "pairs"),
            ("skip_verify = \"yes\"", 1, "true or false"),
            ("[header]\n\"a b\" = \"x\"", 2, "`a b` is not a header name"),
            ("[header]\na = \"secret\\n\"", 2, "the value of `a`"),
            ("[host.\"https://m\"]\n[host.\"https://m\".host.\"https://n\"]", 2, "no mirrors"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }));
            let error = error.to_string();
            assert!(error.contains(&format!("/d/hosts.toml:{line}:")) && error.contains(reason), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
