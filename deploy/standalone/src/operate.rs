//! The commands that a running server answers: accounts, dead letters, keys, backups.
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use gochat_proto::admin::v1::backup_service_client::BackupServiceClient;
use gochat_proto::admin::v1::key_service_client::KeyServiceClient;
use gochat_proto::admin::v1::{BackupRequest, RotateKeysRequest};
use gochat_proto::logic::v1::account_service_client::AccountServiceClient;
use gochat_proto::logic::v1::{BanUserRequest, UnbanUserRequest};
use gochat_proto::task::v1::dead_letter_service_client::DeadLetterServiceClient;
use gochat_proto::task::v1::{
    GetDeadLetterRequest, ListDeadLettersRequest, PlacedDeadLetter, ReplayDeadLetterRequest,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::control::{connect, refusal};
use crate::{Place, config, printable, say};

/// gochat.dead-letter has one partition here.
const PARTITION: u32 = 0;

#[derive(Args)]
pub(crate) struct Users {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Subcommand)]
enum UsersCommand {
    /// End every token and socket of a user, who can't log in until he is unbanned
    Ban(User),
    /// Let a banned user log in again
    Unban(User),
}

#[derive(Args)]
struct User {
    /// The user's name
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Subcommand)]
enum DeadLettersCommand {
    /// The records that could never succeed, oldest first
    List {
        /// The first number to show
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many to show at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// One of them with all that it holds
    Show {
        /// Its number, as `list` shows it
        number: u64,
        #[command(flatten)]
        output: Output,
    },
    /// Put one back on the topic that it came from; harmless when done twice
    Replay {
        /// Its number, as `list` shows it
        number: u64,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
struct Output {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Sign with a new key from now on; the present one goes on verifying, an older one is dropped
    Rotate {
        /// Drop the older key even while its tokens may be good: their holders must refresh
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
pub(crate) struct Backup {
    /// An empty or new folder on the server's machine
    dir: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Place {
    /// The server that runs on this place's data folder.
    async fn server(&self) -> Result<Channel> {
        connect(&config::for_command(self)?.data).await
    }
}

pub(crate) fn users(users: &Users) -> Result<()> {
    super::wait_for(async {
        match &users.command {
            UsersCommand::Ban(User { name, place }) => {
                let mut accounts = AccountServiceClient::new(place.server().await?);
                let request = BanUserRequest { username: name.clone() };
                let done = accounts.ban_user(request).await.map_err(refusal)?.into_inner();
                match done.changed {
                    true => say(&format!("{name} is banned; every token of this user has ended")),
                    false => say(&format!("{name} was banned already")),
                }
            }
            UsersCommand::Unban(User { name, place }) => {
                let mut accounts = AccountServiceClient::new(place.server().await?);
                let request = UnbanUserRequest { username: name.clone() };
                let done = accounts.unban_user(request).await.map_err(refusal)?.into_inner();
                match done.changed {
                    true => say(&format!("{name} may log in again")),
                    false => say(&format!("{name} was not banned")),
                }
            }
        }
        Ok(())
    })
}

pub(crate) fn dead_letters(letters: &DeadLetters) -> Result<()> {
    super::wait_for(async {
        match &letters.command {
            DeadLettersCommand::List { from, limit, output } => list(*from, *limit, output).await,
            DeadLettersCommand::Show { number, output } => show(*number, output).await,
            DeadLettersCommand::Replay { number, output } => replay(*number, output).await,
        }
    })
}

async fn list(from: u64, limit: u32, output: &Output) -> Result<()> {
    let mut client = DeadLetterServiceClient::new(output.place.server().await?);
    let request = ListDeadLettersRequest { partition: PARTITION, from_offset: from, limit };
    let page = client.list_dead_letters(request).await.map_err(refusal)?.into_inner();
    for placed in &page.letters {
        match output.json {
            true => say(&printable::json(&as_json(placed, false))),
            false => say(&as_line(placed)),
        }
    }
    if !output.json {
        match (page.letters.is_empty(), page.has_more) {
            (_, true) => say(&format!("there are more: --from {}", page.next_offset)),
            (true, false) => say("there are no dead letters"),
            (false, false) => {}
        }
    }
    Ok(())
}

async fn show(number: u64, output: &Output) -> Result<()> {
    let mut client = DeadLetterServiceClient::new(output.place.server().await?);
    let request = GetDeadLetterRequest { partition: PARTITION, offset: number };
    let found = client.get_dead_letter(request).await.map_err(refusal)?.into_inner();
    let placed = found.dead_letter.unwrap_or_default();
    if output.json {
        say(&printable::json(&as_json(&placed, true)));
        return Ok(());
    }
    let letter = placed.letter.clone().unwrap_or_default();
    say(&as_line(&placed));
    let topic = printable::text(&letter.topic);
    say(&format!("from   {topic}/{} at {}", letter.partition, letter.offset));
    say(&format!("key    {}", letter.key.escape_ascii()));
    say(&format!("value  {}", letter.value.escape_ascii()));
    Ok(())
}

async fn replay(number: u64, output: &Output) -> Result<()> {
    let mut client = DeadLetterServiceClient::new(output.place.server().await?);
    let request = ReplayDeadLetterRequest { partition: PARTITION, offset: number };
    let done = client.replay_dead_letter(request).await.map_err(refusal)?.into_inner();
    match output.json {
        true => {
            let to = json!({"topic": done.topic, "partition": done.partition, "offset": done.offset});
            say(&json!({"number": number, "to": to}).to_string());
        }
        false => say(&format!("{number} is on {}/{} again, at {}", done.topic, done.partition, done.offset)),
    }
    Ok(())
}

fn as_line(placed: &PlacedDeadLetter) -> String {
    let letter = placed.letter.clone().unwrap_or_default();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let ago_s = now_ms.saturating_sub(letter.failed_at_ms).max(0) / 1000;
    let (topic, error) = (printable::text(&letter.topic), printable::text(&letter.error));
    format!("{}  {topic}  {ago_s} s ago  {error}", placed.offset)
}

fn as_json(placed: &PlacedDeadLetter, value: bool) -> Value {
    let letter = placed.letter.clone().unwrap_or_default();
    let mut json = json!({
        "number": placed.offset,
        "error": letter.error,
        "failedAt": letter.failed_at_ms,
        "from": {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset},
        "keyBase64": STANDARD.encode(&letter.key),
    });
    if value {
        json["valueBase64"] = STANDARD.encode(&letter.value).into();
    }
    json
}

pub(crate) fn keys(keys: &Keys) -> Result<()> {
    let KeysCommand::Rotate { force, place } = &keys.command;
    super::wait_for(async {
        let mut client = KeyServiceClient::new(place.server().await?);
        let done =
            client.rotate_keys(RotateKeysRequest { force: *force }).await.map_err(refusal)?.into_inner();
        let dropped = done.dropped_kid.map(|kid| format!("; {kid} is dropped")).unwrap_or_default();
        say(&format!("{} signs from now on, {} still verifies{dropped}", done.signs_kid, done.verifies_kid));
        Ok(())
    })
}

pub(crate) fn backup(backup: &Backup) -> Result<()> {
    // The server stands in another folder.
    let dir = std::path::absolute(&backup.dir).context("the present folder is gone")?;
    let text = dir.to_str().context("the name of the folder must be UTF-8")?;
    super::wait_for(async {
        let mut client = BackupServiceClient::new(backup.place.server().await?);
        let done = client.backup(BackupRequest { dir: text.to_owned() }).await.map_err(refusal)?.into_inner();
        say(&format!("{} files with {} bytes written to {}", done.files, done.bytes, dir.display()));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gochat_proto::queue::v1::DeadLetter;

    #[test]
    fn a_dead_letter_can_not_write_on_the_terminal_what_it_likes() {
        let letter = DeadLetter {
            topic: "gochat.upstream".into(),
            error: "no user \u{1b}[2J\n7  gochat.tasks".into(),
            ..DeadLetter::default()
        };
        let placed = PlacedDeadLetter { partition: 0, offset: 3, letter: Some(letter) };
        for line in [as_line(&placed), printable::json(&as_json(&placed, true))] {
            assert!(line.starts_with("3  gochat.upstream") || line.starts_with('{'), "{line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}
