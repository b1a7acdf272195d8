//! The control socket: how an operator's commands reach the server that runs on a data folder.
//!
//! It is a gRPC server on a Unix socket in the data folder. Who may look into that folder may give orders; nobody else
//! can reach it.
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use gochat_infra::errors::Error;
use gochat_infra::shutdown::Shutdown;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};

/// The socket's name in the data folder.
const NAME: &str = "control.sock";

/// Longest path of a Unix socket on Linux (`sun_path` without its end).
const PATH_MAX_BYTES: usize = 107;

/// A way to the socket that the system takes, and what must stay open as long as it is used.
struct Way {
    path: PathBuf,
    _folder: Option<File>,
}

/// A path that is too long is reached through its open folder.
fn way_to(root: &Path) -> io::Result<Way> {
    let path = root.join(NAME);
    if path.as_os_str().len() <= PATH_MAX_BYTES {
        return Ok(Way { path, _folder: None });
    }
    let folder = File::open(root)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()));
    Ok(Way { path, _folder: Some(folder) })
}

/// The listening socket.
pub(crate) struct Control {
    task: JoinHandle<()>,
    file: PathBuf,
}

impl Control {
    /// Listens in a data folder until the shutdown is requested. The caller holds the folder's lock, so a socket
    /// that is there belongs to nobody any more.
    pub(crate) fn listen(root: &Path, routes: Routes, shutdown: Shutdown) -> Result<Control> {
        let listener = bind(root)
            .with_context(|| format!("the control socket {} can't be made", root.join(NAME).display()))?;
        let serving = Server::builder()
            .add_routes(routes)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
                shutdown.requested().await
            });
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the control socket ended");
            }
        });
        Ok(Control { task, file: root.join(NAME) })
    }

    /// Waits until the commands under way are answered, and removes the socket.
    pub(crate) async fn join(self) {
        let _ = self.task.await;
        let _ = fs::remove_file(&self.file);
    }
}

fn bind(root: &Path) -> io::Result<UnixListener> {
    let way = way_to(root)?;
    match fs::remove_file(&way.path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&way.path)?;
    fs::set_permissions(&way.path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Reaches the server that runs on a data folder.
///
/// # Errors
/// A sentence, when there is none.
pub(crate) async fn connect(root: &Path) -> Result<Channel> {
    let way = way_to(root);
    let stream = match &way {
        Ok(way) => UnixStream::connect(&way.path).await,
        Err(error) => Err(io::Error::from(error.kind())),
    };
    let stream = stream.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow!(
            "no server runs on the data folder {}; start it, or name another folder with --data",
            root.display()
        ),
        _ => anyhow!(error).context(format!("the server on {} can't be reached", root.display())),
    })?;
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        // A second connection is never made: a command that loses the first one has failed.
        let stream = stream.take().ok_or_else(|| io::Error::from(ErrorKind::NotConnected));
        async move { stream }
    });
    let channel = Endpoint::from_static("http://control").connect_with_connector(connector).await;
    channel.with_context(|| format!("the server on {} does not answer", root.display()))
}

/// The sentence of a refusal. Of an error inside of the server it says where to look.
pub(crate) fn refusal(status: tonic::Status) -> anyhow::Error {
    anyhow!("{}", Error::from(status).message)
}
