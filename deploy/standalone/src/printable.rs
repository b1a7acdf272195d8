//! What others wrote, for a terminal: it must not clear the screen, forge a line or turn the text around.
use serde_json::Value;

/// A text on one line. Controls, escape sequences, invisible and direction-changing characters are escaped as Rust does
/// (`\u{1b}`), and so is the backslash; what people write stays readable.
pub(crate) fn text(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, char| {
        match char {
            '"' | '\'' => out.push(char),
            char => out.extend(char.escape_debug()),
        }
        out
    })
}

/// JSON on one line. The standard leaves DEL, the controls above it and all else that is not ASCII as they are.
pub(crate) fn json(value: &Value) -> String {
    value.to_string().chars().fold(String::new(), |mut out, char| {
        match char {
            // Controls are escaped already, and these two are the JSON's own.
            '"' | '\\' | '\'' => out.push(char),
            char if char.escape_debug().len() == 1 => out.push(char),
            char => {
                let mut units = [0; 2];
                out.extend(char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal acts on: controls of both sets, line ends, marks of direction, characters that nobody sees.
    const HOSTILE: &str =
        "\u{1b}[2J\u{9b}31m\u{7}\r\n\t\0\u{7f}\u{85}\u{2028}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}";

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        let letter = serde_json::json!({"error": HOSTILE});
        for printed in [text(HOSTILE), json(&letter)] {
            let left: Vec<char> = printed.chars().filter(|char| !(' '..='~').contains(char)).collect();
            assert!(left.is_empty(), "{left:?} in {printed:?}");
        }
        assert_eq!(serde_json::from_str::<Value>(&json(&letter)).unwrap(), letter, "JSON means the same");
    }

    #[test]
    fn what_people_write_is_readable_and_a_backslash_is_no_escape() {
        let kind = "Grüße, \"Anna's\" 你好 🙂";
        assert_eq!(text(kind), kind);
        assert_eq!(text(r"\u{1b}"), r"\\u{1b}");
        let letter = serde_json::json!({"error": format!("{kind} \\")});
        assert_eq!(json(&letter), letter.to_string());
    }
}
