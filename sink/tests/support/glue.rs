//! Glue that fails on demand: AWS's JSON protocol over real HTTP on a loopback port, so that what is
//! tested is the real client with its retries and timeouts. One lock, a log of requests, a plan of faults.
//!
//! It is as strict as Glue is said to be: at most 100 partitions a call, a stale version is refused, a
//! partition that is there is an error of that partition alone.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use milepost_sink::glue::GlueSettings;
use milepost_sink::store::S3Settings;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Access is denied.
    Refuse,
    /// Too many requests.
    Throttle,
    /// It takes effect, and the answer is lost.
    LoseAnswer,
    /// Nothing happens until all faults are gone.
    Freeze,
    /// Somebody else changes the table just before.
    Race,
}

/// A table with its version and its partitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) input: Value,
    pub(crate) version: u64,
    pub(crate) partitions: BTreeMap<String, Value>,
}

/// A request that took effect, or was refused.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) input: Value,
    /// The error's code; empty where there was none.
    pub(crate) error: String,
}

#[derive(Default)]
struct State {
    databases: BTreeSet<String>,
    tables: BTreeMap<String, Table>,
    calls: Vec<Call>,
    /// Operation (empty: all), fault, and for how many requests.
    faults: Vec<(&'static str, Fault, usize)>,
}

/// A running server.
pub(crate) struct FakeGlue {
    state: Arc<Mutex<State>>,
    healed: Arc<Notify>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

pub(crate) const DATABASE: &str = "milepost";

impl FakeGlue {
    /// Starts on a free port, inside a runtime.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, healed) = (Arc::<Mutex<State>>::default(), Arc::<Notify>::default());
        let task = tokio::spawn(serve(listener, state.clone(), healed.clone()));
        Self { state, healed, address, task }
    }

    pub(crate) fn settings(&self) -> GlueSettings {
        GlueSettings {
            database: DATABASE.into(),
            endpoint: Some(format!("http://{}", self.address)),
            ..GlueSettings::default()
        }
    }

    /// Credentials that exist nowhere.
    pub(crate) fn credentials() -> S3Settings {
        S3Settings {
            region: Some("us-east-1".into()),
            access_key: Some("test".into()),
            secret_key: Some("test".into()),
            ..S3Settings::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next `times` requests of an operation, or of all, go wrong.
    pub(crate) fn plan(&self, operation: &'static str, fault: Fault, times: usize) {
        self.lock().faults.push((operation, fault, times));
    }

    pub(crate) fn heal(&self) {
        self.lock().faults.clear();
        self.healed.notify_waiters();
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    pub(crate) fn tables(&self) -> BTreeMap<String, Table> {
        self.lock().tables.clone()
    }

    /// Puts a table there, or another in its place.
    pub(crate) fn put_table(&self, name: &str, table: Table) {
        let mut state = self.lock();
        state.databases.insert(DATABASE.into());
        state.tables.insert(name.into(), table);
    }
}

impl Drop for FakeGlue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>, healed: Arc<Notify>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (state, healed) = (state.clone(), healed.clone());
        let answer = move |request| answer(request, state.clone(), healed.clone());
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(async move {
            let _ = served.await; // a connection that was cut on purpose
        });
    }
}

/// An error ends the connection without an answer.
async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    healed: Arc<Notify>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let target = request.headers().get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default();
    let operation = target.trim_start_matches("AWSGlue.").to_owned();
    let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let input: Value = serde_json::from_slice(&body).unwrap_or_default();
    loop {
        // Before the lock: a heal in between must not be missed.
        let healing = healed.notified();
        let fault = state.lock().unwrap().fault(&operation);
        if fault == Some(Fault::Freeze) {
            healing.await;
            continue;
        }
        let done = state.lock().unwrap().perform(operation, input, fault);
        return match fault {
            Some(Fault::LoseAnswer) => Err(std::io::Error::other("the answer is lost")),
            _ => Ok(response(done)),
        };
    }
}

type Done = Result<Value, (&'static str, String)>;

fn response(done: Done) -> Response<Full<Bytes>> {
    let (status, body) = match done {
        Ok(body) => (StatusCode::OK, body),
        Err((code, message)) => (StatusCode::BAD_REQUEST, json!({"__type": code, "Message": message})),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

fn text(input: &Value, key: &str) -> String {
    input[key].as_str().unwrap_or_default().to_owned()
}

impl State {
    fn fault(&mut self, operation: &str) -> Option<Fault> {
        let (_, fault, left) =
            self.faults.iter_mut().find(|f| f.2 > 0 && (f.0.is_empty() || f.0 == operation))?;
        *left -= usize::from(*fault != Fault::Freeze);
        Some(*fault)
    }

    fn perform(&mut self, operation: String, input: Value, fault: Option<Fault>) -> Done {
        let done = match fault {
            Some(Fault::Refuse) => Err(("AccessDeniedException", "not authorised".into())),
            Some(Fault::Throttle) => Err(("ThrottlingException", "rate exceeded".into())),
            Some(Fault::Race) => {
                let name = text(&input["TableInput"], "Name");
                self.tables.get_mut(&name).unwrap().version += 1;
                self.effect(&operation, &input)
            }
            _ => self.effect(&operation, &input),
        };
        let error = done.as_ref().err().map_or(String::new(), |(code, _)| (*code).to_owned());
        self.calls.push(Call { operation, input, error });
        done
    }

    fn effect(&mut self, operation: &str, input: &Value) -> Done {
        let missing = |what: &str| ("EntityNotFoundException", format!("{what} is not found"));
        let database = match operation {
            "GetDatabase" => text(input, "Name"),
            "CreateDatabase" => text(&input["DatabaseInput"], "Name"),
            _ => text(input, "DatabaseName"),
        };
        if operation == "CreateDatabase" {
            return match self.databases.insert(database) {
                true => Ok(json!({})),
                false => Err(("AlreadyExistsException", "the database is there".into())),
            };
        }
        if !self.databases.contains(&database) {
            return Err(missing("the database"));
        }
        match operation {
            "GetDatabase" => Ok(json!({"Database": {"Name": database}})),
            "GetTable" => {
                let table = self.tables.get(&text(input, "Name")).ok_or_else(|| missing("the table"))?;
                let mut answer = table.input.clone();
                answer["DatabaseName"] = json!(database);
                answer["VersionId"] = json!(table.version.to_string());
                Ok(json!({"Table": answer}))
            }
            "CreateTable" => {
                let (name, input) = (text(&input["TableInput"], "Name"), input["TableInput"].clone());
                if self.tables.contains_key(&name) {
                    return Err(("AlreadyExistsException", "the table is there".into()));
                }
                self.tables.insert(name, Table { input, ..Table::default() });
                Ok(json!({}))
            }
            "UpdateTable" => self.update(input),
            "BatchCreatePartition" => self.create_partitions(input),
            other => Err(("UnknownOperationException", other.to_owned())),
        }
    }

    fn update(&mut self, input: &Value) -> Done {
        let name = text(&input["TableInput"], "Name");
        let table = self.tables.get_mut(&name).ok_or(("EntityNotFoundException", name))?;
        match input["VersionId"].as_str() {
            Some(version) if version != table.version.to_string() => {
                Err(("ConcurrentModificationException", "the table was changed meanwhile".into()))
            }
            _ => {
                table.version += 1;
                table.input = input["TableInput"].clone();
                Ok(json!({}))
            }
        }
    }

    fn create_partitions(&mut self, input: &Value) -> Done {
        let name = text(input, "TableName");
        let table = self.tables.get_mut(&name).ok_or(("EntityNotFoundException", name))?;
        let inputs = input["PartitionInputList"].as_array().cloned().unwrap_or_default();
        if inputs.len() > 100 {
            return Err(("InvalidInputException", format!("{} partitions are more than 100", inputs.len())));
        }
        let mut errors = Vec::new();
        for partition in inputs {
            let values = partition["Values"].clone();
            let key = values[0].as_str().unwrap_or_default().to_owned();
            match table.partitions.entry(key) {
                Entry::Occupied(_) => {
                    let detail =
                        json!({"ErrorCode": "AlreadyExistsException", "ErrorMessage": "it is there"});
                    errors.push(json!({"PartitionValues": values, "ErrorDetail": detail}));
                }
                Entry::Vacant(place) => drop(place.insert(partition)),
            }
        }
        Ok(json!({"Errors": errors}))
    }
}
