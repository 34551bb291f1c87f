//! Which keys were there before, without keeping them.
//!
//! Of each key 104 bits of its SHA-256 are kept: 12 MB for a million keys and at most 15 with the room to grow. Two of a
//! million keys are taken for one with a chance of 1 in 10^19.

use sha2::{Digest as _, Sha256};

/// Lists, chosen by the first bits: each is short and sorted, and they do not grow all at once, as a table does.
const LISTS: usize = 1 << 12;

/// The keys seen so far.
pub(super) struct Keys(Vec<Vec<Rest>>);

/// What tells keys of one list apart: the bits behind the first 8.
type Rest = [u8; 12];

impl Keys {
    pub(super) fn new() -> Self {
        Self(vec![Vec::new(); LISTS])
    }

    /// Adds a key; whether it is new.
    pub(super) fn insert(&mut self, key: &str) -> bool {
        let sum: [u8; 32] = Sha256::digest(key).into();
        let first = usize::from(u16::from_be_bytes([sum[0], sum[1]]));
        let list = &mut self.0[(first * LISTS) >> u16::BITS];
        let mut rest = Rest::default();
        rest.copy_from_slice(&sum[1..=size_of::<Rest>()]);
        let Err(place) = list.binary_search(&rest) else {
            return false;
        };
        if list.len() == list.capacity() {
            list.reserve_exact(list.len() / 4 + 4);
        }
        list.insert(place, rest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once() {
        let mut keys = Keys::new();
        assert!((0..20_000).all(|n| keys.insert(&n.to_string())));
        assert!((0..20_000).all(|n| !keys.insert(&n.to_string())));
        assert!(keys.insert(""));
    }

    #[test]
    fn a_million_keys_take_15_mb_at_most() {
        let mut keys = Keys::new();
        for n in 0..1_000_000_u32 {
            keys.insert(&n.to_string());
        }
        let room: usize = keys.0.iter().map(|list| list.capacity() * size_of::<Rest>()).sum();
        assert!(room < 15_000_000, "{room} bytes");
    }
}
