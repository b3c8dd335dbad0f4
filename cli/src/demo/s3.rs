//! The S3 server of the demo: plain files in a folder behind the real protocol, on a loopback port.
//!
//! It does what the sink asks for and no more: put, put where absent, get, get a part, head, list,
//! delete. A conditional put has one winner, because the folder's has. Requests are signed with
//! credentials that are drawn anew for every run, so that no other program on the machine can write.

use crate::Failure;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use milepost_sink::store::{Folder, Put, S3Settings, Store, StoreError};
use s3s::auth::SimpleAuth;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput,
    Range, StreamingBlob,
};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The bucket; there is no other.
pub(crate) const BUCKET: &str = "lake";
/// The largest object that is taken, bytes.
const MAX_OBJECT: usize = 256 << 20;
const MAX_KEYS: usize = 1000;

/// A running server. Dropping it cuts every connection.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    access_key: String,
    secret_key: String,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `folder` (made where it is missing) as the bucket [`BUCKET`]. `secret` is what only this
    /// process knows.
    pub(crate) async fn start(folder: &Path, secret: u128) -> Result<Self, Failure> {
        let bucket = Bucket { folder: Arc::new(Folder::open(folder)?) };
        let (access_key, secret_key) = ("milepost-demo".to_owned(), format!("{secret:032x}"));
        let mut builder = S3ServiceBuilder::new(bucket);
        builder.set_auth(SimpleAuth::from_single(access_key.clone(), secret_key.clone()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, builder.build()));
        Ok(Self { address, access_key, secret_key, task })
    }

    /// How the sink reaches it.
    pub(crate) fn settings(&self) -> S3Settings {
        S3Settings {
            endpoint: Some(format!("http://{}", self.address)),
            region: Some("us-east-1".into()),
            path_style: Some(true),
            access_key: Some(self.access_key.clone()),
            secret_key: Some(self.secret_key.clone()),
            ..S3Settings::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let service = service.clone();
                    connections.spawn(async move {
                        let _ = socket.set_nodelay(true);
                        // What goes wrong on a connection is told to its client, and is the client's.
                        let _ = auto::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(socket), service)
                            .await;
                    });
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A folder as a bucket.
struct Bucket {
    folder: Arc<Folder>,
}

impl Bucket {
    fn of(&self, bucket: &str) -> S3Result<&Folder> {
        match bucket == BUCKET {
            true => Ok(&self.folder),
            false => Err(s3_error!(NoSuchBucket, "There is only the bucket {BUCKET}")),
        }
    }
}

#[async_trait::async_trait]
impl s3s::S3 for Bucket {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, if_none_match, if_match, .. } = req.input;
        let folder = self.of(&bucket)?;
        let body = collect(body).await?;
        match (if_none_match, if_match) {
            (None, None) => folder.put(&key, body).await.map_err(fault)?,
            (Some(ETagCondition::Any), None) => {
                if folder.put_if_absent(&key, body).await.map_err(fault)? == Put::Exists {
                    return Err(s3_error!(PreconditionFailed, "There is an object of that key"));
                }
            }
            _ => return Err(s3_error!(NotImplemented, "The only condition here is If-None-Match: *")),
        }
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, .. } = req.input;
        let folder = self.of(&bucket)?;
        let size = size(folder, &key).await?;
        let mut output = GetObjectOutput { accept_ranges: Some("bytes".into()), ..Default::default() };
        let body = match range {
            None => folder.get(&key).await,
            Some(range) => {
                let part = part(&range, size)?;
                output.content_range = Some(format!("bytes {}-{}/{size}", part.start, part.end - 1));
                folder.get_range(&key, part).await
            }
        };
        let body = body.map_err(fault)?.ok_or_else(|| s3_error!(NoSuchKey))?;
        output.content_length = Some(body.len() as i64);
        output.body = Some(StreamingBlob::wrap(stream::iter([Ok::<_, std::io::Error>(body)])));
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let size = size(self.of(&req.input.bucket)?, &req.input.key).await?;
        let content_length = Some(size as i64);
        Ok(S3Response::new(HeadObjectOutput { content_length, ..Default::default() }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.of(&req.input.bucket)?.delete(&req.input.key).await.map_err(fault)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let ListObjectsV2Input {
            bucket, prefix, start_after, continuation_token, max_keys, delimiter, ..
        } = req.input;
        let folder = self.of(&bucket)?;
        if delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "Listings here have no delimiter"));
        }
        let max = max_keys.map_or(MAX_KEYS, |n| (n.max(0) as usize).min(MAX_KEYS));
        // The token is the last key of the page before.
        let after = continuation_token.as_deref().or(start_after.as_deref());
        let mut found = folder.list(prefix.as_deref().unwrap_or(""), after, max + 1).await.map_err(fault)?;
        let more = found.len() > max;
        found.truncate(max);
        let next = found.last().filter(|_| more).map(|o| o.key.clone());
        let contents = found.into_iter().map(|o| Object {
            key: Some(o.key),
            size: Some(o.size as i64),
            ..Default::default()
        });
        let contents: Vec<_> = contents.collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(bucket),
            prefix,
            max_keys: Some(max as i32),
            key_count: Some(contents.len() as i32),
            is_truncated: Some(more),
            continuation_token,
            next_continuation_token: next,
            contents: Some(contents),
            start_after,
            ..Default::default()
        }))
    }
}

async fn size(folder: &Folder, key: &str) -> S3Result<u64> {
    folder.head(key).await.map_err(fault)?.ok_or_else(|| s3_error!(NoSuchKey))
}

fn part(range: &Range, size: u64) -> S3Result<std::ops::Range<u64>> {
    range.check(size).map_err(|_| s3_error!(InvalidRange))
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let mut body = body.map_err(|e| s3_error!(InternalError, "{e}"));
    let mut out = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if out.len() + chunk.len() > MAX_OBJECT {
            return Err(s3_error!(EntityTooLarge));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out.freeze())
}

fn fault(e: StoreError) -> s3s::S3Error {
    match e {
        StoreError::Refused { .. } => s3_error!(InvalidRequest, "{e}"),
        StoreError::Transient { .. } => s3_error!(InternalError, "{e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_sink::store;

    async fn lake(folder: &Path) -> (Server, Arc<dyn Store>) {
        let server = Server::start(folder, 7).await.unwrap();
        let lake = store::open(&format!("s3://{BUCKET}"), &server.settings()).await.unwrap();
        (server, lake)
    }

    #[tokio::test]
    async fn it_does_over_the_wire_what_the_folder_does() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, lake) = lake(folder.path()).await;
        let body = Bytes::from((0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        assert_eq!(lake.get("t/dt=2026-01-01/a.parquet").await.unwrap(), None);
        assert_eq!(lake.head("t/dt=2026-01-01/a.parquet").await.unwrap(), None);
        lake.put("t/dt=2026-01-01/a.parquet", body.clone()).await.unwrap();
        assert_eq!(lake.get("t/dt=2026-01-01/a.parquet").await.unwrap(), Some(body.clone()));
        assert_eq!(lake.head("t/dt=2026-01-01/a.parquet").await.unwrap(), Some(body.len() as u64));
        let part = lake.get_range("t/dt=2026-01-01/a.parquet", 10..20).await.unwrap();
        assert_eq!(part, Some(body.slice(10..20)));
        assert_eq!(std::fs::read(folder.path().join("t/dt=2026-01-01/a.parquet")).unwrap(), body);
        lake.delete("t/dt=2026-01-01/a.parquet").await.unwrap();
        assert_eq!(lake.get("t/dt=2026-01-01/a.parquet").await.unwrap(), None);
    }

    #[tokio::test]
    async fn of_many_conditional_puts_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, lake) = lake(folder.path()).await;
        for round in 0..5 {
            let key = format!("_milepost/claims/{round}");
            let puts = (0..8u8).map(|me| lake.put_if_absent(&key, Bytes::from(vec![me; 100])));
            let done: Vec<_> =
                futures::future::join_all(puts).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(done.iter().filter(|p| **p == Put::Created).count(), 1, "{done:?}");
            let winner = done.iter().position(|p| *p == Put::Created).unwrap() as u8;
            assert_eq!(lake.get(&key).await.unwrap(), Some(Bytes::from(vec![winner; 100])));
        }
    }

    #[tokio::test]
    async fn listings_go_on_over_pages() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, lake) = lake(folder.path()).await;
        let local = Folder::open(folder.path()).unwrap();
        for i in 0..1100 {
            std::fs::create_dir_all(local.root().join("many")).unwrap();
            std::fs::write(local.root().join(format!("many/{i:05}")), b"x").unwrap();
        }
        lake.put("other", Bytes::new()).await.unwrap();
        let all = lake.list("many/", None, usize::MAX).await.unwrap();
        assert_eq!(all.len(), 1100);
        assert!(all.is_sorted_by(|a, b| a.key < b.key));
        let some = lake.list("many/", Some("many/01097"), 1).await.unwrap();
        assert_eq!(some.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["many/01098"]);
    }

    #[tokio::test]
    async fn other_credentials_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (server, _) = lake(folder.path()).await;
        let settings = S3Settings { secret_key: Some("guessed".into()), ..server.settings() };
        let lake = store::open(&format!("s3://{BUCKET}"), &settings).await.unwrap();
        assert!(lake.put("a", Bytes::new()).await.is_err());
    }
}
