//! Compression, diffIDs, broken streams, limits.

use std::io::{self, Read};

use lazyblob_cache::Error;
use lazyblob_cache::layer::{Form, Limits, Options, apply, unpack, unpack_while_it_comes};
use lazyblob_cache::testing::Tar;
use lazyblob_remote::Mismatch;
use lazyblob_remote::digest::sha256;
use lazyblob_remote::testing::installed;
use tokio_util::sync::CancellationToken;

use crate::support::{BARE, GZIP, Target, ZSTD, descriptor, gzip, is_root, options, unpacked, zstd};

fn some_tar() -> Vec<u8> {
    let content: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    Tar::new().dir("d", 0o755).file("d/big", content).file("small", "x").end()
}

#[test]
fn the_bytes_tell_the_compression_whatever_the_media_type_says() {
    let tar = some_tar();
    let (front, back) = tar.split_at(100_000);
    let skippable = b"\x53\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    let blobs = [
        ("bare", tar.clone()),
        ("gzip", gzip(&tar)),
        ("members", [gzip(front), gzip(b""), gzip(back)].concat()),
        ("padded", [gzip(&tar), vec![0; 5000]].concat()),
        ("zstd", zstd(&tar)),
        ("frames", [skippable.clone(), zstd(front), skippable.clone(), zstd(back), skippable].concat()),
    ];
    for (name, blob) in blobs {
        for media_type in [BARE, GZIP, ZSTD, "application/x-whatever"] {
            let target = Target::new();
            let applied = unpacked(&blob, media_type, &tar, &target.dir()).unwrap();
            assert_eq!(applied.diff_id, sha256(&tar), "{name}");
            assert_eq!(target.tree().names(), ["d", "d/big", "small"], "{name}");
        }
    }
}

#[test]
fn what_follows_the_end_of_the_tar_is_in_the_diff_id_and_nowhere_else() {
    let tar = Tar::new().file("a", "x").raw([0; 1024]).raw(b"trailing").raw(vec![7; 600_000]).cut();
    let target = Target::new();
    let applied = unpacked(&gzip(&tar), GZIP, &tar, &target.dir()).unwrap();
    assert_eq!((applied.diff_id, applied.size), (sha256(&tar), tar.len() as u64));
    assert_eq!(target.tree().names(), ["a"]);
}

/// Row 71a: the uncompressed bytes are another layer's.
#[test]
fn another_diff_id_is_an_integrity_error() {
    let tar = some_tar();
    let error = unpacked(&gzip(&tar), GZIP, b"other", &Target::new().dir()).unwrap_err();
    let Error::Integrity { mismatch: Mismatch::DiffId { expected, actual }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((expected, actual), (sha256(b"other").to_string(), sha256(&tar).to_string()));
}

#[test]
fn broken_streams_are_named() {
    let tar = some_tar();
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 20].to_vec();
    let mut damaged = gzip(&tar);
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    let cases = [
        (cut(&gzip(&tar)), GZIP, "the gzip stream is cut off"),
        (cut(&zstd(&tar)), ZSTD, "the zstd stream is cut off"),
        (damaged, GZIP, "the gzip stream is broken"),
        ([gzip(&tar), b"garbage".to_vec()].concat(), GZIP, "behind its end is something"),
        ([gzip(&tar), b"\0\0\0garbage".to_vec()].concat(), GZIP, "behind its end is something"),
        ([zstd(&tar), b"garbage".to_vec()].concat(), ZSTD, "the zstd stream is broken"),
        (b"\xfd7zXZ\0 and so on".to_vec(), GZIP, "compressed with xz"),
        (b"neither this nor that".to_vec(), GZIP, "the media type says gzip"),
        (Vec::new(), ZSTD, "diffID"),
        (vec![b'x'; 2000], BARE, "not a header"),
        (tar[..tar.len() - 1024 - 700].to_vec(), BARE, "the tar is cut off"),
        (tar[..700].to_vec(), BARE, "the tar is cut off"),
    ];
    for (blob, media_type, said) in cases {
        let error = unpacked(&blob, media_type, &tar, &Target::new().dir()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}: not {said}");
        assert!(matches!(error, Error::Invalid { .. } | Error::Integrity { .. }), "{error:?}");
    }
}

/// Gives some bytes, then fails.
struct Failing<'a>(&'a [u8]);

#[derive(Debug, thiserror::Error)]
#[error("the network is down")]
struct Down;

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, Down)),
            read => Ok(read),
        }
    }
}

#[test]
fn an_error_of_the_blobs_reader_comes_out_as_it_was() {
    let tar = some_tar();
    for blob in [tar.clone(), gzip(&tar), zstd(&tar)] {
        for length in [0, 5, blob.len() / 2] {
            let reader = Failing(&blob[..length]);
            let options = options(Form::Plain);
            let (named, cancel) = (descriptor(&blob, GZIP), CancellationToken::new());
            let error = unpack(reader, &named, &sha256(&tar), &Target::new().dir(), &options, &cancel);
            let Error::Io { source, .. } = error.unwrap_err() else { panic!("not io") };
            assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
            assert!(source.get_ref().unwrap().is::<Down>());
        }
    }
}

#[test]
fn limits_refuse_what_grows() {
    let noise: Vec<u8> =
        (0..250_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let zeros = Tar::new().file("noise", noise).file("zeros", vec![0; 70 << 20]).end();
    let bomb = zstd(&zeros);
    let run = |change: &dyn Fn(&mut Options)| {
        let mut options = options(Form::Tree);
        change(&mut options);
        let named = descriptor(&bomb, ZSTD);
        let dir = Target::new();
        unpack(&bomb[..], &named, &sha256(&zeros), &dir.dir(), &options, &CancellationToken::new())
    };
    run(&|_| ()).unwrap();
    type Change = fn(&mut Options);
    let cases: [(&str, Change); 3] = [
        ("the limit of a layer's ratio", |options| {
            (options.limits.ratio, options.limits.ratio_above) = (40, 64 << 20);
        }),
        ("the limit of a layer's size", |options| options.limits.size = 1 << 20),
        ("the limit of a layer", |options| options.limits.entries = 0),
    ];
    for (said, change) in cases {
        let error = run(&change).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains(&sha256(&bomb).to_string()), "{error}");
    }
}

#[test]
fn a_token_stops_it() {
    let tar = some_tar();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let options = options(Form::Tree);
    let target = Target::new();
    let error = apply(&tar[..], &target.dir(), &options, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }));
    assert!(target.tree().names().is_empty());
    // In the middle of a file without end.
    let cancel = CancellationToken::new();
    let endless = Tar::new().entry(&lazyblob_cache::testing::tars::Header::new(b'0', "f").size(1 << 33), []);
    let endless = endless.cut();
    let reader = endless.chain(Cancelling { cancel: &cancel, left: 10 });
    let named = descriptor(&tar, BARE);
    let error = unpack(reader, &named, &sha256(&tar), &target.dir(), &options, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
}

/// Zeros without end; some reads before it cancels.
struct Cancelling<'a> {
    cancel: &'a CancellationToken,
    left: u32,
}

impl Read for Cancelling<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.cancel.cancel();
        }
        buffer.fill(0);
        Ok(buffer.len())
    }
}

/// Row 95a: no space is an error at once, and names the file.
#[test]
fn a_disk_that_fills_is_said_at_once_with_the_file() {
    let what = "a disk that fills";
    if !is_root(what) || !installed(what, &["mount", "umount"]) {
        return;
    }
    let target = Target::new();
    let run = |program: &str, arguments: &[&str]| {
        let status = std::process::Command::new(program).args(arguments).arg(target.dir()).status().unwrap();
        assert!(status.success(), "{program}");
    };
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    let tar = Tar::new().file("fits", "x").file("d/large", vec![7; 4 << 20]).file("never", "x").end();
    let error = target.apply(&tar, Form::Tree);
    let names = target.tree().names().join(" ");
    run("umount", &[]);
    let Error::Io { path, source, .. } = error.unwrap_err() else { panic!("not io") };
    assert_eq!((path, source.kind()), (target.dir().join("d/large"), io::ErrorKind::StorageFull));
    assert_eq!(names, "d d/large fits");
}

/// Brings its bytes, and then nothing more until its token is cancelled.
struct Stalling(io::Cursor<Vec<u8>>, CancellationToken);

impl Read for Stalling {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => {
                tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(self.1.cancelled());
                Err(io::Error::other("nobody waits for it any more"))
            }
            read => Ok(read),
        }
    }
}

/// Row 30: a layer that is wrong says so while the rest of it has not come.
#[test]
fn what_is_wrong_is_told_before_the_rest_has_come() {
    let (useless, target) = (CancellationToken::new(), Target::new());
    let blob = Stalling(io::Cursor::new(vec![b'x'; 1 << 20]), useless.clone());
    let (descriptor, diff_id) = (descriptor(b"x", BARE), sha256(b"x"));
    let (options, cancel) = (options(Form::Tree), CancellationToken::new());
    let unpacked =
        unpack_while_it_comes(blob, &descriptor, &diff_id, &target.dir(), &options, &cancel, &useless);
    assert!(matches!(unpacked, Err(Error::Invalid { .. })), "{unpacked:?}");
    assert!(useless.is_cancelled() && !cancel.is_cancelled(), "nobody else is told to end");
}

/// By default zeros are not let through for ever in the one compression either that makes least of them.
#[test]
fn zeros_in_gzip_are_beyond_the_default_ratio() {
    let zeros = Tar::new().file("zeros", vec![0; 40 << 20]).end();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut encoder, &zeros).unwrap();
    let bomb = encoder.finish().unwrap();
    let (named, mut options) = (descriptor(&bomb, GZIP), options(Form::Tree));
    let run = |options: &Options| {
        unpack(&bomb[..], &named, &sha256(&zeros), &Target::new().dir(), options, &CancellationToken::new())
    };
    assert!(options.limits.ratio_above <= 4 << 30, "it is to say something of blobs of megabytes");
    run(&options).unwrap();
    options.limits.ratio_above = 32 << 20;
    let error = run(&options).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    options.limits = Limits { entries: options.limits.entries, ..Limits::up_to(64 << 20) };
    run(&options).unwrap();
    options.limits = Limits::up_to(32 << 20);
    let error = run(&options).unwrap_err();
    assert!(error.to_string().contains("the limit of a layer's size"), "{error}");
}
