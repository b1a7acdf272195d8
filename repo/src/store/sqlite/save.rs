//! Saving messages: every conversation of every call in the group is judged by itself, in order, and what
//! passes is inserted with a handful of statements.
//!
//! Judging first and inserting plainly afterwards is safe because the writer is alone: between the reads and
//! the inserts of one transaction nobody else can write. The unique keys stay as the last fence: if they
//! ever refuse, the whole transaction fails and nothing of it stays.
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use gochat_proto::common::v1::Message;
use gochat_proto::repo::v1::{ConversationBatch, ConversationType, SaveOutcome};
use sqlx::sqlite::SqliteConnection;

use super::messages::rows_by_hash;
use super::rows::{AddAll as _, insert_all, json_numbers, json_texts, optional, signed, text, unsigned};
use crate::store::conversation_id::ConversationId;
use crate::store::message_key::KeyHash;
use crate::store::{Result, refuse};

/// What identifies a message for its sender.
type Key<'a> = (&'a str, u64, &'a str);

/// A conversation as it stands within the transaction.
struct State {
    /// None: a single conversation that its first message will begin.
    reference: Option<i64>,
    last_seq: u64,
    group_version: Option<u64>,
}

/// What the database holds of the messages that are to be saved.
struct Stored {
    message_ids: HashSet<u64>,
    /// The messages that have the hashes which are asked for: the same messages or others.
    by_hash: HashMap<i64, Vec<Message>>,
}

struct NewMessage<'a> {
    message: &'a Message,
    hash: i64,
    /// Another message has this hash already.
    collides: bool,
}

/// Judges and saves; the outcomes are those of the requests' batches, in their order. The caller has
/// checked the form of the batches (ids, dense seqs, no key twice in one batch).
///
/// # Errors
/// The database failed; the transaction must then be rolled back.
pub(super) async fn save(
    conn: &mut SqliteConnection,
    key_hash: KeyHash,
    requests: &[&[ConversationBatch]],
) -> Result<Vec<Vec<SaveOutcome>>> {
    let batches: Vec<&ConversationBatch> = requests.iter().copied().flatten().collect();
    let hashes: Vec<Vec<i64>> = batches
        .iter()
        .map(|batch| {
            let of = |m: &Message| key_hash(&batch.conversation_id, m.sender_id, &m.client_msg_id);
            batch.messages.iter().map(of).collect()
        })
        .collect();
    let mut states = read_states(conn, &batches).await?;
    let stored = read_stored(conn, &batches, &hashes).await?;

    let mut judge = Judge::new(&stored);
    let outcomes: Vec<SaveOutcome> =
        batches.iter().zip(&hashes).map(|(batch, hashes)| judge.judge(&mut states, batch, hashes)).collect();
    let accepted = judge.accepted;
    if !accepted.is_empty() {
        begin_singles(conn, &mut states, &accepted).await?;
        insert(conn, &states, accepted).await?;
    }

    let mut outcomes = outcomes.into_iter();
    Ok(requests.iter().map(|request| outcomes.by_ref().take(request.len()).collect()).collect())
}

/// The states of the conversations that exist or may begin; others are absent.
async fn read_states<'a>(
    conn: &mut SqliteConnection,
    batches: &[&'a ConversationBatch],
) -> Result<HashMap<&'a str, State>> {
    let mut missing: HashSet<&str> = batches.iter().map(|batch| &batch.conversation_id[..]).collect();
    let rows = sqlx::query(
        "SELECT c.conversation_id, c.conversation_ref, c.last_seq, g.version FROM json_each(?) AS j \
         CROSS JOIN conversations AS c ON c.conversation_id = j.value \
         LEFT JOIN \"groups\" AS g ON g.group_id = c.group_id",
    )
    .bind(json_texts(missing.iter().copied()))
    .fetch_all(&mut *conn)
    .await
    .map_err(refuse::database)?;
    let mut states = HashMap::with_capacity(missing.len());
    for row in &rows {
        let name = text(row, 0);
        let Some(name) = missing.take(&name[..]) else { continue };
        let state = State {
            reference: Some(signed(row, 1)),
            last_seq: unsigned(row, 2),
            group_version: optional(row, 3),
        };
        states.insert(name, state);
    }
    add_beginning_singles(conn, missing, &mut states).await?;
    Ok(states)
}

/// A single conversation may begin when both its users exist.
async fn add_beginning_singles<'a>(
    conn: &mut SqliteConnection,
    missing: HashSet<&'a str>,
    states: &mut HashMap<&'a str, State>,
) -> Result<()> {
    let singles: Vec<(&str, u64, u64)> = missing
        .into_iter()
        .filter_map(|name| match ConversationId::parse(name)? {
            ConversationId::Single(lo, hi) => Some((name, lo, hi)),
            _ => None,
        })
        .collect();
    if singles.is_empty() {
        return Ok(());
    }
    let users = json_numbers(singles.iter().flat_map(|(_, lo, hi)| [lo, hi]));
    let known: HashSet<u64> =
        sqlx::query("SELECT u.user_id FROM json_each(?) AS j CROSS JOIN users AS u ON u.user_id = j.value")
            .bind(users)
            .fetch_all(&mut *conn)
            .await
            .map_err(refuse::database)?
            .iter()
            .map(|row| unsigned(row, 0))
            .collect();
    for (name, lo, hi) in singles {
        if known.contains(&lo) && known.contains(&hi) {
            states.insert(name, State { reference: None, last_seq: 0, group_version: None });
        }
    }
    Ok(())
}

async fn read_stored(
    conn: &mut SqliteConnection,
    batches: &[&ConversationBatch],
    hashes: &[Vec<i64>],
) -> Result<Stored> {
    let ids = json_numbers(batches.iter().flat_map(|batch| &batch.messages).map(|m| m.message_id));
    let message_ids = sqlx::query(
        "SELECT m.message_id FROM json_each(?) AS j CROSS JOIN messages AS m ON m.message_id = j.value",
    )
    .bind(ids)
    .fetch_all(&mut *conn)
    .await
    .map_err(refuse::database)?
    .iter()
    .map(|row| unsigned(row, 0))
    .collect();
    let rows = rows_by_hash(conn, json_numbers(hashes.iter().flatten())).await?;
    let mut by_hash: HashMap<i64, Vec<Message>> = HashMap::new();
    for (hash, message) in rows {
        by_hash.entry(hash).or_default().push(message);
    }
    Ok(Stored { message_ids, by_hash })
}

struct Judge<'a> {
    stored: &'a Stored,
    /// What this transaction has accepted so far counts like what is stored.
    ids: HashSet<u64>,
    hashes: HashSet<i64>,
    keys: HashSet<Key<'a>>,
    accepted: Vec<(&'a ConversationBatch, Vec<NewMessage<'a>>)>,
}

impl<'a> Judge<'a> {
    fn new(stored: &'a Stored) -> Self {
        let (ids, hashes, keys) = (HashSet::new(), HashSet::new(), HashSet::new());
        Self { stored, ids, hashes, keys, accepted: Vec::new() }
    }

    fn judge(
        &mut self,
        states: &mut HashMap<&'a str, State>,
        batch: &'a ConversationBatch,
        hashes: &[i64],
    ) -> SaveOutcome {
        let Some(state) = states.get_mut(&batch.conversation_id[..]) else {
            return SaveOutcome::NoConversation;
        };
        if state.last_seq != batch.expected_last_seq {
            return SaveOutcome::StaleSeq;
        }
        if batch.group_version.is_some_and(|version| state.group_version.is_some_and(|now| now != version)) {
            return SaveOutcome::StaleVersion;
        }
        if batch.messages.iter().zip(hashes).any(|(message, hash)| self.is_duplicate(message, *hash)) {
            return SaveOutcome::Duplicate;
        }
        let taken = |id| self.stored.message_ids.contains(id) || self.ids.contains(id);
        if batch.messages.iter().any(|message| taken(&message.message_id)) {
            return SaveOutcome::IdConflict;
        }
        state.last_seq += batch.messages.len() as u64;
        let new = batch.messages.iter().zip(hashes).map(|(message, &hash)| {
            self.ids.insert(message.message_id);
            self.keys.insert(key_of(message));
            let collides = !self.hashes.insert(hash) || self.stored.by_hash.contains_key(&hash);
            NewMessage { message, hash, collides }
        });
        self.accepted.push((batch, new.collect()));
        SaveOutcome::Saved
    }

    /// A hash that is found says only "perhaps"; the message itself is compared.
    fn is_duplicate(&self, message: &Message, hash: i64) -> bool {
        let stored =
            self.stored.by_hash.get(&hash).into_iter().flatten().any(|m| key_of(m) == key_of(message));
        stored || self.keys.contains(&key_of(message))
    }
}

fn key_of(message: &Message) -> Key<'_> {
    (&message.conversation_id, message.sender_id, &message.client_msg_id)
}

/// Makes the single conversations whose first messages were accepted, with both members.
async fn begin_singles(
    conn: &mut SqliteConnection,
    states: &mut HashMap<&str, State>,
    accepted: &[(&ConversationBatch, Vec<NewMessage<'_>>)],
) -> Result<()> {
    let mut begun: HashMap<&str, i64> = HashMap::new();
    for (batch, new) in accepted {
        if states.get(&batch.conversation_id[..]).is_some_and(|state| state.reference.is_none()) {
            let at = new.first().map_or(0, |new| new.message.created_at_ms);
            begun.entry(&batch.conversation_id).or_insert(at);
        }
    }
    if begun.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = begun.iter().collect();
    let rows = sqlx::query(
        "INSERT INTO conversations (conversation_id, type, last_seq, created_at, updated_at) \
         SELECT value->>0, ?, 0, value->>1, value->>1 FROM json_each(?) \
         RETURNING conversation_id, conversation_ref",
    )
    .bind(ConversationType::Single as i32)
    .bind(serde_json::to_string(&list).expect("strings and numbers become JSON"))
    .fetch_all(&mut *conn)
    .await
    .map_err(refuse::database)?;
    let mut members: Vec<(i64, i64, i64)> = Vec::with_capacity(2 * rows.len());
    for row in &rows {
        let (name, reference) = (text(row, 0), signed(row, 1));
        let Some(ConversationId::Single(lo, hi)) = ConversationId::parse(&name) else { continue };
        let at = begun.get(&name[..]).copied().unwrap_or(0);
        members.extend([lo, hi].map(|user| (user.cast_signed(), reference, at)));
        if let Some(state) = states.get_mut(&name[..]) {
            state.reference = Some(reference);
        }
    }
    let insert =
        "INSERT INTO conversation_members (user_id, conversation_ref, joined_at, joined_seq, read_seq)";
    insert_all(conn, insert, 5, &members, |&(user, reference, at), arguments| {
        arguments.add_all([user, reference, at, 0, 0])
    })
    .await
}

async fn insert(
    conn: &mut SqliteConnection,
    states: &HashMap<&str, State>,
    accepted: Vec<(&ConversationBatch, Vec<NewMessage<'_>>)>,
) -> Result<()> {
    let mut heads: HashMap<i64, (u64, i64)> = HashMap::with_capacity(accepted.len());
    let mut read: HashMap<(u64, i64), u64> = HashMap::new();
    let mut rows: Vec<(i64, NewMessage)> = Vec::new();
    for (batch, new) in accepted {
        let reference = states.get(&batch.conversation_id[..]).and_then(|state| state.reference);
        let reference =
            reference.ok_or_else(|| refuse::broken("a conversation was accepted but not made"))?;
        for new in new {
            let message = new.message;
            let head = heads.entry(reference).or_default();
            *head = (head.0.max(message.seq_id), head.1.max(message.created_at_ms));
            let pointer = read.entry((message.sender_id, reference)).or_default();
            *pointer = (*pointer).max(message.seq_id);
            rows.push((reference, new));
        }
    }
    // By id, so that the heap grows at its right edge.
    rows.sort_unstable_by_key(|(_, new)| new.message.message_id);
    insert_messages(conn, &rows).await?;
    rows.sort_unstable_by_key(|(_, new)| new.hash);
    insert_keys(conn, &rows).await?;
    move_heads(conn, heads).await?;
    // Who writes has read up to what he wrote.
    let read =
        read.into_iter().map(|((user, reference), seq)| [user.cast_signed(), reference, seq.cast_signed()]);
    move_pointers(conn, read).await
}

async fn insert_messages(conn: &mut SqliteConnection, rows: &[(i64, NewMessage<'_>)]) -> Result<()> {
    let insert = "INSERT INTO messages (message_id, conversation_ref, seq_id, sender_id, message_type, \
                  created_at, client_msg_id, content)";
    insert_all(conn, insert, 8, rows, |(reference, new), arguments| {
        let m = new.message;
        arguments.add_all(
            [m.message_id, reference.cast_unsigned(), m.seq_id, m.sender_id].map(u64::cast_signed),
        )?;
        arguments.add_all([i64::from(m.message_type), m.created_at_ms])?;
        arguments.add_all([&m.client_msg_id[..], &m.content])
    })
    .await
}

async fn insert_keys(conn: &mut SqliteConnection, rows: &[(i64, NewMessage<'_>)]) -> Result<()> {
    let (colliding, first): (Vec<_>, Vec<_>) = rows
        .iter()
        .map(|(_, new)| (new.collides, [new.hash, new.message.message_id.cast_signed()]))
        .partition(|(collides, _)| *collides);
    let insert = "INSERT INTO message_keys (key_hash, message_id)";
    insert_all(conn, insert, 2, &first, |(_, row), arguments| arguments.add_all(*row)).await?;
    let insert = "INSERT INTO message_key_collisions (key_hash, message_id)";
    insert_all(conn, insert, 2, &colliding, |(_, row), arguments| arguments.add_all(*row)).await
}

async fn move_heads(conn: &mut SqliteConnection, heads: HashMap<i64, (u64, i64)>) -> Result<()> {
    let heads = heads.into_iter().map(|(reference, (last, at))| [reference, last.cast_signed(), at]);
    sqlx::query(
        "UPDATE conversations SET last_seq = j.last_seq, updated_at = max(updated_at, j.at) \
         FROM (SELECT value->>0 AS ref, value->>1 AS last_seq, value->>2 AS at FROM json_each(?)) AS j \
         WHERE conversation_ref = j.ref",
    )
    .bind(json_triples(heads))
    .execute(conn)
    .await
    .map_err(refuse::database)?;
    Ok(())
}

/// Moves read pointers, given as user, conversation and seq, forward.
pub(super) async fn move_pointers(
    conn: &mut SqliteConnection,
    pointers: impl Iterator<Item = [i64; 3]>,
) -> Result<()> {
    sqlx::query(
        "UPDATE conversation_members SET read_seq = max(read_seq, j.seq) \
         FROM (SELECT value->>0 AS user, value->>1 AS ref, value->>2 AS seq FROM json_each(?)) AS j \
         WHERE user_id = j.user AND conversation_ref = j.ref",
    )
    .bind(json_triples(pointers))
    .execute(conn)
    .await
    .map_err(refuse::database)?;
    Ok(())
}

/// `[[1,2,3],[4,5,6]]`, in the order of the keys so that the pages of a table are touched in order.
pub(super) fn json_triples(triples: impl Iterator<Item = [i64; 3]>) -> String {
    let mut triples: Vec<_> = triples.collect();
    triples.sort_unstable();
    let mut json = String::from("[");
    for [a, b, c] in triples {
        let comma = if json.len() > 1 { "," } else { "" };
        write!(json, "{comma}[{a},{b},{c}]").expect("a String takes all");
    }
    json.push(']');
    json
}
