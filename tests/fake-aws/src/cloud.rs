//! What the server holds, and the handle that tests have of it.

use crate::fault::{Fault, Request};
use crate::server;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Decides what goes wrong with a request.
pub(crate) type Plan = Box<dyn FnMut(&Request) -> Fault + Send>;

/// Everything behind the one lock.
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, Bytes>,
    pub(crate) log: Vec<Request>,
    plan: Plan,
    frozen: bool,
    pub(crate) parked: usize,
}

/// What becomes of requests that stand still.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// They go on.
    GoOn,
    /// They are dropped without an effect.
    Drop,
}

/// The state, and the bell that lets parked requests go.
pub(crate) struct Cloud {
    state: Mutex<State>,
    pub(crate) released: watch::Sender<Release>,
    pub(crate) secret: String,
}

impl Cloud {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a request in the log; what goes wrong with it, and the bell that it may have to wait for.
    pub(crate) fn enter(&self, mut request: Request) -> (usize, Fault, watch::Receiver<Release>) {
        let mut state = self.lock();
        let bell = self.released.subscribe();
        request.number = state.log.len() + 1;
        request.fault = match state.frozen {
            true => Fault::ParkBefore,
            false => (state.plan)(&request),
        };
        let entered = (request.number, request.fault, bell);
        state.log.push(request);
        entered
    }

    pub(crate) fn note(&self, number: usize, status: u16) {
        if let Some(request) = self.lock().log.get_mut(number - 1) {
            request.status = Some(status);
        }
    }
}

/// A client's credentials.
#[derive(Clone)]
pub struct Keys {
    /// Names the client in the log.
    pub access: String,
    /// Made anew for each server.
    pub secret: String,
}

/// A running server. Dropping it cuts every connection.
pub struct FakeAws {
    cloud: Arc<Cloud>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FakeAws {
    /// Starts an empty server on a free loopback port, on a thread of its own.
    pub fn start() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        let cloud = Arc::new(Cloud {
            state: Mutex::new(State {
                objects: BTreeMap::new(),
                log: Vec::new(),
                plan: Box::new(|_| Fault::None),
                frozen: false,
                parked: 0,
            }),
            released: watch::Sender::new(Release::GoOn),
            secret: format!("{:016x}{:016x}", random(), random()),
        });
        let (stop, stopped) = oneshot::channel();
        let (address, thread) = server::start(cloud.clone(), stopped);
        Self { cloud, address, stop: Some(stop), thread: Some(thread) }
    }

    /// The server's address as S3's clients want it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Credentials of a client that the log calls `who`.
    pub fn keys(&self, who: &str) -> Keys {
        Keys { access: who.to_owned(), secret: self.cloud.secret.clone() }
    }

    /// From now on `plan` decides what goes wrong. It is called in the order of the requests, under the
    /// lock.
    pub fn plan(&self, plan: impl FnMut(&Request) -> Fault + Send + 'static) {
        self.cloud.lock().plan = Box::new(plan);
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.plan(|_| Fault::None);
    }

    /// Every request that comes from now on stands still.
    pub fn freeze(&self) {
        self.cloud.lock().frozen = true;
    }

    /// Ends a freeze; what stood still takes effect.
    pub fn thaw(&self) {
        self.cloud.lock().frozen = false;
        self.release();
    }

    /// Lets what stands still go on, whether its client still lives or not.
    pub fn release(&self) {
        self.cloud.released.send_replace(Release::GoOn);
    }

    /// Drops what stands still, without an effect where it had none.
    pub fn drop_parked(&self) {
        self.cloud.released.send_replace(Release::Drop);
    }

    /// How many requests stand still.
    pub fn parked(&self) -> usize {
        self.cloud.lock().parked
    }

    /// Waits until a request stands still; whether one did in that time.
    pub fn wait_for_parked(&self, within: Duration) -> bool {
        let began = Instant::now();
        while self.parked() == 0 {
            if began.elapsed() > within {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// The requests so far.
    pub fn log(&self) -> Vec<Request> {
        self.cloud.lock().log.clone()
    }

    /// All objects.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.cloud.lock().objects.clone()
    }

    /// Changes the objects behind everyone's back.
    pub fn edit(&self, change: impl FnOnce(&mut BTreeMap<String, Bytes>)) {
        change(&mut self.cloud.lock().objects);
    }

    /// Writes every object into a folder, for programs that read folders.
    pub fn save(&self, folder: &Path) {
        for (key, body) in self.objects() {
            let path = folder.join(key);
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).expect("a folder can be made");
            std::fs::write(&path, body).expect("a file can be written");
        }
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        self.drop_parked();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
