//! References and locations: whatever is written, parsing ends with a value that shows itself the same, or an error.

use lazyblob_remote::{Location, Reference, RepositoryName};
use proptest::prelude::*;

fn component() -> &'static str {
    "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}"
}

fn host() -> &'static str {
    "([a-zA-Z0-9]{1,8}(-[a-z0-9]{1,3})?\\.){1,3}[a-z]{2,5}(:[1-9][0-9]{0,3})?|localhost(:[1-9][0-9]{0,3})?|\\[::1\\](:5000)?"
}

proptest! {
    /// Row 92b: a name is what is written and nothing else.
    #[test]
    fn what_is_well_formed_shows_itself_as_written(
        host in host(),
        path in prop::collection::vec(component(), 1..4),
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
        digest in prop::option::of("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"),
    ) {
        let mut text = format!("{host}/{}", path.join("/"));
        let repository: RepositoryName = text.parse().unwrap();
        prop_assert_eq!(repository.to_string(), &text[..]);
        if let Some(tag) = &tag { text = format!("{text}:{tag}"); }
        if let Some(digest) = &digest { text = format!("{text}@{digest}"); }
        let reference: Reference = text.parse().unwrap();
        let shown = if tag.is_none() && digest.is_none() { format!("{text}:latest") } else { text.clone() };
        prop_assert_eq!(reference.to_string(), &shown[..]);
        prop_assert_eq!(reference.tag(), tag.as_deref().or_else(|| digest.is_none().then_some("latest")));
        let location: Location = text.parse().unwrap();
        prop_assert_eq!(location.to_string(), shown);
    }

    /// Row 92b: nor does anything written become something else.
    #[test]
    fn nothing_written_makes_it_panic_and_parsing_twice_changes_nothing(text in "\\PC{0,40}|[a-zA-Z0-9:/@._\\[\\]-]{0,60}") {
        if let Ok(reference) = text.parse::<Reference>() {
            let again: Reference = reference.to_string().parse().unwrap();
            prop_assert_eq!(again, reference);
        }
        if let Ok(location) = text.parse::<Location>() {
            let again: Location = location.to_string().parse().unwrap();
            prop_assert_eq!(again, location);
        }
        let _ = text.parse::<RepositoryName>();
    }

    #[test]
    fn local_images_show_themselves_as_written(
        kind in "oci|oci-archive|docker-archive",
        path in "[a-zA-Z0-9/._ -]{1,20}",
        tag in prop::option::of("[a-zA-Z0-9][a-zA-Z0-9/:._-]{0,10}"),
        digest in prop::option::of("sha256:[0-9a-f]{64}"),
    ) {
        let mut text = format!("{kind}:{path}");
        if let Some(tag) = tag { text = format!("{text}:{tag}"); }
        if let Some(digest) = digest { text = format!("{text}@{digest}"); }
        prop_assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
    }
}
