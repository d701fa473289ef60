//! Which image a name stands for, and which part of it is wanted.

use lazyblob::remote::Digest;
use lazyblob::worker::llb::{self, Files, ImageOptions, Mkfile, diff, image_with};

use super::hub::Hub;
use super::support::{
    blob_gets, build, built, digests, gets, image_of, into_dir, layers, plain_image, pulled, read, tar_of,
};
use crate::support::Desk;

/// testPullWithLayerLimit: the lower layers of an image, and what is above them.
#[tokio::test]
async fn an_image_can_be_cut_off_above_a_layer() {
    let tars: Vec<_> = ["first", "second", "third"].map(|name| tar_of(&[(name, name.as_bytes())])).into();
    let image = image_of(&tars);
    for hub in Hub::all("an_image_can_be_cut_off_above_a_layer").await {
        let desk = Desk::new();
        let name = hub.seed("app", "1", &image).await;
        let limited =
            |limit| image_with(&name, ImageOptions { layer_limit: Some(limit), ..ImageOptions::default() });
        let forth = |state: &llb::State| state.file(Files::new().then(Mkfile::new("/forth", 0o644, "forth")));
        let here =
            |dir: &str| ["first", "second", "third", "forth"].map(|name| desk.path(dir).join(name).exists());
        built(&desk, &forth(&limited(2)), &into_dir(&desk, "lower")).await;
        assert_eq!(here("lower"), [true, true, false, true]);
        let third = &layers(&image)[2..];
        assert_eq!(gets(&hub.asked().await, third), 0, "what is above the limit is not pulled");
        let upper = diff(&limited(2), &llb::image(&name));
        built(&desk, &forth(&upper), &into_dir(&desk, "upper")).await;
        assert_eq!(here("upper"), [false, false, true, true]);
        assert_eq!(gets(&hub.asked().await, third), 1);
        // Pushed on, the lower part stays lazy.
        let other = Desk::new();
        let words = format!("-o type=image,name={}/cut:1,push=true", hub.host());
        built(&other, &limited(2), &words).await;
        assert_eq!(digests(&hub.json("cut/manifests/1").await["layers"]), layers(&image)[..2]);
        assert_eq!(pulled(&other, &image), [] as [String; 0]);
        let nothing = build(&desk, &limited(0), "").await;
        assert_ne!(nothing.code, Some(0));
        assert!(
            nothing.stderr.contains("layer limit") || nothing.stderr.contains("layerlimit"),
            "{}",
            nothing.stderr
        );
    }
}

/// testPullWithDigestCheck: a name with a tag and a digest is pulled by the digest; a checksum is what a tag must stand for.
#[tokio::test]
async fn a_checksum_is_what_a_name_must_stand_for() {
    let of = |text: &str| image_of(&[tar_of(&[("data", text.as_bytes())])]);
    let (one, two) = (of("one"), of("two"));
    for hub in Hub::all("a_checksum_is_what_a_name_must_stand_for").await {
        let desk = Desk::new();
        hub.seed("app", "v1", &one).await;
        let second = hub.seed("app", "v2", &two).await;
        let digest = one.manifest.digest().clone();
        built(&desk, &llb::image(format!("{second}@{digest}")), &into_dir(&desk, "by-digest")).await;
        assert_eq!(read(&desk, "by-digest/data"), "one");
        let asked = hub.asked().await;
        assert!(!asked.iter().any(|line| line.contains("manifests/v2")), "{asked:#?}");

        let checked = |digest: &Digest| {
            image_with(&second, ImageOptions { checksum: Some(digest.clone()), ..ImageOptions::default() })
        };
        built(&desk, &checked(two.manifest.digest()), &into_dir(&desk, "checked")).await;
        assert_eq!(read(&desk, "checked/data"), "two");
        hub.asked().await;
        let other = build(&desk, &checked(&digest), "").await;
        assert_ne!(other.code, Some(0));
        assert!(other.stderr.contains(&digest.to_string()), "{}", other.stderr);
        assert!(other.stderr.contains(&two.manifest.digest().to_string()), "{}", other.stderr);
        assert_eq!(blob_gets(&hub.asked().await), [""; 0]);
    }
}

/// testValidateDigestOrigin: who asks a repository for a digest that it does not have gets nothing, though the image is here,
/// from another repository.
#[tokio::test]
async fn a_digest_is_had_from_where_it_is_asked_for() {
    let image = plain_image(1);
    for hub in Hub::all("a_digest_is_had_from_where_it_is_asked_for").await {
        let desk = Desk::new();
        let name = hub.seed("app", "1", &image).await;
        let digest = image.manifest.digest();
        built(&desk, &llb::image(format!("{name}@{digest}")), &into_dir(&desk, "out")).await;
        hub.asked().await;
        let other = build(&desk, &llb::image(format!("{}/other@{digest}", hub.host())), "").await;
        let other = other.exits(4);
        assert!(other.stderr.contains("other"), "{}", other.stderr);
        let asked = hub.asked().await;
        assert!(
            asked.iter().any(|line| line.contains("/other/manifests/") && line.ends_with(" 404")),
            "{asked:#?}"
        );
        // From where it is, it costs nothing.
        built(&desk, &llb::image(format!("{name}@{digest}")), "").await;
        assert_eq!(hub.asked().await, [""; 0]);
    }
}
