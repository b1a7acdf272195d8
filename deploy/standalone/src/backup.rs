//! A backup of a running server, and how it becomes a data folder again.
//!
//! What was acknowledged before the backup began is in it: the queue is copied as of one fsynced moment, then the
//! store. A message that is in both is found by its key when it is consumed again. The manifest comes last, so that
//! a backup that was broken off is none.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use gochat_infra::errors::{Code, Error};
use gochat_infra::mq::Queue;
use gochat_infra::rpc::Client;
use gochat_proto::admin::v1::backup_service_server::BackupService;
use gochat_proto::admin::v1::{BackupRequest, BackupResponse};
use gochat_proto::repo::v1::CopyStoreRequest;
use gochat_proto::repo::v1::store_repo_client::StoreRepoClient;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use crate::control::Commands;
use crate::data_dir::{DataDir, LAYOUT_VERSION, sync_dir};
use crate::{Place, config, say};

const MANIFEST: &str = "manifest.json";

/// What makes a folder a whole backup.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Layout of the data folder that it was made of.
    layout: u32,
    /// When it was made, in milliseconds since 1970.
    made_at_ms: u64,
    /// By path in the folder.
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    crc32: u32,
}

/// BackupService of a running server.
#[derive(Clone)]
pub(crate) struct Backups {
    pub(crate) data: DataDir,
    pub(crate) queue: Queue,
    /// The way to repo, with the time that a copy of the store may take.
    pub(crate) repo: Client,
    /// A backup is one of them although its client has gone: a stop waits for it, and ends it.
    pub(crate) commands: Commands,
    pub(crate) one_at_a_time: Arc<Mutex<()>>,
}

#[tonic::async_trait]
impl BackupService for Backups {
    async fn backup(&self, request: Request<BackupRequest>) -> Result<Response<BackupResponse>, Status> {
        let dir = PathBuf::from(request.into_inner().dir);
        let Ok(alone) = self.one_at_a_time.clone().try_lock_owned() else {
            return Err(Error::new(Code::Overloaded, "a backup is being made already").into());
        };
        let dir = self.check(&dir).map_err(|error| Error::invalid(format!("{error:#}")))?;
        let (backups, under_way) = (self.clone(), self.commands.begin());
        // In a task of its own: a client that goes away leaves a whole backup or none, never a part.
        let made = tokio::spawn(async move {
            let _until_its_end = (under_way, alone);
            backups.make(&dir).await
        });
        let made = made.await.map_err(Error::internal)?;
        let refused =
            |error: anyhow::Error| Error::new(Code::Unavailable, format!("no backup was made: {error:#}"));
        Ok(Response::new(made.map_err(refused)?))
    }
}

impl Backups {
    /// Nothing may be overwritten, and the data folder is no place for its own backup. Answers the folder's place
    /// without links.
    fn check(&self, dir: &Path) -> Result<PathBuf> {
        ensure!(dir.is_absolute(), "{} is not an absolute path", dir.display());
        let data = fs::canonicalize(self.data.root())?;
        let place = resolve(dir)?;
        ensure!(!place.starts_with(&data), "{} is in the data folder; name another place", dir.display());
        ensure!(
            is_free(&place)?,
            "{} is not empty; a backup is written to an empty or new folder",
            dir.display()
        );
        Ok(place)
    }

    /// Writes it all, or leaves nothing.
    async fn make(&self, dir: &Path) -> Result<BackupResponse> {
        let made = tokio::select! {
            made = self.write(dir) => made,
            () = self.commands.cut() => Err(anyhow!("the server stops")),
        };
        match &made {
            Ok(done) => {
                tracing::info!(dir = %dir.display(), files = done.files, bytes = done.bytes, "backup made");
            }
            Err(error) => {
                tracing::error!(dir = %dir.display(), error = format!("{error:#}"), "no backup was made");
                if let Err(error) = remove(dir) {
                    let dir = dir.display();
                    tracing::error!(%error, %dir, "a part of a backup can't be removed; it holds signing keys");
                }
            }
        }
        made
    }

    async fn write(&self, dir: &Path) -> Result<BackupResponse> {
        let (backups, to) = (self.clone(), dir.to_owned());
        tokio::task::spawn_blocking(move || backups.write_files(&to)).await??;
        let path = dir.join("gochat.db").to_str().context("the name of the folder must be UTF-8")?.to_owned();
        let copied = StoreRepoClient::new(self.repo.clone()).copy_store(CopyStoreRequest { path }).await;
        copied.map_err(|status| anyhow!("the store: {}", Error::from(status).message))?;
        // Last of all: it is above every id in the copies. Until the first one was drawn there is none.
        if self.data.ids().exists() {
            copy(&self.data.ids(), &dir.join("ids"))?;
        }
        let dir = dir.to_owned();
        tokio::task::spawn_blocking(move || finish(&dir)).await?
    }

    /// All but the store, and what has to be copied after it.
    fn write_files(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("{} can't be made", dir.display()))?;
        for file in [self.data.keys(), self.data.refresh_secret()] {
            copy(&file, &dir.join(file.file_name().unwrap_or_default()))?;
        }
        self.queue.copy_to(&dir.join("queue"))?;
        Ok(())
    }
}

/// Removes the folder of a backup that was given up. It was new or empty: all in it is ours. Where the folder itself
/// has to stay, as a mount point has, it is left empty.
fn remove(dir: &Path) -> std::io::Result<()> {
    // A copy that can't be stopped may still be at work there; it fails once it finds its folder gone.
    let mut tries = 100;
    loop {
        tries -= 1;
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && tries > 0 => {}
            Err(_) if is_free(dir).is_ok_and(|free| free) => return Ok(()),
            done => return done,
        }
    }
}

/// Sums everything up in the manifest.
fn finish(dir: &Path) -> Result<BackupResponse> {
    let mut files = BTreeMap::new();
    for path in files_below(dir)? {
        let entry = sum(&path, &mut std::io::sink())?;
        let name = path.strip_prefix(dir)?.to_str().context("a file's name is not UTF-8")?.to_owned();
        files.insert(name, entry);
    }
    let done =
        BackupResponse { bytes: files.values().map(|entry| entry.bytes).sum(), files: files.len() as u64 };
    let manifest = Manifest { layout: LAYOUT_VERSION, made_at_ms: now_ms(), files };
    let beside = dir.join("manifest.tmp");
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(MANIFEST))?;
    sync_dir(dir)?;
    if let Some(parent) = dir.parent() {
        sync_dir(parent)?;
    }
    Ok(done)
}

#[derive(Args)]
pub(crate) struct Restore {
    /// What `gochat backup` wrote
    dir: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Makes a new data folder of a backup, with a raised epoch: clients then drop what they have and sync.
pub(crate) fn restore(restore: &Restore) -> Result<()> {
    let config = config::for_command(&restore.place)?;
    let manifest = read_manifest(&restore.dir)?;
    ensure!(
        is_free(&config.data)?,
        "{} is not empty; a backup is restored to an empty or new data folder only",
        config.data.display()
    );
    let data = DataDir::begin_restore(&config.data)?;
    for (name, entry) in &manifest.files {
        let (from, to) = (restore.dir.join(name), data.root().join(name));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&to).with_context(|| format!("{} can't be written", to.display()))?;
        let found = sum(&from, &mut file)?;
        ensure!(
            found == *entry,
            "{} is not what was backed up: it is damaged; use another backup",
            from.display()
        );
        file.sync_all().with_context(|| format!("{} can't be synced", to.display()))?;
    }
    for name in manifest.files.keys() {
        sync_dir(data.root().join(name).parent().unwrap_or(data.root()))?;
    }
    let store = data.store();
    let epoch = super::wait_for(async {
        gochat_repo::raise_epoch(&store, now_ms()).await.map_err(|error| anyhow!("{}", error.message))
    })?;
    data.end_restore()?;
    say(&format!(
        "{} files restored to {}; the epoch is {epoch}",
        manifest.files.len(),
        config.data.display()
    ));
    Ok(())
}

fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    let text = match fs::read(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => bail!(
            "{} is not a whole backup: it has no {MANIFEST}, which is written last; use another backup",
            dir.display()
        ),
        read => read.with_context(|| format!("{} can't be read", path.display()))?,
    };
    let damaged = || format!("{} is damaged; use another backup", path.display());
    // The rest of a newer manifest may look otherwise.
    #[derive(Deserialize)]
    struct Version {
        layout: u32,
    }
    let Version { layout } = serde_json::from_slice(&text).with_context(damaged)?;
    ensure!(
        layout <= LAYOUT_VERSION,
        "{} was made by a newer gochat (layout {layout}, this one knows {LAYOUT_VERSION}); restore it with that version",
        dir.display()
    );
    let manifest: Manifest = serde_json::from_slice(&text).with_context(damaged)?;
    let plain = |name: &str| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(manifest.files.keys().all(|name| plain(name)), "{}: a file lies outside", damaged());
    Ok(manifest)
}

/// Where a folder is or would be made: what exists of its path is taken without links, the rest as it stands.
fn resolve(dir: &Path) -> Result<PathBuf> {
    for existing in dir.ancestors() {
        let mut place = match fs::canonicalize(existing) {
            Ok(place) => place,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("{} can't be used", dir.display())),
        };
        let rest = dir.strip_prefix(existing)?;
        let plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(plain, "{} goes through a folder that does not exist; name it without ..", dir.display());
        // Joined to nothing, a path would get a slash at its end.
        place.extend(rest);
        return Ok(place);
    }
    bail!("{} is not an absolute path", dir.display())
}

/// Whether nothing is there, or an empty folder.
fn is_free(dir: &Path) -> Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("{} can't be used as a folder", dir.display())),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut file = File::create_new(to).with_context(|| format!("{} can't be made", to.display()))?;
    sum(from, &mut file)?;
    file.sync_all().with_context(|| format!("{} can't be synced", to.display()))
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![dir.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    Ok(files)
}

/// Copies a file, and sums it up on the way.
fn sum(from: &Path, to: &mut impl Write) -> Result<Entry> {
    let mut file = File::open(from).with_context(|| format!("{} can't be read", from.display()))?;
    let (mut hasher, mut bytes, mut buffer) = (crc32fast::Hasher::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("{} can't be read", from.display()))?;
        if read == 0 {
            return Ok(Entry { bytes, crc32: hasher.finalize() });
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read]).with_context(|| format!("the copy of {}", from.display()))?;
        bytes += read as u64;
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
