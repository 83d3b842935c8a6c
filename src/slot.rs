//! Which slot of a processor a stream belongs to.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The slot of a key, from 0 to `slots` - 1, by the hash FNV-1a. It stays the same for ever: stored checkpoints depend on
/// it.
pub(crate) fn slot_of(key: &str, slots: u32) -> u32 {
    let hash = key.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    u32::try_from(hash % u64::from(slots.max(1))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::slot_of;

    #[test]
    fn a_key_stays_in_its_slot_for_ever() {
        let slots =
            ["", "a", "foobar", "ShoppingCart-123", "\u{1f6d2}"].map(|key| slot_of(key, 16));
        assert_eq!(slots, [5, 12, 8, 10, 9]);
    }

    #[test]
    fn keys_spread_over_all_slots() {
        let mut counts = [0; 16];
        for number in 0..16_000 {
            counts[slot_of(&format!("Cart-{number}"), 16) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1_200).contains(count)),
            "{counts:?}"
        );
    }
}
