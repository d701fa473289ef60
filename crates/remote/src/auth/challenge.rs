//! `WWW-Authenticate`: what a host wants to see (RFC 9110 §11.6.1, docker's token specification).

/// One challenge of a 401.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// Where tokens are had.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What the request would have needed, as the host says.
        scopes: Vec<String>,
    },
}

impl Challenge {
    /// What holds for every request to the host: the scopes were those of one.
    pub(crate) fn without_scopes(&self) -> Self {
        match self {
            Self::Basic => Self::Basic,
            Self::Bearer { realm, service, .. } => {
                Self::Bearer { realm: realm.clone(), service: service.clone(), scopes: Vec::new() }
            }
        }
    }
}

/// All challenges we understand, in the order they were sent.
pub(crate) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    headers.flat_map(parse_one).collect()
}

/// One header field, which may hold several challenges separated by commas.
fn parse_one(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut scheme: Option<(String, Vec<(String, String)>)> = None;
    for item in split_outside_quotes(header) {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim()))),
            None => (item, None),
        };
        // `Bearer realm=...` begins a challenge, `service=...` goes on with it, `Negotiate` is one without parameters.
        let (new_scheme, parameter) = match name.split_once(char::is_whitespace) {
            Some((scheme, parameter)) => (Some(scheme), Some(parameter.trim())),
            None if value.is_none() => (Some(name), None),
            None => (None, Some(name)),
        };
        if let Some(new_scheme) = new_scheme {
            challenges.extend(scheme.take().and_then(finish));
            scheme = Some((new_scheme.to_ascii_lowercase(), Vec::new()));
        }
        if let (Some((_, parameters)), Some(parameter), Some(value)) = (&mut scheme, parameter, value) {
            parameters.push((parameter.to_ascii_lowercase(), value));
        }
    }
    challenges.extend(scheme.and_then(finish));
    challenges
}

fn finish((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let find = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: find("realm")?,
            service: find("service").filter(|service| !service.is_empty()),
            scopes: find("scope")
                .map(|all| all.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
        }),
        _ => None,
    }
}

fn split_outside_quotes(header: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                items.push(header[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(header[start..].trim());
    items.retain(|item| !item.is_empty());
    items
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A challenge as a host would write it.
    fn written(challenge: &Challenge) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        match challenge {
            Challenge::Basic => "Basic realm=\"a, b\"".to_owned(),
            Challenge::Bearer { realm, service, scopes } => {
                let mut text = format!("Bearer realm={}", quoted(realm));
                if let Some(service) = service {
                    text.push_str(&format!(" , service = {}", quoted(service)));
                }
                if !scopes.is_empty() {
                    text.push_str(&format!(",scope={}", quoted(&scopes.join(" "))));
                }
                text
            }
        }
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(field in "\\PC{0,60}|(Bearer |Basic |[a-z]{1,5}=|\"|,| |\\\\){0,20}") {
            // Nothing is taken for a challenge that names no scheme of ours.
            let named = ["basic", "bearer"].iter().any(|scheme| field.to_ascii_lowercase().contains(scheme));
            prop_assert!(named || parse([field.as_str()].into_iter()).is_empty());
        }

        #[test]
        fn what_is_written_is_read(
            realm in "[ -~]{1,30}",
            service in prop::option::of("[ -~]{1,20}"),
            scopes in prop::collection::vec("[a-z:/,]{1,20}", 0..3),
        ) {
            let all = [bearer(&realm, service.as_deref(), &scopes.iter().map(String::as_str).collect::<Vec<_>>()), Challenge::Basic];
            let field = all.iter().map(written).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(parse([field.as_str()].into_iter()), all);
        }
    }

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        }
    }

    #[test]
    fn scopes_keep_their_commas() {
        let header =
            r#"Bearer realm="https://a/token",service="s",scope="repository:x:pull,push repository:y:pull""#;
        let expected = bearer("https://a/token", Some("s"), &["repository:x:pull,push", "repository:y:pull"]);
        assert_eq!(parse([header].into_iter()), [expected]);
    }

    #[test]
    fn several_challenges_in_one_field_and_in_several() {
        let one = r#"Negotiate, Bearer realm="r", BASIC realm="a, b""#;
        assert_eq!(parse([one].into_iter()), [bearer("r", None, &[]), Challenge::Basic]);
        assert_eq!(
            parse(["Basic realm=x", "Bearer realm=y"].into_iter()),
            [Challenge::Basic, bearer("y", None, &[])]
        );
    }

    #[test]
    fn what_is_not_understood_is_no_challenge() {
        for header in ["", ",,", "Digest realm=\"x\"", "Bearer service=\"no realm\"", "=\"", "\"Bearer"] {
            assert_eq!(parse([header].into_iter()), [], "{header}");
        }
    }
}
