//! Which images do for a platform.

use lazyblob_remote::copy::Platform;

use crate::llb::pb;

/// The platforms that do for `wanted`, which is normalised, the best first: processors run what was built for those before
/// them (containerd's rules for choosing of an index).
pub(super) fn that_do(wanted: &pb::Platform) -> Vec<Platform> {
    let variants: &[&str] = match (wanted.architecture.as_str(), wanted.variant.as_str()) {
        ("arm", "v8") => &["v8", "v7", "v6", "v5"],
        ("arm", "v7") => &["v7", "v6", "v5"],
        ("arm", "v6") => &["v6", "v5"],
        ("amd64", "v4") => &["v4", "v3", "v2", ""],
        ("amd64", "v3") => &["v3", "v2", ""],
        ("amd64", "v2") => &["v2", ""],
        ("arm64", "v9") => &["v9", ""],
        (_, variant) => &[variant],
    };
    let named = |variant: &&str| {
        let pb::Platform { os, architecture, .. } = wanted;
        match *variant {
            "" => format!("{os}/{architecture}"),
            variant => format!("{os}/{architecture}/{variant}"),
        }
    };
    let mut platforms: Vec<Platform> =
        variants.iter().filter_map(|variant| named(variant).parse().ok()).collect();
    // An entry that does not name its variant is the v7 (or v8) of its architecture.
    if matches!((wanted.architecture.as_str(), wanted.variant.as_str()), ("arm", "v7" | "v8")) {
        platforms.extend(format!("{}/arm", wanted.os).parse::<Platform>());
    }
    platforms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_variants_do_and_newer_ones_do_not() {
        let names = |text: &str| {
            let wanted: pb::Platform = text.parse().unwrap();
            that_do(&wanted).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("linux/amd64"), ["linux/amd64"]);
        assert_eq!(names("linux/amd64/v3"), ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]);
        assert_eq!(names("linux/arm"), ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5", "linux/arm"]);
        assert_eq!(names("linux/arm/v6"), ["linux/arm/v6", "linux/arm/v5"]);
        assert_eq!(names("linux/aarch64"), ["linux/arm64"]);
    }
}
