//! Keys of the tables: a processor, and the slot of a stream or a document.

use crate::database::{Parameter, param};
use crate::error::Error;
use crate::events::Partition;
use postgres::types::Type;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Returns the slot of a key: 64-bit FNV-1a. Stored positions depend on it, so it must never change.
pub(crate) fn slot_of(key: &str, slots: u32) -> u32 {
    let hash = key.bytes().fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    });
    u32::try_from(hash % u64::from(slots.max(1))).expect("a remainder is below its divisor")
}

/// The slots that a worker owns.
#[derive(Debug, Clone)]
pub(crate) struct OwnedSlots {
    slots: u32,
    owned: Vec<u32>,
}

impl OwnedSlots {
    /// Creates the set of owned slots, out of `slots` in total.
    pub(crate) fn new(slots: u32, owned: impl IntoIterator<Item = u32>) -> Self {
        Self {
            slots,
            owned: owned.into_iter().collect(),
        }
    }

    pub(crate) fn owns(&self, key: &str) -> bool {
        self.owned.contains(&slot_of(key, self.slots))
    }
}

/// A version of a processor in a partition.
#[derive(Clone, Copy)]
pub(crate) struct ProcessorKey<'a> {
    pub(crate) partition: &'a Partition,
    pub(crate) name: &'a str,
    pub(crate) version: i32,
}

impl ProcessorKey<'_> {
    /// Returns the leading parameters of every statement on a processor, and further ones.
    pub(super) fn parameters<'p, const N: usize>(
        &'p self,
        more: [Parameter<'p>; N],
    ) -> Vec<Parameter<'p>> {
        let key = [
            param(&self.partition.name, Type::TEXT),
            param(&self.name, Type::TEXT),
            param(&self.version, Type::INT4),
        ];
        key.into_iter().chain(more).collect()
    }

    pub(super) fn refused(&self, doing: &'static str, source: postgres::Error) -> Error {
        Error::in_partition(doing, &self.partition.name, source)
    }
}

#[cfg(test)]
mod tests {
    use super::{OwnedSlots, slot_of};

    #[test]
    fn a_key_has_the_slot_that_it_has_always_had() {
        for (key, slots, slot) in [
            ("", 1_000_000, 656_037),
            ("a", 1_000_000, 641_996),
            ("foobar", 1_000_000, 436_968),
            ("ShoppingCart-123", 16, 10),
            ("größe", 7, 1),
            ("anything", 1, 0),
            ("anything", 0, 0),
        ] {
            assert_eq!(slot_of(key, slots), slot, "{key}");
        }
    }

    #[test]
    fn each_key_has_one_owner() {
        let workers: Vec<_> = (0..3).map(|worker| OwnedSlots::new(3, [worker])).collect();
        for number in 0..100 {
            let key = format!("Cart-{number}");
            let owners = workers.iter().filter(|worker| worker.owns(&key)).count();
            assert_eq!(owners, 1, "{key}");
        }
    }
}
