//! Numbers of things, with a singular or plural noun.

/// `1 event`, `2 events`.
pub(crate) fn counted(number: impl TryInto<u64> + Copy + std::fmt::Display, noun: &str) -> String {
    let is_one = number.try_into().is_ok_and(|number| number == 1);
    format!("{number} {noun}{}", if is_one { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_not_several() {
        assert_eq!(
            [
                counted(0_u64, "event"),
                counted(1_u32, "event"),
                counted(2_usize, "event")
            ],
            ["0 events", "1 event", "2 events"]
        );
    }
}
