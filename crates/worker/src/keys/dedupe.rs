//! Paths below other paths say nothing new.

/// The paths without doubles and without those below others, in byte order. It goes by their text alone. One path stays as
/// it is.
pub(super) fn dedupe(mut paths: Vec<String>) -> Vec<String> {
    if paths.len() <= 1 {
        return paths;
    }
    paths.sort_unstable();
    paths.dedup();
    // A path above another is a shorter prefix of it; looking each prefix up is cheaper than comparing all with all.
    let below = |path: &String| {
        path.match_indices('/').any(|(slash, _)| {
            let above =
                |prefix: &str| prefix != path && paths.binary_search_by(|p| p.as_str().cmp(prefix)).is_ok();
            above(&path[..slash]) || above(&path[..=slash])
        })
    };
    paths.iter().filter(|path| !below(path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[&str], wanted: &[&str]) {
        let given = given.iter().map(|&path| path.to_owned()).collect();
        assert_eq!(dedupe(given), wanted);
    }

    #[test]
    fn what_is_below_goes() {
        check(&["/d/sub", "/e", "/d", "/dx", "/d"], &["/d", "/dx", "/e"]);
        check(&["/d/x", "/d/", "/d/y/z"], &["/d/"]);
        check(&["/a", "/", "/b/c"], &["/"]);
        check(&["a/b", "a", "b"], &["a", "b"]);
        // By their text: these are the same place, and both stay.
        check(&["/d//", "/e"], &["/d//", "/e"]);
        check(&["", "/x"], &[""]);
        check(&["/d/"], &["/d/"]);
    }

    /// The rule as it is said: what has another and a slash in front goes.
    fn as_said(mut paths: Vec<String>) -> Vec<String> {
        if paths.len() <= 1 {
            return paths;
        }
        paths.sort_unstable();
        paths.dedup();
        let is_above = |above: &String, path: &String| {
            let prefix = if above.ends_with('/') { above.clone() } else { format!("{above}/") };
            above != path && path.starts_with(&prefix)
        };
        paths.iter().filter(|path| !paths.iter().any(|above| is_above(above, path))).cloned().collect()
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            failure_persistence: None,
            ..proptest::test_runner::Config::default()
        })]

        #[test]
        fn it_is_the_rule_as_it_is_said(paths in proptest::collection::vec("[/ab]{0,6}", 0..8)) {
            proptest::prop_assert_eq!(dedupe(paths.clone()), as_said(paths));
        }
    }
}
