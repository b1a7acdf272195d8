//! The control socket: how an operator's commands reach the server that runs on a data folder.
//!
//! It is a gRPC server on a Unix socket in the data folder. Who may look into that folder may give orders; nobody else
//! can reach it.
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use gochat_infra::errors::{Code, Error};
use gochat_infra::shutdown::Shutdown;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};

/// The socket's name in the data folder.
const NAME: &str = "control.sock";

/// How long a stop waits for connections that nothing is asked on any more. Their last answers are sent by then.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

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

/// The commands under way; clones share them. A connection that asks for nothing is none of them.
#[derive(Clone)]
pub(crate) struct Commands {
    under_way: watch::Sender<usize>,
    /// No further ones are taken.
    end: Shutdown,
    /// Those under way are given up.
    cut: Shutdown,
}

impl Commands {
    pub(crate) fn new() -> Commands {
        Commands { under_way: watch::Sender::new(0), end: Shutdown::new(), cut: Shutdown::new() }
    }

    /// Counts one that a stop has to wait for, until what is returned is dropped.
    pub(crate) fn begin(&self) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(self.under_way.clone())
    }

    /// Waits until those under way are given up.
    pub(crate) async fn cut(&self) {
        self.cut.requested().await;
    }

    async fn none_under_way(&self) {
        // The sender lives in self, so the wait can't fail.
        let _ = self.under_way.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One command, counted until it is dropped.
pub(crate) struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

async fn run(State(commands): State<Commands>, request: Request, next: Next) -> Response {
    let _under_way = commands.begin();
    let refused = |sentence| Status::from(Error::new(Code::Unavailable, sentence)).into_http();
    // After it was counted: the stop sees it, or it sees the stop.
    if commands.end.is_requested() {
        return refused("the server stops; nothing was done");
    }
    tokio::select! {
        answer = next.run(request) => answer,
        () = commands.cut() => refused("the server stopped before this was done"),
    }
}

/// The listening socket.
pub(crate) struct Control {
    task: JoinHandle<()>,
    file: PathBuf,
    commands: Commands,
}

impl Control {
    /// Listens in a data folder until [`Control::end`]. The caller holds the folder's lock, so a socket that is
    /// there belongs to nobody any more.
    pub(crate) fn listen(root: &Path, routes: Routes, commands: Commands) -> Result<Control> {
        let listener = bind(root)
            .with_context(|| format!("the control socket {} can't be made", root.join(NAME).display()))?;
        let end = commands.end.clone();
        let counted = routes.into_axum_router().layer(from_fn_with_state(commands.clone(), run));
        let serving =
            Server::builder()
                .add_routes(Routes::from(counted))
                .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
                    end.requested().await
                });
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the control socket ended");
            }
        });
        Ok(Control { task, file: root.join(NAME), commands })
    }

    /// Takes no further command, waits this long for those under way and cuts off what is left. A connection
    /// without a command is not waited for.
    pub(crate) async fn end(mut self, deadline: Duration) {
        self.commands.end.trigger();
        let _ = fs::remove_file(&self.file);
        if tokio::time::timeout(deadline, self.commands.none_under_way()).await.is_err() {
            let deadline_ms = deadline.as_millis() as u64;
            tracing::warn!(deadline_ms, "commands on the control socket are cut off");
            self.commands.cut.trigger();
            self.commands.none_under_way().await;
        }
        // The last answers are still to be written. Who holds a connection and says nothing would be waited for in vain.
        let _ = tokio::time::timeout(LAST_ANSWERS, &mut self.task).await;
        self.task.abort();
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
