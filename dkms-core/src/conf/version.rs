//! Version order: split at digit/non-digit borders, pad numbers to three digits, compare as strings
//! (dkms-contract.md §2, last paragraph).
//!
//! It orders package versions and kernel releases alike, and by it a bound `6.1` lies below `6.1.0-56`.

use std::cmp::Ordering;

/// Numbers of one or two digits get leading zeros; the rest stays as it is, so that strings compare as versions.
fn padded(version: &str) -> String {
    let mut out = String::with_capacity(version.len() * 2);
    let mut rest = version;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        for _ in digits..3 {
            if digits > 0 {
                out.push('0');
            }
        }
        let (number, after) = rest.split_at(digits);
        out.push_str(number);
        let words = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (word, next) = after.split_at(words);
        out.push_str(word);
        rest = next;
    }
    out
}

/// Orders two versions as the classic tool does.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    padded(a).as_bytes().cmp(padded(b).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("1.0", "1.0", Ordering::Equal)]
    #[case("1.9", "1.10", Ordering::Less)]
    #[case("6.1", "6.1.0-56-amd64", Ordering::Less)]
    #[case("6.1.0-56-amd64", "6.1.0-9-amd64", Ordering::Greater)]
    #[case("6.12.111-generic", "6.2.0-1-generic", Ordering::Greater)]
    #[case("2.6.9-1cvs200409091247", "2.6.9-1", Ordering::Greater)]
    #[case("1.2.3a", "1.2.3b", Ordering::Less)]
    #[case("", "0", Ordering::Less)]
    #[case("01", "1", Ordering::Equal)]
    #[case("0001", "1", Ordering::Less)]
    #[case("1000", "999", Ordering::Less)] // The rule's own limit: four digits against three compare as strings.
    #[case("rc1", "rc10", Ordering::Less)]
    #[case("2.2LK", "2.2", Ordering::Greater)]
    #[case("5.10-rc1", "5.10.1", Ordering::Less)]
    fn table(#[case] a: &str, #[case] b: &str, #[case] wanted: Ordering) {
        assert_eq!(compare(a, b), wanted);
        assert_eq!(compare(b, a), wanted.reverse());
    }

    proptest! {
        #[test]
        fn any_text_is_ordered(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
