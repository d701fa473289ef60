//! Keys that some inputs of an edge lead to, and which of them do.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::machine::SourceIx;
use crate::machine::edge::Key;

/// Up to how many keys are searched one by one. Most edges have one; an input that many builds share may lead to any number.
const FEW: usize = 8;

/// Keys that not all inputs lead to yet, each with those that do.
#[derive(Default)]
pub(super) struct Reached {
    few: Vec<(Key, Inputs)>,
    many: HashMap<Key, Inputs>,
}

impl Reached {
    /// Notes that an input leads to a key. True if now all of `inputs` inputs do; then it is forgotten.
    pub(super) fn by(&mut self, key: Key, input: usize, inputs: usize) -> bool {
        let known = self.few.iter().position(|(known, _)| *known == key);
        let ways = match known {
            Some(at) => &mut self.few[at].1,
            None if self.few.len() == FEW || !self.many.is_empty() => {
                self.many.extend(self.few.drain(..));
                self.many.entry(key).or_default()
            }
            None => {
                self.few.reserve_exact(1);
                self.few.push((key, Inputs::default()));
                let last = self.few.len() - 1;
                &mut self.few[last].1
            }
        };
        let all = ways.add(input) && ways.count as usize == inputs;
        if all {
            // It is the edge's now, which knows it if it is led to again.
            self.few.retain(|(known, _)| *known != key);
            self.many.remove(&key);
        }
        all
    }

    /// Whether no key is left that not all inputs lead to.
    pub(super) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    /// Whether a source has said any of it.
    pub(super) fn names(&self, source: SourceIx) -> bool {
        let few = self.few.iter().map(|(key, _)| key);
        few.chain(self.many.keys()).any(|key| key.source == source)
    }
}

/// A set of inputs.
#[derive(Default)]
struct Inputs {
    bits: SmallVec<[u64; 1]>,
    count: u32,
}

impl Inputs {
    /// Adds an input; says whether it was not there.
    fn add(&mut self, input: usize) -> bool {
        let (word, bit) = (input / 64, 1 << (input % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        self.count += u32::from(new);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyId;
    use crate::machine::LOCAL;

    #[test]
    fn a_key_is_found_once_when_the_last_input_leads_to_it() {
        let key = |number: u8| Key { source: LOCAL, id: KeyId::from_bytes([number; 32]) };
        for keys in [1, 3, 200] {
            let mut reached = Reached::default();
            for input in (0..100).rev() {
                for number in 0..keys {
                    assert_eq!(
                        reached.by(key(number), input, 100),
                        input == 0,
                        "{number} by {input} of {keys}"
                    );
                    assert!(!reached.by(key(number), input, 100), "twice");
                }
            }
        }
    }
}
