//! A person's line to the server, which a test can cut: chromium's own emulation of a lost network spares open WebSockets.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Line {
    url: String,
    is_up: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Line {
    /// A port of its own that leads to the server.
    pub(crate) async fn to(server: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("its address"));
        let (is_up, watched) = watch::channel(true);
        let accepting = tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let mut up = watched.clone();
                tokio::spawn(async move {
                    let Ok(mut there) = TcpStream::connect(server).await else { return };
                    let cut = async { drop(up.wait_for(|up| !up).await) };
                    tokio::select! {
                        _ = copy_bidirectional(&mut here, &mut there) => {}
                        () = cut => {}
                    }
                });
            }
        });
        Line { url, is_up, accepting }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts what is open and whatever comes, until it is up again.
    pub(crate) fn set_up(&self, up: bool) {
        self.is_up.send_replace(up);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
