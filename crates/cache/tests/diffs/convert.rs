//! Another compression, the same diffID.

use std::io::{self, Read, Write as _};
use std::process::Command;

use lazyblob_cache::error::{Error, Mismatch};
use lazyblob_cache::layer::{Compression, convert};
use lazyblob_remote::digest::{self, Hasher};
use oci_spec::image::{Digest, DigestAlgorithm};
use tokio_util::sync::CancellationToken;

use crate::compress::{ALL, compressed, compressor, text};
use crate::support::{has, run};

fn converted(blob: &[u8], diff_id: &Digest, to: Compression) -> lazyblob_cache::Result<Vec<u8>> {
    let cancel = CancellationToken::new();
    let (said, out) = convert(blob, diff_id, compressor(to, 2), &cancel)?;
    assert_eq!(said.diff_id, *diff_id);
    assert_eq!(said.descriptor.digest(), &digest::sha256(&out));
    Ok(out)
}

/// BuildKit row 25: between none, gzip and zstd, in all directions, the diffID stays. What comes out is what
/// compressing the tar itself gives.
#[test]
fn every_compression_becomes_every_other() {
    let plain = text(1_500_000);
    let diff_id = digest::sha256(&plain);
    for from in ALL {
        for to in ALL {
            let out = converted(&compressed(&plain, from), &diff_id, to).unwrap();
            assert!(out == compressed(&plain, to), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn what_others_compressed_is_read() {
    let plain = text(700_000);
    let diff_id = digest::sha256(&plain);
    let (first, second) = plain.split_at(300_000);
    for one in [Compression::GZIP, Compression::ZSTD] {
        let members = [compressed(first, one), compressed(b"", one), compressed(second, one)].concat();
        assert!(converted(&members, &diff_id, Compression::None).unwrap() == plain, "{one:?}");
    }
    // A frame that decoders skip, before and between.
    let skip = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frames =
        [&skip, &compressed(first, Compression::ZSTD)[..], &skip, &compressed(second, Compression::ZSTD)];
    assert!(converted(&frames.concat(), &diff_id, Compression::None).unwrap() == plain);
    let programs: [(&str, &[&str]); 5] = [
        ("gzip", &["-1"]),
        ("gzip", &["-9"]),
        ("pigz", &["-p3"]),
        ("zstd", &["-19"]),
        ("zstd", &["--long=27", "-T2"]),
    ];
    for (program, arguments) in programs.into_iter().filter(|(program, _)| has(program)) {
        let blob = run(Command::new(program).args(arguments).arg("-c"), &plain);
        assert_ne!(blob, plain);
        assert!(converted(&blob, &diff_id, Compression::None).unwrap() == plain, "{program}");
        // And they read ours.
        let ours = compressed(&plain, if program == "zstd" { Compression::ZSTD } else { Compression::GZIP });
        assert!(run(Command::new(program).arg("-dc"), &ours) == plain, "{program}");
    }
}

#[test]
fn another_content_is_no_conversion() {
    let plain = text(100_000);
    let promised = digest::sha256(b"something else");
    for from in ALL {
        let error = converted(&compressed(&plain, from), &promised, Compression::ZSTD).map(drop).unwrap_err();
        let Error::Integrity { mismatch: Mismatch::DiffId { expected, actual }, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((expected, actual), (&promised.to_string(), &digest::sha256(&plain).to_string()));
    }
}

#[test]
fn a_diff_id_of_another_algorithm_is_checked_with_it() {
    let plain = text(1000);
    let mut hasher = Hasher::new(&DigestAlgorithm::Sha512).unwrap();
    hasher.update(&plain);
    let diff_id: Digest = hasher.finish().parse().unwrap();
    converted(&plain, &diff_id, Compression::ZSTD).unwrap();
    let error = converted(&plain[1..], &diff_id, Compression::ZSTD).map(drop).unwrap_err();
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
}

#[test]
fn damage_and_a_cut_are_errors() {
    let plain = text(400_000);
    let diff_id = digest::sha256(&plain);
    for from in [Compression::GZIP, Compression::ZSTD] {
        let blob = compressed(&plain, from);
        for cut in [5, 20, blob.len() / 2, blob.len() - 1] {
            let error = converted(&blob[..cut], &diff_id, Compression::None).map(drop).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{from:?} cut at {cut}: {error}");
        }
        let mut damaged = blob.clone();
        for byte in &mut damaged[blob.len() / 2..blob.len() / 2 + 64] {
            *byte ^= 0xff;
        }
        let error = converted(&damaged, &diff_id, Compression::None).map(drop).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. } | Error::Integrity { .. }), "{from:?}: {error}");
    }
    // Nothing says of a bare tar where it ends but its digest.
    let error = converted(&plain[..9999], &diff_id, Compression::GZIP).map(drop).unwrap_err();
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
}

/// Gives its bytes, and then fails or cancels.
struct Then<'a>(&'a [u8], &'a (dyn Fn() -> io::Result<usize> + Sync));

impl Read for Then<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { (self.1)() } else { self.0.read(buffer) }
    }
}

#[test]
fn a_reader_that_fails_and_a_caller_that_leaves_are_told_apart() {
    let plain = text(600_000);
    let diff_id = digest::sha256(&plain);
    for from in ALL {
        let blob = compressed(&plain, from);
        let start = &blob[..blob.len() / 2];
        let cancel = CancellationToken::new();
        let reset = || Err(io::ErrorKind::ConnectionReset.into());
        let error = convert(Then(start, &reset), &diff_id, compressor(Compression::ZSTD, 1), &cancel)
            .map(drop)
            .unwrap_err();
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionReset),
            "{from:?}: {error}"
        );
        let leaves = || {
            cancel.cancel();
            Ok(0)
        };
        let error = convert(Then(&blob, &leaves), &diff_id, compressor(Compression::ZSTD, 1), &cancel)
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }), "{from:?}: {error}");
    }
}

#[test]
fn an_output_that_was_begun_is_refused() {
    let mut begun = compressor(Compression::GZIP, 1);
    begun.write_all(b"x").unwrap();
    let error =
        convert(&b"y"[..], &digest::sha256(b"y"), begun, &CancellationToken::new()).map(drop).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}
