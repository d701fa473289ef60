//! Tables as bytes.

use lazyblob_cache::Error;
use lazyblob_cache::contenthash::{Kind, Meta, Node, Root, Selector, Sum, Table};

use crate::support::{Memory, records};

fn tree() -> Memory {
    let mut tree = Memory::of(&["a/", "a/b/", "a/b/f=1", "a b=2", "l -> /a/b", "z/", "z/y=3"]);
    tree.add(*b"a/\xff\xe9", Meta::new(Kind::File, 0o600), "bytes");
    tree
}

#[test]
fn what_is_known_is_known_again() {
    for root in [Root::Snapshot, Root::Local, Root::AsFound] {
        let mut tree = tree();
        let mut table = Table::unread(root);
        tree.sum(&mut table, &Selector::path("/l/f")).unwrap();
        let mut again = Table::decode(&table.encode()).unwrap();
        assert_eq!(again, table);
        assert!(again.known(&[Selector::path("/l/f")]).unwrap().is_some());
        assert_eq!(again.known(&[Selector::path("/z")]).unwrap(), None);
        let all = records(&mut table, &mut tree);
        let bytes = table.encode();
        let mut again = Table::decode(&bytes).unwrap();
        assert_eq!(again, table);
        assert_eq!(again.encode(), bytes);
        assert_eq!(records(&mut again, &mut Memory::new()), all);
        // What was told stays told: nothing else is there.
        let mut told = Table::decode(&tree.told(root).encode()).unwrap();
        assert!(told.known(&[Selector::path("/nowhere")]).unwrap_err().is_not_found());
        told.insert(b"/new", Node::Directory, None).unwrap();
        assert!(told.known(&[Selector::path("/new/x")]).unwrap_err().is_not_found());
    }
    let fresh = Table::unread(Root::Snapshot);
    assert_eq!(Table::decode(&fresh.encode()).unwrap(), fresh);
}

#[test]
fn a_file_takes_little_more_than_its_digest() {
    let mut tree = Memory::new();
    for directory in 0..100 {
        tree.add(format!("some-directory-{directory:03}"), Meta::new(Kind::Directory, 0o755), "");
        for file in 0..100 {
            tree.add(
                format!("some-directory-{directory:03}/some-file-{file:03}"),
                Meta::new(Kind::File, 0o644),
                "",
            );
        }
    }
    let size = tree.told(Root::Snapshot).encode().len();
    assert!(size < 10_100 * 40, "{size} bytes");
}

#[test]
fn damaged_bytes_are_never_believed() {
    let mut tree = tree();
    let mut table = Table::unread(Root::Snapshot);
    tree.sum(&mut table, &Selector::path("/a")).unwrap();
    let bytes = table.encode();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let error = Table::decode(&damaged).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
        }
        assert!(Table::decode(&bytes[..at]).is_err());
    }
    assert!(Table::decode(&[&bytes[..], b"x"].concat()).is_err());
}

/// With the right sum at the end: whoever wrote it, reading it neither panics nor takes what no table can say.
#[test]
fn wrong_bytes_are_errors_whatever_their_sum() {
    let mut tree = tree();
    let mut table = Table::unread(Root::AsFound);
    records(&mut table, &mut tree);
    let bytes = table.encode();
    let body = &bytes[..bytes.len() - 32];
    let mut random = fastrand::Rng::with_seed(7);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut wrong = body.to_vec();
        for _ in 0..=round % 3 {
            match random.u8(..4) {
                0 => wrong.truncate(random.usize(..=wrong.len())),
                1 => wrong.insert(random.usize(..=wrong.len()), random.u8(..)),
                _ if wrong.is_empty() => {}
                _ => {
                    let at = random.usize(..wrong.len());
                    wrong[at] = random.u8(..);
                }
            }
        }
        match Table::decode(&signed(&wrong)) {
            Ok(mut decoded) => {
                taken += 1;
                // It can be used like any other.
                let _ = tree.sum(&mut decoded, &Selector::path("/"));
                decoded.remove(b"/a");
                let again = Table::decode(&decoded.encode()).unwrap();
                assert_eq!(again, decoded);
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error, Error::Invalid { .. }), "{error}");
            }
        }
    }
    // Another digest is as good as the first; names out of order are not.
    assert!(taken > 100 && refused > 10_000, "{taken} {refused}");
}

#[test]
fn few_bytes_cannot_make_a_large_table() {
    // Each path shares all of the one before it: 4095 bytes said with five.
    let mut body = b"lbch\x01\x00\x01\x00\x00\x12".to_vec();
    for at in 0..18_000_u32 {
        let (shared, rest) = if at == 0 {
            (vec![0], [&b"\0"[..], &[b'x'; 4000]].concat())
        } else {
            (
                vec![0xa1, 0x1f],
                at.to_be_bytes().iter().flat_map(|byte| [b'a' + (byte >> 4), b'a' + (byte & 15)]).collect(),
            )
        };
        body.extend(shared);
        // 4001 or 8, as a number of seven bits a byte.
        body.extend(if rest.len() == 8 { vec![8] } else { vec![0xa1, 0x1f] });
        body.extend(rest);
        body.push(0);
    }
    body.extend([0, 0, 255]);
    let error = Table::decode(&signed(&body)).unwrap_err();
    assert!(error.to_string().ends_with("its paths are too long"), "{error}");
}

#[test]
fn another_version_is_told_from_damage() {
    let mut bytes = Table::unread(Root::Snapshot).encode();
    bytes[4] = 2;
    let error = Table::decode(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "read a table of digests: it is of another version");
    assert!(Table::decode(b"").is_err() && Table::decode(&[0; 40]).is_err());
}

/// With a sum that is right.
fn signed(body: &[u8]) -> Vec<u8> {
    let digest = Sum::of(body).digest();
    let hex = digest.digest();
    let sum = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
    body.iter().copied().chain(sum).collect()
}
