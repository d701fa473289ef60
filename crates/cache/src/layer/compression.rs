//! How layers are compressed, and the media types that say so.

use lazyblob_remote::media;

use crate::error::{Error, Result};

/// How a layer is compressed, without how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// How a layer is to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip {
        /// 0 to 9.
        level: u32,
    },
    /// RFC 8878.
    Zstd {
        /// 1 to 22.
        level: u32,
    },
}

impl Compression {
    /// Gzip as hard as everybody does, which is what BuildKit does too.
    pub const GZIP: Self = Self::Gzip { level: 6 };
    /// Zstandard as hard as everybody does, which is what BuildKit does too.
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// The algorithm alone.
    #[must_use]
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::None => Algorithm::None,
            Self::Gzip { .. } => Algorithm::Gzip,
            Self::Zstd { .. } => Algorithm::Zstd,
        }
    }

    /// Refuses levels that there are not.
    pub(super) fn check(self) -> Result<()> {
        let (level, levels) = match self {
            Self::None => return Ok(()),
            Self::Gzip { level } => (level, 0..=9),
            Self::Zstd { level } => (level, 1..=22),
        };
        if levels.contains(&level) {
            return Ok(());
        }
        let (first, last) = levels.into_inner();
        let reason = format_args!("there is no level {level}: they are {first} to {last}");
        Err(Error::invalid("compress as", format_args!("{:?}", self.algorithm()), reason))
    }
}

/// Whose names a media type is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `application/vnd.oci.image.layer.…`.
    Oci,
    /// `application/vnd.docker.image.rootfs.…`.
    Docker,
}

/// What a layer's media type says.
///
/// Docker has no name for layers with Zstandard that are foreign; the one here follows its others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerType {
    /// Whose names.
    pub family: Family,
    /// The compression.
    pub algorithm: Algorithm,
    /// Whether registries ought not to hand it out (image-spec, "Non-Distributable Layers").
    pub foreign: bool,
}

const TYPES: [(LayerType, &str); 12] = {
    use self::Algorithm::{Gzip, None, Zstd};
    use self::Family::{Docker, Oci};
    const fn of(family: Family, algorithm: Algorithm, foreign: bool) -> LayerType {
        LayerType { family, algorithm, foreign }
    }
    [
        (of(Oci, None, false), media::OCI_LAYER),
        (of(Oci, Gzip, false), media::OCI_LAYER_GZIP),
        (of(Oci, Zstd, false), media::OCI_LAYER_ZSTD),
        (of(Oci, None, true), "application/vnd.oci.image.layer.nondistributable.v1.tar"),
        (of(Oci, Gzip, true), "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        (of(Oci, Zstd, true), "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"),
        (of(Docker, None, false), "application/vnd.docker.image.rootfs.diff.tar"),
        (of(Docker, Gzip, false), media::DOCKER_LAYER_GZIP),
        (of(Docker, Zstd, false), "application/vnd.docker.image.rootfs.diff.tar.zstd"),
        (of(Docker, None, true), "application/vnd.docker.image.rootfs.foreign.diff.tar"),
        (of(Docker, Gzip, true), "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        (of(Docker, Zstd, true), "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd"),
    ]
};

impl LayerType {
    /// A layer anybody may have.
    #[must_use]
    pub fn new(family: Family, algorithm: Algorithm) -> Self {
        Self { family, algorithm, foreign: false }
    }

    /// What a media type says; nothing if it is no layer's that we know. Parameters do not matter.
    #[must_use]
    pub fn parse(media_type: &str) -> Option<Self> {
        let media_type = media::bare(media_type);
        TYPES.iter().find(|(_, name)| *name == media_type).map(|(layer, _)| *layer)
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        TYPES.iter().find(|(layer, _)| *layer == self).map_or(media::OCI_LAYER, |(_, name)| name)
    }

    /// The same layer, with another compression.
    #[must_use]
    pub fn with(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// The same layer, to be handed out or not.
    #[must_use]
    pub fn foreign(self, foreign: bool) -> Self {
        Self { foreign, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// BuildKit row 27: every layer type has its foreign counterpart and back, docker's with gzip too.
    #[test]
    fn every_type_has_a_name_and_a_foreign_one() {
        let mut names = HashSet::new();
        for family in [Family::Oci, Family::Docker] {
            for algorithm in [Algorithm::None, Algorithm::Gzip, Algorithm::Zstd] {
                let layer = LayerType::new(family, algorithm);
                let foreign = layer.foreign(true);
                for layer in [layer, foreign] {
                    assert_eq!(LayerType::parse(layer.media_type()), Some(layer));
                    assert_eq!(media::is_foreign(layer.media_type()), layer.foreign);
                    assert!(names.insert(layer.media_type()));
                }
                assert_eq!(foreign.foreign(false), layer);
            }
        }
        assert_eq!(names.len(), TYPES.len());
        let docker = LayerType::parse(media::DOCKER_LAYER_GZIP).unwrap().foreign(true);
        assert_eq!(docker.media_type(), "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        let zstd = LayerType::parse("application/vnd.oci.image.layer.v1.tar+gzip; a=b").unwrap();
        assert_eq!(zstd.with(Algorithm::Zstd).media_type(), media::OCI_LAYER_ZSTD);
        for other in ["application/vnd.oci.image.config.v1+json", "application/octet-stream", ""] {
            assert_eq!(LayerType::parse(other), None);
        }
    }

    #[test]
    fn levels_that_there_are_not_are_refused() {
        for good in [Compression::None, Compression::GZIP, Compression::ZSTD, Compression::Gzip { level: 0 }]
        {
            good.check().unwrap();
        }
        for bad in
            [Compression::Gzip { level: 10 }, Compression::Zstd { level: 0 }, Compression::Zstd { level: 23 }]
        {
            assert!(matches!(bad.check(), Err(Error::Invalid { .. })), "{bad:?}");
        }
    }
}
