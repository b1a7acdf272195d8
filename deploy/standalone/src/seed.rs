//! `gochat seed`: users and messages for load runs, made through repo, without an argon2 hash or a login for each user.
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use gochat_infra::errors::{Code, Error};
use gochat_infra::idgen::IdGen;
use gochat_infra::rpc::Client;
use gochat_infra::telemetry::Metrics;
use gochat_infra::token::{Claims, TokenKeys};
use gochat_proto::common::v1::{Message, MessageType};
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::{
    ConversationBatch, CreateUsersRequest, SaveMessagesRequest, SaveOutcome, User, UserStatus,
};

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::{Place, say, standalone};

/// Users made in one transaction.
const USERS_PER_CALL: usize = 500;
/// Messages stored in one transaction.
const MESSAGES_PER_CALL: u64 = 500;

#[derive(Args)]
pub(crate) struct Seed {
    #[command(flatten)]
    pub(crate) place: Place,
    /// How many users to make
    #[arg(long, value_name = "N")]
    users: usize,
    /// Where to write them: one JSON object a line with userId, username, deviceId and accessToken
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Begin of every name, so that several seeds can share a data folder
    #[arg(long, default_value = "load")]
    prefix: String,
    /// The password that all of them share
    #[arg(long, default_value = "load-test-password")]
    password: String,
    /// Hours until the tokens end
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    token_hours: u32,
    /// Messages to store among these users beforehand, as history; pairs of neighbours in the list
    #[arg(long, default_value_t = 0, value_name = "N")]
    messages: u64,
}

/// Makes the users in the configured data folder, whose server must be stopped.
pub(crate) fn run(config: Config, seed: &Seed) -> Result<()> {
    ensure!(seed.users > 0, "--users must be at least 1");
    ensure!(seed.messages == 0 || seed.users > 1, "--messages needs at least two users");
    let longest = username(seed, seed.users - 1);
    gochat_logic::check_registration(&longest, &email(&longest), &seed.password)
        .map_err(|error| anyhow!("--prefix {:?} or --password: {}", seed.prefix, error.message))?;
    // Before anything is made: without the file the users would be of no use.
    let out = File::create(&seed.out).with_context(|| format!("{} can't be written", seed.out.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let data = DataDir::open(&config.data)?;
        let repo = standalone::open_repo(&config, &data, &Metrics::new()).await?;
        let client = Client::local(repo.routes());
        let keys = standalone::open_keys(&data)?;
        let ids = standalone::open_ids(&data)?;

        let users = make_users(&config, seed, &client, &ids).await?;
        write_tokens(seed, &users, &keys, out)?;
        store_messages(seed.messages, &users, &client, &ids).await?;
        repo.close().await;
        say(&format!(
            "{} users written to {}, {} messages stored",
            users.len(),
            seed.out.display(),
            seed.messages
        ));
        Ok(())
    })
}

fn username(seed: &Seed, number: usize) -> String {
    format!("{}-{number}", seed.prefix)
}

fn email(username: &str) -> String {
    format!("{username}@load.invalid")
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("the clock is before the year 292277026")
}

async fn make_users(config: &Config, seed: &Seed, client: &Client, ids: &IdGen) -> Result<Vec<User>> {
    let hash = gochat_logic::hash_password(&config.logic.auth, &seed.password)?;
    let mut repo = UserRepoClient::new(client.clone());
    let mut users = Vec::with_capacity(seed.users);
    for number in 0..seed.users {
        let username = username(seed, number);
        users.push(User {
            user_id: ids.next()?,
            email: email(&username),
            display_name: username.clone(),
            username,
            password_hash: hash.clone(),
            status: UserStatus::Active.into(),
            created_at_ms: now_ms(),
            ..User::default()
        });
    }
    for chunk in users.chunks(USERS_PER_CALL) {
        repo.create_users(CreateUsersRequest { users: chunk.to_vec() }).await.map_err(|status| {
            let error = Error::from(status);
            match error.code {
                Code::UsernameTaken | Code::EmailTaken => anyhow!(
                    "there are users named {}-… in this data folder already; choose another --prefix",
                    seed.prefix
                ),
                _ => anyhow!("the users can't be stored: {}", error.message),
            }
        })?;
    }
    Ok(users)
}

fn write_tokens(seed: &Seed, users: &[User], keys: &TokenKeys, file: File) -> Result<()> {
    let mut out = BufWriter::new(file);
    let issued_ms = u64::try_from(now_ms()).expect("after 1970");
    for user in users {
        let device = format!("{}-device", user.username);
        let claims = Claims {
            sub: user.user_id,
            device: device.clone(),
            iat_ms: issued_ms,
            exp: issued_ms / 1000 + u64::from(seed.token_hours) * 3600,
        };
        let line = serde_json::json!({
            "userId": user.user_id.to_string(),
            "username": user.username,
            "deviceId": device,
            "accessToken": keys.sign(&claims),
        });
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

/// History in rounds: in each round every pair gets one message, so that the pairs' rows lie mixed as they
/// would after real use.
async fn store_messages(messages: u64, users: &[User], client: &Client, ids: &IdGen) -> Result<()> {
    let pairs = (users.len() / 2) as u64;
    let mut repo = MessageRepoClient::new(client.clone());
    let mut batch: Vec<ConversationBatch> = Vec::new();
    for number in 0..messages {
        let (round, pair) = (number / pairs, number % pairs);
        let (a, b) = (&users[pair as usize * 2], &users[pair as usize * 2 + 1]);
        let (low, high) = (a.user_id.min(b.user_id), a.user_id.max(b.user_id));
        let conversation_id = format!("single_{low}_{high}");
        let message = Message {
            message_id: ids.next()?,
            conversation_id: conversation_id.clone(),
            sender_id: if round % 2 == 0 { a.user_id } else { b.user_id },
            content: format!(
                "Stored beforehand, number {round} of this conversation, of the usual length of a message."
            ),
            message_type: MessageType::Text.into(),
            seq_id: round + 1,
            client_msg_id: format!("seed-{round}"),
            created_at_ms: now_ms(),
        };
        batch.push(ConversationBatch {
            conversation_id,
            expected_last_seq: round,
            group_version: None,
            messages: vec![message],
        });
        // A conversation may stand only once in a call, so a call never spans two rounds.
        if batch.len() as u64 == MESSAGES_PER_CALL || pair + 1 == pairs || number + 1 == messages {
            let answer = repo
                .save_messages(SaveMessagesRequest { conversations: std::mem::take(&mut batch) })
                .await
                .map_err(|status| anyhow!("the messages can't be stored: {}", Error::from(status).message))?;
            let saved = SaveOutcome::Saved as i32;
            ensure!(answer.into_inner().outcomes.iter().all(|o| *o == saved), "a message was not stored");
        }
    }
    Ok(())
}
