//! Damage by number: the same seeds and the same number are the same bytes.

use fastrand::Rng;

/// What is worth trying as a number, as text and as bytes.
const WORDS: [&[u8]; 20] = [
    b"0",
    b"-1",
    b"7777777",
    b"77777777777",
    b"4294967295",
    b"18446744073709551615",
    b"9223372036854775807",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\0\0\0\xff\xff\xff\xff",
    b"..",
    b"../",
    b"/",
    b"./",
    b".wh.",
    b".wh..wh..opq",
    b"\0",
    b"%00%2f",
    b"null",
    b"[]",
    b"{}",
];

/// One of `seeds`, damaged as `number` says.
#[must_use]
pub fn mutated(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(number);
    let mut bytes = random.choice(seeds).cloned().unwrap_or_default();
    for _ in 0..random.usize(1..6) {
        damage(&mut bytes, seeds, &mut random);
    }
    bytes.truncate(64 << 10);
    bytes
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Rng) {
    if bytes.is_empty() {
        bytes.push(random.u8(..));
    }
    let at = random.usize(..bytes.len());
    let block = at / 512 * 512;
    let block_end = (block + 512).min(bytes.len());
    match random.u8(..10) {
        0 => flip(bytes, at, random.u8(..8)),
        1 => put(bytes, at, &[random.u8(..)]),
        2 | 3 => {
            let word = random.choice(WORDS).unwrap_or_default();
            put(bytes, at, word);
        }
        4 => {
            let word = random.choice(WORDS).unwrap_or_default();
            drop(bytes.splice(at..at, word.iter().copied()));
        }
        5 => drop(bytes.drain(at..(at + random.usize(1..64)).min(bytes.len()))),
        6 => drop(bytes.drain(block..block_end)),
        7 => {
            // A block once more, in front of another.
            let copy = bytes.get(block..block_end).unwrap_or_default().to_vec();
            let to = random.usize(..=bytes.len()) / 512 * 512;
            drop(bytes.splice(to..to, copy));
        }
        8 => {
            // The end of another seed in the place of this one's, block by block or anywhere.
            let other = random.choice(seeds).cloned().unwrap_or_default();
            let from = random.usize(..=other.len());
            let (to, from) = if random.bool() { (block, from / 512 * 512) } else { (at, from) };
            bytes.truncate(to);
            bytes.extend(other.get(from..).unwrap_or_default());
        }
        _ => bytes.truncate(at),
    }
}

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

fn put(bytes: &mut [u8], at: usize, word: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(word) {
        *to = *from;
    }
}
