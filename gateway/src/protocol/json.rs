//! A JSON writer for the frames of the hot path: one buffer, no tree, no allocation but the buffer's growth.
//! Its escapes are byte for byte those of serde_json; a property test holds it to that.

/// Writes the members of one object. Commas are its business; keys are constants that need no escape.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Writes the key and gives the buffer to write the value into.
    pub(crate) fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn str(&mut self, key: &'static str, value: &str) {
        string(self.key(key), value);
    }

    pub(crate) fn u64(&mut self, key: &'static str, value: u64) {
        number(self.key(key), value);
    }

    /// Times before 1970 don't occur; they are written as 0.
    pub(crate) fn time(&mut self, key: &'static str, unix_ms: i64) {
        number(self.key(key), u64::try_from(unix_ms).unwrap_or(0));
    }

    /// An id: its decimal digits in quotes, since 64 bits don't fit a JavaScript number.
    pub(crate) fn id(&mut self, key: &'static str, value: u64) {
        let out = self.key(key);
        out.push(b'"');
        number(out, value);
        out.push(b'"');
    }

    pub(crate) fn bool(&mut self, key: &'static str, value: bool) {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// `json` must be one valid JSON value.
    pub(crate) fn raw(&mut self, key: &'static str, json: &[u8]) {
        self.key(key).extend_from_slice(json);
    }

    pub(crate) fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.key(key), fill);
    }

    pub(crate) fn array<T>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) {
        let out = self.key(key);
        out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(out, item);
        }
        out.push(b']');
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

/// Writes one object.
pub(crate) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object::open(out);
    fill(&mut object);
    object.close();
}

/// Writes a string in quotes, escaped as serde_json does it.
pub(crate) fn string(out: &mut Vec<u8>, value: &str) {
    out.reserve(value.len() + 2);
    out.push(b'"');
    let bytes = value.as_bytes();
    let mut plain_from = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..index]);
        escape(out, byte);
        plain_from = index + 1;
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes a number in decimal.
pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &str) -> String {
        let mut out = Vec::new();
        string(&mut out, value);
        String::from_utf8(out).expect("the writer gives UTF-8")
    }

    #[test]
    fn every_single_byte_character_is_escaped_as_serde_json_does_it() {
        for code in 0..=0xff_u32 {
            let text = char::from_u32(code).expect("below the surrogates").to_string();
            assert_eq!(written(&text), serde_json::to_string(&text).expect("a string"), "U+{code:04x}");
        }
    }

    #[test]
    fn objects_nest_and_separate() {
        let mut out = Vec::new();
        object(&mut out, |o| {
            o.str("a", "x\"y");
            o.u64("b", u64::MAX);
            o.id("c", 0);
            o.bool("d", false);
            o.time("e", -5);
            o.raw("f", b"null");
            o.object("g", |g| g.u64("h", 10));
            o.object("i", |_| {});
            o.array("j", [1_u64, 2], number);
        });
        let expect = concat!(
            r#"{"a":"x\"y","b":18446744073709551615,"c":"0","d":false,"e":0,"f":null,"g":{"h":10},"i":{},"#,
            r#""j":[1,2]}"#
        );
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expect);
    }

    proptest! {
        #[test]
        fn strings_are_escaped_as_serde_json_does_it(text in any::<String>()) {
            prop_assert_eq!(written(&text), serde_json::to_string(&text).expect("a string"));
        }

        #[test]
        fn control_characters_are_escaped_as_serde_json_does_it(text in "[\\x00-\\x2f\\\\\"é😀]{0,40}") {
            prop_assert_eq!(written(&text), serde_json::to_string(&text).expect("a string"));
        }

        #[test]
        fn numbers_are_decimal(value in any::<u64>()) {
            let mut out = Vec::new();
            number(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).expect("digits"), value.to_string());
        }
    }
}
