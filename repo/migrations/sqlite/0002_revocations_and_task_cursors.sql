-- Access tokens that end before their time: those of a user (of one device, or of all when it is empty) that
-- were issued until a moment. AUTOINCREMENT since a reader asks for what follows the highest id it has seen,
-- so the id of a purged row must not come back.
CREATE TABLE revocations (
    revocation_id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id       INTEGER NOT NULL,
    device_id     TEXT    NOT NULL,
    issued_until  INTEGER NOT NULL,
    reason        INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL
);
CREATE INDEX revocations_expiry ON revocations (expires_at);

-- How far a task that works in pages has come.
CREATE TABLE task_cursors (
    task_id    TEXT    NOT NULL PRIMARY KEY,
    cursor     INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
