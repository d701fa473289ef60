//! The same bytes every time, hashed on both sides.

use std::io::{self, Read as _, Write as _};

use lazyblob_cache::Error;
use lazyblob_cache::layer::{Algorithm, Compression, Compressor, Family, LayerType};
use lazyblob_remote::{digest, media};

pub(crate) const ALL: [Compression; 3] = [Compression::None, Compression::GZIP, Compression::ZSTD];

/// Words, some more frequent than others: what can be compressed, and better by who looks longer.
pub(crate) fn text(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = move |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        let range = 1 + next(3000);
        let word = next(range);
        text.extend_from_slice(format!("{:x} ", word.wrapping_mul(2_654_435_761)).as_bytes());
    }
    text.truncate(len);
    text
}

pub(crate) fn compressor(compression: Compression, threads: u32) -> Compressor<Vec<u8>> {
    let layer = LayerType::new(Family::Oci, Algorithm::None);
    Compressor::new(Vec::new(), layer, compression, threads).unwrap()
}

pub(crate) fn compressed(plain: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = compressor(compression, 1);
    out.write_all(plain).unwrap();
    out.finish().unwrap().1
}

#[test]
fn one_pass_gives_both_digests() {
    let plain = text(3_000_000);
    for compression in ALL {
        let mut out = compressor(compression, 2);
        out.write_all(&plain).unwrap();
        let (said, blob) = out.finish().unwrap();
        assert_eq!(said.descriptor.digest(), &digest::sha256(&blob));
        assert_eq!(said.descriptor.size(), blob.len() as u64);
        assert_eq!((said.diff_id, said.size), (digest::sha256(&plain), 3_000_000));
        assert_eq!(
            LayerType::parse(said.descriptor.media_type().as_ref()).unwrap().algorithm,
            compression.algorithm()
        );
        let mut again = Vec::new();
        match compression.algorithm() {
            Algorithm::None => again = blob,
            Algorithm::Gzip => drop(flate2::read::GzDecoder::new(&blob[..]).read_to_end(&mut again).unwrap()),
            Algorithm::Zstd => again = zstd::decode_all(&blob[..]).unwrap(),
        }
        assert!(again == plain, "{compression:?}");
    }
}

/// The pieces and the threads that there happen to be must not show.
#[test]
fn neither_pieces_nor_threads_show_in_the_bytes() {
    // Several jobs of Zstandard.
    let plain = text(20 << 20);
    for compression in [Compression::Gzip { level: 1 }, Compression::Zstd { level: 1 }, Compression::ZSTD] {
        let mut blobs = Vec::new();
        for (threads, piece) in [(1, plain.len()), (2, 1000), (3, 131_072), (8, 1 << 20), (0, 77_777)] {
            let mut out = compressor(compression, threads);
            for piece in plain.chunks(piece) {
                out.write_all(piece).unwrap();
                out.flush().unwrap();
            }
            blobs.push(out.finish().unwrap().1);
        }
        assert!(blobs.iter().all(|blob| *blob == blobs[0]), "{compression:?}");
        assert!(blobs[0].len() < plain.len() * 3 / 4);
    }
}

/// Neither a time nor a name nor a system stands in a gzip header.
#[test]
fn a_gzip_header_says_nothing() {
    let blob = compressed(b"x", Compression::GZIP);
    assert_eq!(blob[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
}

#[test]
fn levels_count_and_must_exist() {
    let plain = text(1 << 20);
    for (fast, good) in [
        (Compression::Gzip { level: 1 }, Compression::Gzip { level: 9 }),
        (Compression::Zstd { level: 1 }, Compression::Zstd { level: 19 }),
    ] {
        assert!(compressed(&plain, good).len() < compressed(&plain, fast).len(), "{good:?}");
    }
    let layer = LayerType::parse(media::DOCKER_LAYER_GZIP).unwrap();
    let error = Compressor::new(Vec::new(), layer, Compression::Zstd { level: 40 }, 1).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    let out = Compressor::new(Vec::new(), layer.foreign(true), Compression::ZSTD, 1).unwrap();
    let (said, _) = out.finish().unwrap();
    assert_eq!(
        said.descriptor.media_type().to_string(),
        "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd",
        "family and foreignness stay, the compression is what it is"
    );
}

#[test]
fn nothing_is_a_layer_too() {
    for compression in ALL {
        let (said, _) = compressor(compression, 1).finish().unwrap();
        assert_eq!((said.diff_id, said.size), (digest::sha256(b""), 0));
    }
}

#[test]
fn an_output_that_fails_fails_the_layer() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let layer = LayerType::new(Family::Oci, Algorithm::None);
    for compression in ALL {
        let mut out = Compressor::new(Full, layer, compression, 1).unwrap();
        let early = out.write_all(&text(100));
        assert!(early.is_ok(), "it is less than a piece");
        let error = out.finish().err().unwrap();
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
    }
}
