//! Makes calls fail on their way to a service, as broken networks and killed servers would.
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio::sync::{Notify, Semaphore};
use tonic::service::Routes;

/// What happens to a call.
#[derive(Clone)]
pub(crate) enum Fault {
    /// It never arrives.
    Refuse,
    /// It is done, and its answer is lost: the outcome is unknown to the caller.
    LoseAnswer,
    /// It waits at the door until it is let in.
    Hold(Door),
}

/// Where held calls wait.
#[derive(Clone)]
pub(crate) struct Door {
    arrived: Arc<Notify>,
    open: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn closed() -> Self {
        Self { arrived: Arc::new(Notify::new()), open: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until a call stands before the door.
    pub(crate) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Lets all in, those who wait and those who come.
    pub(crate) fn open(&self) {
        self.open.add_permits(1_000_000);
    }
}

/// Faults in the order in which they will happen.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    planned: Arc<Mutex<Vec<(&'static str, Fault)>>>,
}

impl Faults {
    /// The next `times` calls of `method` meet this fault.
    pub(crate) fn plan(&self, method: &'static str, times: usize, fault: Fault) {
        let mut planned = self.planned.lock().unwrap();
        planned.extend(std::iter::repeat_n((method, fault), times));
    }

    /// How many are still to come.
    pub(crate) fn left(&self) -> usize {
        self.planned.lock().unwrap().len()
    }

    /// The services behind the faults.
    pub(crate) fn wrap(&self, routes: Routes) -> Routes {
        routes.into_axum_router().layer(from_fn_with_state(self.clone(), pass)).into()
    }

    fn next_for(&self, path: &str) -> Option<Fault> {
        let mut planned = self.planned.lock().unwrap();
        let method = path.rsplit('/').next()?;
        let index = planned.iter().position(|(name, _)| *name == method)?;
        Some(planned.remove(index).1)
    }
}

async fn pass(State(faults): State<Faults>, request: Request, next: Next) -> Response {
    match faults.next_for(request.uri().path()) {
        None => next.run(request).await,
        Some(Fault::Refuse) => failed(tonic::Status::unavailable("refused by the test")),
        Some(Fault::LoseAnswer) => {
            let answer = next.run(request).await;
            // The whole answer is read, as the call must have been done.
            let _ = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            failed(tonic::Status::deadline_exceeded("lost by the test"))
        }
        Some(Fault::Hold(door)) => {
            door.arrived.notify_one();
            door.open.acquire().await.unwrap().forget();
            next.run(request).await
        }
    }
}

fn failed(status: tonic::Status) -> Response {
    status.into_http::<tonic::body::Body>().map(axum::body::Body::new)
}
