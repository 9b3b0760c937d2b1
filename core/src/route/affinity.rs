//! Keeping requests with the same beginning at the same target, so that providers find the prompt in their caches.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar, 1998): a target that leaves moves its own keys only, and repeats
//! walk the same order, so that the second home warms up too.

use super::{AliasId, TargetId, entropy::mix, hash};

/// Bytes of a prompt's beginning that make the key.
const PREFIX_BYTES: usize = 4_096;

/// The key of a request: what the client names (`prompt_cache_key`, a session), else the beginning of the prompt, if that
/// is as long as what providers cache at least (about 1,024 tokens).
pub(crate) fn key(alias: AliasId, named: Option<&str>, pieces: &[&[u8]]) -> Option<u64> {
    if let Some(named) = named {
        return Some(hash(&[&alias.bits().to_le_bytes(), b"named", named.as_bytes()]));
    }
    let all: usize = pieces.iter().map(|piece| piece.len()).sum();
    if all < PREFIX_BYTES {
        return None;
    }
    let mut left = PREFIX_BYTES;
    let mut state = alias.bits();
    for piece in pieces {
        let part = piece.get(..piece.len().min(left)).unwrap_or_default();
        left -= part.len();
        state = mix(state ^ hash(&[part]));
        if left == 0 {
            break;
        }
    }
    Some(state)
}

/// How much a key wants a target: the highest comes first. `-w / ln(u)` of a uniform `u` made of both.
pub(super) fn score(key: u64, target: TargetId, weight: f64) -> f64 {
    let bits = mix(key ^ mix(target.bits()));
    let unit = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    weight / -unit.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(key: u64, targets: &[(u64, f64)]) -> u64 {
        let best =
            targets.iter().max_by(|a, b| score(key, TargetId(a.0), a.1).total_cmp(&score(key, TargetId(b.0), b.1)));
        best.unwrap().0
    }

    #[test]
    fn removing_a_target_moves_its_own_keys_and_adding_one_takes_its_share() {
        let all: Vec<(u64, f64)> = (1..=5).map(|id| (id, 1.0)).collect();
        let mut moved_in = 0;
        for key in 0..20_000_u64 {
            let key = mix(key);
            let before = home(key, &all[..4]);
            let without: Vec<_> = all[..4].iter().copied().filter(|(id, _)| *id != 2).collect();
            if before != 2 {
                assert_eq!(home(key, &without), before);
            }
            let after = home(key, &all);
            assert!(after == before || after == 5);
            moved_in += u32::from(after == 5);
        }
        let share = f64::from(moved_in) / 20_000.0;
        println!("share of keys that an added fifth target takes: {share:.4} (fair: 0.2)");
        assert!((share - 0.2).abs() < 0.01);
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        let targets = [(1, 1.0), (2, 3.0)];
        let heavy = (0..20_000_u64).filter(|key| home(mix(*key), &targets) == 2).count();
        assert!((heavy as f64 / 20_000.0 - 0.75).abs() < 0.01, "{heavy}");
    }

    #[test]
    fn a_key_is_named_or_made_of_a_long_beginning() {
        let alias = AliasId(1);
        assert_eq!(key(alias, None, &[b"short"]), None);
        assert_eq!(key(alias, None, &[&[b'a'; 4095]]), None);
        let long = [b'a'; 8000];
        let known = key(alias, None, &[&long]).unwrap();
        // What comes after the beginning changes nothing; what is in it, and whose it is, does.
        let mut later = long;
        later[5000] = b'b';
        assert_eq!(key(alias, None, &[&later]), Some(known));
        later[4095] = b'b';
        assert_ne!(key(alias, None, &[&later]), Some(known));
        assert_ne!(key(AliasId(2), None, &[&long]), Some(known));
        assert_ne!(key(alias, None, &[b"", &long]), key(alias, None, &[&long, b""]));
        assert_eq!(key(alias, Some("s"), &[]), key(alias, Some("s"), &[&long]));
        assert_ne!(key(alias, Some("s"), &[]), key(alias, Some("t"), &[]));
    }
}
