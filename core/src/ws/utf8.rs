//! UTF-8 checked piece by piece: a character may be cut anywhere between two fragments (RFC 6455, section 5.6).

/// The bytes of a character that is not complete yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Utf8Check {
    cut: [u8; 4],
    len: u8,
}

/// Not UTF-8, and no continuation can make it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

impl Utf8Check {
    /// Checks the next piece of a text.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.len > 0 {
            let Some((first, rest)) = piece.split_first() else { return Ok(()) };
            self.cut[usize::from(self.len)] = *first;
            self.len += 1;
            piece = rest;
            match std::str::from_utf8(&self.cut[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => {}
            }
        }
        let Err(error) = simdutf8::compat::from_utf8(piece) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        let cut = &piece[error.valid_up_to()..];
        self.cut[..cut.len()].copy_from_slice(cut);
        self.len = cut.len() as u8;
        Ok(())
    }

    /// Whether the text may end here.
    pub(crate) fn is_complete(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pieces: &[&[u8]], expect: Result<bool, NotUtf8>) {
        let mut utf8 = Utf8Check::default();
        let result = pieces.iter().try_for_each(|piece| utf8.feed(piece)).map(|()| utf8.is_complete());
        assert_eq!(result, expect, "{pieces:x?}");
    }

    #[test]
    fn cut_characters_are_understood_and_wrong_ones_refused_at_once() {
        check(&[b"\xe2\x82", b"\xac"], Ok(true));
        check(&[b"\xf0\x9f", b"", b"\x98", b"\x80!"], Ok(true));
        check(&[b"a\xe2\x82"], Ok(false));
        check(&[b"\xe2", b"a"], Err(NotUtf8));
        check(&[b"\xed", b"\xa0"], Err(NotUtf8));
        check(&[b"\xf4\x90"], Err(NotUtf8));
        check(&[b"\xc0"], Err(NotUtf8));
        check(&[b"\x80"], Err(NotUtf8));
    }

    proptest! {
        #[test]
        fn pieces_agree_with_the_whole(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0xe0u8..=0xf4, 0x80u8..=0xbf], 0..12), cuts in prop::collection::vec(1usize..4, 12)) {
            let mut utf8 = Utf8Check::default();
            let mut rest = &bytes[..];
            let mut ok = true;
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                ok = ok && utf8.feed(piece).is_ok();
            }
            prop_assert_eq!(ok && utf8.is_complete(), std::str::from_utf8(&bytes).is_ok());
        }

        #[test]
        fn every_text_passes_in_any_pieces(text in "\\PC{0,40}", size in 1usize..6) {
            let mut utf8 = Utf8Check::default();
            for piece in text.as_bytes().chunks(size) {
                prop_assert!(utf8.feed(piece).is_ok());
            }
            prop_assert!(utf8.is_complete());
        }
    }
}
