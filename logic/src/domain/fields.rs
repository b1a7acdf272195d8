//! What each field that comes from outside may hold.
use super::Invalid;

/// Longest client message id, in bytes.
pub(crate) const CLIENT_MSG_ID_MAX_BYTES: usize = 64;

/// 3..=50 of `A-Z a-z 0-9 _ . -`; names are compared without regard to case by their owner, repo.
pub(crate) fn username(name: &str) -> Result<(), Invalid> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if (3..=50).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Invalid::new(
        "username",
        "A user name has 3 to 50 characters: letters, digits, underscores, dots and dashes.",
    ))
}

/// 8..=128 characters of any kind.
pub(crate) fn password(field: &'static str, password: &str) -> Result<(), Invalid> {
    chars(field, "A password", password, 8, 128)
}

/// At most 100 bytes, one `@` with something on both sides, no space or control character.
pub(crate) fn email(address: &str) -> Result<(), Invalid> {
    let halves = address.split_once('@');
    let shape =
        halves.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    let clean = !address.chars().any(|c| c.is_whitespace() || c.is_control());
    if shape && clean && address.len() <= 100 {
        return Ok(());
    }
    Err(Invalid::new("email", "An e-mail address has one @ and at most 100 characters."))
}

/// 1..=100 characters, not all of them blank.
pub(crate) fn display_name(name: &str) -> Result<(), Invalid> {
    line("displayName", "A display name", name, 1, 100)
}

/// Empty, or an http(s) address of at most 500 bytes.
pub(crate) fn avatar_url(url: &str) -> Result<(), Invalid> {
    let web = url.starts_with("https://") || url.starts_with("http://");
    let clean = !url.chars().any(|c| c.is_whitespace() || c.is_control());
    if url.is_empty() || (web && clean && url.len() <= 500) {
        return Ok(());
    }
    Err(Invalid::new(
        "avatarUrl",
        "An avatar is given by a web address (http or https) of at most 500 characters.",
    ))
}

/// 1..=100 characters, not all of them blank.
pub(crate) fn group_name(name: &str) -> Result<(), Invalid> {
    line("name", "A group's name", name, 1, 100)
}

/// At most 500 characters.
pub(crate) fn description(text: &str) -> Result<(), Invalid> {
    chars("description", "A description", text, 0, 500)
}

/// Empty (the server draws one) or at most 64 of `A-Z a-z 0-9 _ . -`.
pub(crate) fn device_id(id: &str) -> Result<(), Invalid> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if id.len() <= 64 && id.bytes().all(allowed) {
        return Ok(());
    }
    Err(Invalid::new(
        "deviceId",
        "A device id has at most 64 characters: letters, digits, underscores, dots and dashes.",
    ))
}

/// At most 100 characters.
pub(crate) fn device_name(name: &str) -> Result<(), Invalid> {
    chars("deviceName", "A device name", name, 0, 100)
}

/// 1..=64 of `A-Z a-z 0-9 _ -`.
pub(crate) fn client_msg_id(id: &str) -> Result<(), Invalid> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if (1..=CLIENT_MSG_ID_MAX_BYTES).contains(&id.len()) && id.bytes().all(allowed) {
        return Ok(());
    }
    Err(Invalid::new(
        "clientMsgId",
        "A clientMsgId has 1 to 64 characters: letters, digits, underscores and dashes.",
    ))
}

/// 1..=`max_bytes` bytes.
pub(crate) fn content(text: &str, max_bytes: usize) -> Result<(), Invalid> {
    match text.len() {
        0 => Err(Invalid::new("content", "A message may not be empty.")),
        n if n > max_bytes => {
            Err(Invalid::new("content", format!("A message may have {max_bytes} bytes; this one has {n}.")))
        }
        _ => Ok(()),
    }
}

fn line(field: &'static str, what: &str, text: &str, min: usize, max: usize) -> Result<(), Invalid> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Invalid::new(field, format!("{what} may not be blank or hold control characters.")));
    }
    chars(field, what, text, min, max)
}

fn chars(field: &'static str, what: &str, text: &str, min: usize, max: usize) -> Result<(), Invalid> {
    // Counted only up to the bound, so that a huge text costs no more than a long one.
    let count = text.chars().take(max + 1).count();
    if (min..=max).contains(&count) {
        return Ok(());
    }
    let reason = match min {
        0 => format!("{what} has at most {max} characters."),
        _ => format!("{what} has {min} to {max} characters."),
    };
    Err(Invalid::new(field, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: impl Fn(&str) -> Result<(), Invalid>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_and_addresses() {
        let long = "a".repeat(51);
        check(username, &["abc", "A.b-c_9", &long[..50]], &["", "ab", &long, "a b", "ábc", "a@b"]);
        let host = format!("a@{}", "b".repeat(99));
        check(
            email,
            &["a@b", "first.last@example.org"],
            &["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n", &host],
        );
        let long = "ä".repeat(101);
        check(display_name, &["x", "Åsa", &long[..200]], &["", "  ", "a\nb", &long]);
        check(avatar_url, &["", "https://x/y.png"], &["javascript:alert(1)", "x", "https://a b"]);
    }

    #[test]
    fn secrets_and_keys() {
        let long = "é".repeat(129);
        check(|p| password("password", p), &["12345678", &long[..256], "pass word"], &["", "1234567", &long]);
        let long = "k".repeat(65);
        check(client_msg_id, &["a", "A-b_9", &long[..64]], &["", &long, "a.b", "a b", "ä"]);
        check(device_id, &["", "phone-1.2", &long[..64]], &[&long, "a b"]);
        check(|c| content(c, 4), &["a", "abcd", "éé"], &["", "abcde", "ééé"]);
    }

    #[test]
    fn the_answer_names_the_field() {
        assert_eq!(password("newPassword", "x").unwrap_err().field, "newPassword");
        assert_eq!(client_msg_id("").unwrap_err().field, "clientMsgId");
        assert!(content("abcde", 4).unwrap_err().reason.contains("4 bytes"));
    }
}
