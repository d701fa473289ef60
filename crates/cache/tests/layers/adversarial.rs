//! The adversarial images: refused by name, nothing escaped; or the same tree as everybody makes.

use lazyblob_cache::Error;
use lazyblob_cache::layer::Form;
use lazyblob_cache::testing::adversarial::{images, refused};
use lazyblob_cache::testing::tree::{Part, Tree};

use crate::support::{Target, umoci};

#[test]
fn what_is_wrong_is_refused_by_name_and_nothing_gets_out() {
    for (name, layers, said) in refused() {
        for form in [Form::Tree, Form::Overlay, Form::Plain] {
            let target = Target::new();
            std::fs::write(target.dir().join("../victim"), "victim").unwrap();
            let (last, below) = layers.split_last().unwrap();
            below.iter().for_each(|layer| drop(target.apply(layer, form).unwrap()));
            // To a single layer a target that is not there is one below.
            let is_below = form != Form::Tree && said == "not there";
            match target.apply(last, form) {
                Err(error) => {
                    assert!(error.to_string().contains(said), "{name}, {form:?}: {error}");
                    assert!(
                        matches!(error, Error::Invalid { .. } | Error::Refused { .. }),
                        "{name}: {error:?}"
                    );
                }
                Ok(applied) => {
                    assert!(is_below, "{name}, {form:?}: {applied:?}");
                    assert_eq!(applied.pending.links[0].target.to_str(), Some("victim"), "{name}");
                }
            }
            assert_eq!(std::fs::read(target.dir().join("../victim")).unwrap(), b"victim");
            std::fs::remove_file(target.dir().join("../victim")).unwrap();
            target.assert_nothing_escaped();
        }
    }
}

#[test]
fn layers_one_on_the_other_make_the_tree_that_umoci_makes() {
    if !lazyblob_remote::testing::installed("the comparison with umoci", &["umoci"]) {
        return;
    }
    let mut differences = Vec::new();
    for (name, layers) in images() {
        let target = Target::new();
        for layer in &layers {
            target.apply(layer, Form::Tree).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        target.assert_nothing_escaped();
        let theirs = tempfile::tempdir().unwrap();
        let rootfs = umoci(&layers, theirs.path()).unwrap_or_else(|said| panic!("{name}: umoci: {said}"));
        let compared = |tree: Tree| tree.without(Part::Holes);
        let lines = compared(target.tree()).diff(&compared(Tree::of(&rootfs).unwrap()));
        differences.extend(lines.into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(differences.is_empty(), "here is ours, there umoci's:\n{}", differences.join("\n"));
}
