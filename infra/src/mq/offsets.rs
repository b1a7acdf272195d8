//! The small files beside the log: how far each group is done, and the numbers of the topics.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::partition::Partition;
use super::{QueueError, TopicConfig};

/// Group → topic → next offset by partition.
pub(super) type Commits = BTreeMap<String, BTreeMap<String, Vec<u64>>>;

/// What the groups have committed in these partitions.
pub(super) fn collect(partitions: &[Arc<Partition>]) -> Commits {
    let mut commits = Commits::new();
    for partition in partitions {
        for (group, next) in partition.commits() {
            let topics = commits.entry(group.to_string()).or_default();
            let list = topics.entry(partition.tp.topic.to_owned()).or_default();
            let index = partition.tp.partition as usize;
            list.resize(list.len().max(index + 1), 0);
            list[index] = next;
        }
    }
    commits
}

/// Reads the commits. A file that can't be understood counts as empty: everything still in the log is then
/// delivered again, and nothing is lost.
pub(super) fn read(path: &Path) -> Commits {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Commits::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no commits; delivering everything again");
            Commits::new()
        }
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "no commits; delivering everything again");
            Commits::new()
        }),
    }
}

/// Replaces the commits: after a crash there are these or those before.
pub(super) fn write(path: &Path, commits: &Commits) -> io::Result<()> {
    replace(path, &serde_json::to_vec(commits)?)
}

/// The name isn't synced: losing the newest content is fine, losing the content of a name isn't.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // Half a file is of no use to anybody, least of all on a full disk.
        let _ = fs::remove_file(&beside);
    })
}

/// Copies one of these files.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    replace(to, &fs::read(from)?)
}

/// Makes names in a folder safe against power loss.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    super::power_loss::note(dir);
    File::open(dir)?.sync_all()
}

/// Makes a folder, and those above it that are missing, whose names outlive a power loss. Of one that is there the name is
/// synced too: whoever made it may have been killed before he did.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if !dir.is_dir() {
        if !parent.is_dir() {
            make_dir(parent)?;
        }
        fs::create_dir(dir)?;
    }
    sync_dir(parent)
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct TopicFile {
    topics: BTreeMap<String, TopicEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct TopicEntry {
    number: u16,
    partitions: u32,
    kept: bool,
}

/// Gives each durable topic the number under which the log knows it, the same in every run.
///
/// # Errors
/// When a topic that the log knows is gone, has fewer partitions or is kept in another way: its records
/// would silently be out of reach.
pub(super) fn number_topics(path: &Path, topics: &[&TopicConfig]) -> Result<Vec<u16>, QueueError> {
    let io = |what| {
        let path = path.to_owned();
        move |source| QueueError::Io { what, path, source }
    };
    let known: TopicFile = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| QueueError::Damaged {
            path: path.to_owned(),
            at: 0,
            reason: error.to_string(),
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => TopicFile::default(),
        Err(error) => return Err(io("reading")(error)),
    };
    let mut file = TopicFile { topics: known.topics.clone() };
    let mut numbers = Vec::with_capacity(topics.len());
    for topic in topics {
        let kept = matches!(topic.retention, super::Retention::Kept { .. });
        let next = file.topics.values().map(|entry| entry.number + 1).max().unwrap_or(0);
        let entry = file.topics.entry(topic.name.to_owned()).or_insert(TopicEntry {
            number: next,
            partitions: topic.partitions,
            kept,
        });
        if entry.partitions > topic.partitions || entry.kept != kept {
            return Err(QueueError::Config(format!(
                "topic {} has {} partitions in the log and {} in the configuration, or is kept in another way; \
                 it may only grow",
                topic.name, entry.partitions, topic.partitions
            )));
        }
        entry.partitions = topic.partitions;
        numbers.push(entry.number);
    }
    if let Some(gone) = file.topics.keys().find(|name| topics.iter().all(|topic| topic.name != **name)) {
        return Err(QueueError::Config(format!("the log holds topic {gone}, which is not configured")));
    }
    if file != known {
        let bytes = serde_json::to_vec_pretty(&file).map_err(|error| io("writing")(error.into()))?;
        replace(path, &bytes).map_err(io("writing"))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        sync_dir(dir).map_err(io("syncing"))?;
    }
    Ok(numbers)
}
