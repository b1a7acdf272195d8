-- Times are milliseconds since the Unix epoch, UTC. Ids are positive 63-bit numbers.
-- No REFERENCES: one writer owns this file and checks what it inserts; a foreign key would cost another
-- look-up for every message.

CREATE TABLE users (
    user_id       INTEGER PRIMARY KEY,
    username      TEXT    NOT NULL,
    -- Lower-case forms, made by the program so that every dialect folds the same way.
    username_key  TEXT    NOT NULL UNIQUE,
    email         TEXT    NOT NULL,
    email_key     TEXT    NOT NULL UNIQUE,
    password_hash TEXT    NOT NULL,
    display_name  TEXT    NOT NULL,
    avatar_url    TEXT    NOT NULL,
    status        INTEGER NOT NULL,
    -- Raised by every update; a cached copy is good only at the version that the table has.
    version       INTEGER NOT NULL DEFAULT 1,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
);

-- A conversation's name is up to 46 bytes ("single_{lo}_{hi}"); messages and members carry the number
-- instead, which saves about 80 bytes a message (row and index) at 150 bytes of content.
CREATE TABLE conversations (
    conversation_ref INTEGER PRIMARY KEY,
    conversation_id  TEXT    NOT NULL UNIQUE,
    type             INTEGER NOT NULL,
    -- Groups only.
    group_id         INTEGER,
    last_seq         INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
);

-- A heap by message id: ids rise with time, so inserts go to the right edge of the tree.
CREATE TABLE messages (
    message_id       INTEGER PRIMARY KEY,
    conversation_ref INTEGER NOT NULL,
    seq_id           INTEGER NOT NULL,
    sender_id        INTEGER NOT NULL,
    message_type     INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    client_msg_id    TEXT    NOT NULL,
    content          TEXT    NOT NULL,
    UNIQUE (conversation_ref, seq_id)
);

-- Which (conversation, sender, client message id) are stored, by a 64-bit hash. A hit says "perhaps": the
-- message's row is compared. Different messages with one hash go to message_key_collisions.
CREATE TABLE message_keys (
    key_hash   INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL
);
CREATE TABLE message_key_collisions (
    key_hash   INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    PRIMARY KEY (key_hash, message_id)
) WITHOUT ROWID;

-- The truth of who may read what: joined_seq < seq <= left_seq (no left_seq: still a member). The read
-- pointer lives here too, since a save moves the sender's pointer and would else touch one more page.
-- By user first: a connecting device asks for all conversations of its user.
CREATE TABLE conversation_members (
    user_id          INTEGER NOT NULL,
    conversation_ref INTEGER NOT NULL,
    joined_seq       INTEGER NOT NULL,
    left_seq         INTEGER,
    read_seq         INTEGER NOT NULL,
    joined_at        INTEGER NOT NULL,
    left_at          INTEGER,
    PRIMARY KEY (user_id, conversation_ref)
) WITHOUT ROWID;

CREATE TABLE "groups" (
    group_id     INTEGER PRIMARY KEY,
    group_name   TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    owner_id     INTEGER NOT NULL,
    member_count INTEGER NOT NULL,
    max_members  INTEGER NOT NULL,
    group_type   INTEGER NOT NULL,
    -- Raised by every membership change, in its transaction.
    version      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
);

CREATE TABLE group_members (
    group_id  INTEGER NOT NULL,
    user_id   INTEGER NOT NULL,
    role      INTEGER NOT NULL,
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (group_id, user_id)
) WITHOUT ROWID;

CREATE TABLE refresh_tokens (
    token_hash     BLOB    NOT NULL PRIMARY KEY,
    family_id      INTEGER NOT NULL,
    user_id        INTEGER NOT NULL,
    device_id      TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    -- Set when the token was exchanged.
    successor_hash BLOB,
    rotated_at     INTEGER
) WITHOUT ROWID;
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);

CREATE TABLE meta (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
-- Raised when older data is restored: clients then drop what they kept.
INSERT INTO meta (name, value) VALUES ('epoch', 1);

-- The conversation that everybody is in (type 3).
INSERT INTO conversations (conversation_ref, conversation_id, type, last_seq, created_at, updated_at)
VALUES (1, 'world', 3, 0, 0, 0);
