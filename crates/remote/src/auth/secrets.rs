//! Taking what a host was shown out of what it says: some repeat a request's `Authorization` in their errors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::token::basic;
use crate::keychain::{Credential, Secret};

/// A shorter value of a configured header is an ordinary word.
const SHORTEST_VALUE: usize = 8;

/// Every spelling of the secrets that went with a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<Secret>);

impl Secrets {
    /// What the value of an `Authorization` field gives away: itself, itself without the scheme, and for Basic the
    /// password.
    pub(crate) fn add_authorization(&mut self, value: &HeaderValue) {
        let Ok(value) = value.to_str() else { return };
        self.add(value);
        let Some((scheme, rest)) = value.trim().split_once(' ') else { return };
        self.add(rest.trim());
        if !scheme.eq_ignore_ascii_case("basic") {
            return;
        }
        let pair = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((pair, (_, password))) =
            pair.as_deref().and_then(|pair| Some((pair, pair.split_once(':')?)))
        {
            self.add(pair);
            self.add(password);
        }
    }

    /// The value of a header that a configuration file adds to requests; it may be a key.
    pub(crate) fn add_header(&mut self, name: &str, value: &str) {
        if let (true, Ok(value)) = (name.eq_ignore_ascii_case("authorization"), HeaderValue::from_str(value))
        {
            self.add_authorization(&value);
        } else if value.len() >= SHORTEST_VALUE {
            self.add(value);
        }
    }

    /// What a token server, or a host that is one, may know from the credential.
    pub(crate) fn add_credential(&mut self, credential: &Credential) {
        let (username, secret) = match credential {
            Credential::Basic { username, password } => (username.as_str(), password),
            Credential::IdentityToken(token) | Credential::RegistryToken(token) => ("", token),
            Credential::Anonymous => return,
        };
        if let Ok(value) = HeaderValue::from_str(&basic(username, secret)) {
            self.add_authorization(&value);
        }
        self.add(secret.expose());
    }

    fn add(&mut self, secret: &str) {
        let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let percent = form.replace('+', "%20");
        // As it stands inside the quotes of a JSON string.
        let json = serde_json::Value::from(secret).to_string();
        let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default();
        for spelling in [secret, &form, &percent, json] {
            if !spelling.is_empty() && !self.0.iter().any(|known| known.expose() == spelling) {
                self.0.push(Secret::new(spelling));
            }
        }
        // A part of a secret must not break the whole before that is found.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// `text` with `…` in the place of every secret.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "…"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_password_is_taken_out() {
        let mut secrets = Secrets::default();
        let credential = Credential::basic("jo", "p w\"/+");
        secrets.add_credential(&credential);
        let Credential::Basic { username, password } = &credential else { panic!() };
        let value = basic(username, password);
        let bare = value.strip_prefix("Basic ").unwrap();
        for told in [&value, bare, "p w\"/+", "p+w%22%2F%2B", "p%20w%22%2F%2B", r#"p w\"/+"#, "jo:p w\"/+"] {
            assert_eq!(secrets.redact(&format!("<{told}>")), "<…>", "{told}");
        }
        assert_eq!(secrets.redact("jo may not"), "jo may not");
        assert!(!format!("{secrets:?}").contains("p w"));
    }

    #[test]
    fn a_token_is_taken_out_with_and_without_its_scheme() {
        let mut secrets = Secrets::default();
        secrets.add_authorization(&HeaderValue::from_static("Bearer abc.def"));
        secrets.add_header("x-key", "key-12345");
        secrets.add_header("x-flag", "yes");
        secrets.add_credential(&Credential::IdentityToken(Secret::new("refresh")));
        secrets.add_credential(&Credential::Anonymous);
        let said = secrets.redact("Bearer abc.def, abc.def, key-12345, yes, refresh");
        assert_eq!(said, "…, …, …, yes, …");
        assert_eq!(Secrets::default().redact("all"), "all");
    }
}
