//! For what a result is: names that mean the same made the same.
//!
//! Keys are made of normal names, so `x86_64` and `amd64` share a cache. The rules are containerd's, to the letter, since
//! the names are hashed: an `arm` without a variant is a `v7`. Which entry of an index is taken for a platform is another
//! matter, where what is not said may be anything (`lazyblob_remote::copy::Platform`).

use std::str::FromStr;

use super::pb::Platform;

/// A platform that cannot be: without an architecture, or with characters no name has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("platform: {what} {value:?}: not a name")]
pub struct BadPlatform {
    /// Which part of it.
    pub what: &'static str,
    /// What it says.
    pub value: String,
}

/// The platform this program runs on, normalised.
#[must_use]
pub fn host_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    };
    let platform = Platform {
        architecture: architecture.to_owned(),
        os: std::env::consts::OS.to_owned(),
        ..Platform::default()
    };
    normalise(&platform, "linux")
}

impl FromStr for Platform {
    type Err = BadPlatform;

    /// Reads `OS/ARCHITECTURE[/VARIANT]`, or an architecture alone, which is then Linux's, and normalises it.
    fn from_str(text: &str) -> Result<Self, BadPlatform> {
        let mut parts = text.split('/').map(str::to_owned);
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let (os, architecture) = match second {
            Some(architecture) => (first, architecture),
            None => ("linux".to_owned(), first),
        };
        let variant = parts.next().unwrap_or_default();
        if os.is_empty() || parts.next().is_some() {
            return Err(BadPlatform { what: "platform", value: text.to_owned() });
        }
        let platform = Self { architecture, os, variant, ..Self::default() };
        normalised(Some(&platform), &platform)
    }
}

/// The platform under its normal names; `default` where none is given, and its OS where none is named.
///
/// # Errors
/// [`BadPlatform`].
pub fn normalised(platform: Option<&Platform>, default: &Platform) -> Result<Platform, BadPlatform> {
    let platform = normalise(platform.unwrap_or(default), &default.os);
    let is_name = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c));
    let parts =
        [("OS", &platform.os), ("architecture", &platform.architecture), ("variant", &platform.variant)];
    for (what, value) in parts {
        if !is_name(value) || (value.is_empty() && what != "variant") {
            return Err(BadPlatform { what, value: value.clone() });
        }
    }
    Ok(platform)
}

fn normalise(platform: &Platform, default_os: &str) -> Platform {
    let os = match platform.os.to_ascii_lowercase().as_str() {
        "" => default_os.to_owned(),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    };
    let (architecture, variant) =
        (platform.architecture.to_ascii_lowercase(), platform.variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    let mut os_features = platform.os_features.clone();
    os_features.sort_unstable();
    os_features.dedup();
    Platform {
        architecture: architecture.to_owned(),
        os,
        variant: variant.to_owned(),
        os_version: platform.os_version.clone(),
        os_features,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Platform { os: next(), architecture: next(), variant: next(), ..Platform::default() }
    }

    #[test]
    fn names_that_mean_the_same_are_made_the_same() {
        let cases = [
            ("Linux/X86_64/V1", "linux/amd64/"),
            ("/x86-64/v3", "linux/amd64/v3"),
            ("macOS/aarch64/v8", "darwin/arm64/"),
            ("linux/arm64/9.0", "linux/arm64/v9"),
            ("linux/arm64/v8.2", "linux/arm64/v8.2"),
            ("linux/i386/whatever", "linux/386/"),
            ("linux/armhf/v6", "linux/arm/v7"),
            ("linux/armel/", "linux/arm/v6"),
            ("linux/arm/", "linux/arm/v7"),
            ("linux/arm/5", "linux/arm/v5"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/arm/8", "linux/arm/v8"),
            ("linux/RISCV64/", "linux/riscv64/"),
        ];
        let default = platform("linux/amd64");
        for (given, wanted) in cases {
            assert_eq!(normalised(Some(&platform(given)), &default), Ok(platform(wanted)), "{given}");
            let again = normalised(Some(&platform(wanted)), &default);
            assert_eq!(again, Ok(platform(wanted)), "{wanted} is normal already");
        }
        assert_eq!(normalised(None, &default), Ok(default.clone()));
        assert!(normalised(None, &host_platform()).is_ok());
    }

    #[test]
    fn platforms_are_read() {
        assert_eq!("linux/x86_64".parse(), Ok(platform("linux/amd64")));
        assert_eq!("linux/arm".parse(), Ok(platform("linux/arm/v7")));
        assert_eq!("arm64".parse(), Ok(platform("linux/arm64")));
        for bad in ["", "/amd64", "linux/", "linux/arm/v7/x", "linux/a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn features_are_a_set_and_what_is_no_name_is_refused() {
        let default = platform("linux/amd64");
        let mut given = platform("windows/amd64");
        given.os_version = "10.0.1".to_owned();
        given.os_features = ["win32k", "a", "win32k"].map(str::to_owned).to_vec();
        let wanted = Platform { os_features: ["a", "win32k"].map(str::to_owned).to_vec(), ..given.clone() };
        assert_eq!(normalised(Some(&given), &default), Ok(wanted));
        for bad in ["linux//", "linux/amd64;rm/", "li nux/amd64/", "linux/arm/v\u{e9}"] {
            assert!(normalised(Some(&platform(bad)), &default).is_err(), "{bad}");
        }
    }
}
