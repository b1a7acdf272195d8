//! Masking (RFC 6455, section 5.3): xor with four repeated bytes.

/// Masks or unmasks `payload` in place.
pub(crate) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_and_bytes_agree(mut payload in prop::collection::vec(any::<u8>(), 0..100), mask: [u8; 4]) {
            let expect: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
            apply_mask(&mut payload, mask);
            prop_assert_eq!(payload, expect);
        }
    }
}
