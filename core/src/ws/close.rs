//! Close codes (RFC 6455, section 7.4, and the IANA registry behind it).

/// Codes that may stand in a close frame. 1004, 1005, 1006 and 1015 must not; 1016 to 2999 are unassigned.
pub(crate) fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
