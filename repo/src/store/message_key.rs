//! The 64-bit hash under which a message's (conversation, sender, client message id) is found again.
use sha2::{Digest, Sha256};

/// How a key is hashed. Tests put a weak one here to see that a collision loses nothing.
pub(crate) type KeyHash = fn(conversation_id: &str, sender_id: u64, client_msg_id: &str) -> i64;

/// 24 bits of the conversation, then 40 bits of the whole key. The prefix keeps the keys of one conversation
/// together: new messages of the few conversations that are active touch few pages of a table in which old
/// ones are many. With 40 bits a conversation of a million messages has a collision in a million new
/// messages about once, which costs one row in message_key_collisions and nothing else.
///
/// SHA-256 since the value is stored: it must stay the same on every machine and in every version, and
/// nobody should be able to make keys that collide.
pub(crate) fn key_hash(conversation_id: &str, sender_id: u64, client_msg_id: &str) -> i64 {
    let prefix = first_u64(Sha256::new().chain_update(conversation_id));
    // Neither id can contain a zero byte, so the parts can't run into each other.
    let whole = first_u64(
        Sha256::new()
            .chain_update(conversation_id)
            .chain_update([0])
            .chain_update(sender_id.to_be_bytes())
            .chain_update(client_msg_id),
    );
    ((prefix & !0xff_ffff_ffff) | (whole & 0xff_ffff_ffff)).cast_signed()
}

fn first_u64(hasher: Sha256) -> u64 {
    let digest = hasher.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::key_hash;

    #[test]
    fn the_stored_value_never_changes() {
        assert_eq!(key_hash("world", 1, "a"), 5219289369528567560);
        assert_eq!(key_hash("world", 1, "a") >> 40, key_hash("world", 2, "b") >> 40);
        assert_ne!(key_hash("world", 1, "a"), key_hash("world", 1, "b"));
        assert_ne!(key_hash("world", 1, "a"), key_hash("world", 2, "a"));
        assert_ne!(key_hash("group_1", 1, "a") >> 40, key_hash("group_2", 1, "a") >> 40);
    }
}
