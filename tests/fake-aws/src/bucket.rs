//! What S3 does when nothing goes wrong. Strict about conditions: the one that it knows has one
//! winner, and any other is refused rather than passed over.

use crate::BUCKET;
use crate::cloud::Cloud;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput,
    StreamingBlob,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use std::ops::Bound;
use std::sync::Arc;

/// Keys of a page, as S3 has it.
const PAGE: usize = 1000;

/// Clients have names of their own and one secret.
pub(crate) struct OneSecret(pub(crate) String);

#[async_trait::async_trait]
impl S3Auth for OneSecret {
    async fn get_secret_key(&self, _: &str) -> S3Result<SecretKey> {
        Ok(self.0.clone().into())
    }
}

/// The bucket.
pub(crate) struct Bucket {
    pub(crate) cloud: Arc<Cloud>,
}

impl Bucket {
    fn object(&self, bucket: &str, key: &str) -> S3Result<Bytes> {
        known(bucket)?;
        self.cloud.lock().objects.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

fn known(bucket: &str) -> S3Result<()> {
    match bucket == BUCKET {
        true => Ok(()),
        false => Err(s3_error!(NoSuchBucket)),
    }
}

#[async_trait::async_trait]
impl s3s::S3 for Bucket {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, if_none_match, if_match, .. } = req.input;
        known(&bucket)?;
        let absent = match (if_none_match, if_match) {
            (None, None) => false,
            (Some(ETagCondition::Any), None) => true,
            _ => return Err(s3_error!(NotImplemented, "The only condition here is If-None-Match: *")),
        };
        let mut whole = BytesMut::new();
        if let Some(mut body) = body {
            while let Some(chunk) = body.next().await {
                whole.extend_from_slice(&chunk.map_err(|e| s3_error!(IncompleteBody, "{e}"))?);
            }
        }
        // One lock around the look and the write.
        let mut state = self.cloud.lock();
        if absent && state.objects.contains_key(&key) {
            return Err(s3_error!(PreconditionFailed));
        }
        state.objects.insert(key, whole.freeze());
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let object = self.object(&req.input.bucket, &req.input.key)?;
        let mut output = GetObjectOutput::default();
        let body = match req.input.range {
            None => object,
            Some(range) => {
                let size = object.len() as u64;
                let part = range.check(size).map_err(|_| s3_error!(InvalidRange))?;
                output.content_range = Some(format!("bytes {}-{}/{size}", part.start, part.end - 1));
                object.slice(part.start as usize..part.end as usize)
            }
        };
        output.content_length = Some(body.len() as i64);
        output.body = Some(StreamingBlob::wrap(stream::iter([Ok::<_, std::io::Error>(body)])));
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let size = self.object(&req.input.bucket, &req.input.key)?.len() as i64;
        Ok(S3Response::new(HeadObjectOutput { content_length: Some(size), ..Default::default() }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        known(&req.input.bucket)?;
        self.cloud.lock().objects.remove(&req.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        known(&input.bucket)?;
        if input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "Listings here have no delimiter"));
        }
        let prefix = input.prefix.unwrap_or_default();
        let most = input.max_keys.map_or(PAGE, |n| (n.max(0) as usize).min(PAGE));
        // A page's token is its last key.
        let after = input.continuation_token.or(input.start_after);
        let from = match &after {
            Some(after) if *after >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix.as_str()),
        };
        let state = self.cloud.lock();
        let mut rest = state.objects.range::<str, _>((from, Bound::Unbounded));
        let page: Vec<Object> = rest
            .by_ref()
            .take_while(|(key, _)| key.starts_with(&prefix))
            .take(most)
            .map(|(key, body)| Object {
                key: Some(key.clone()),
                size: Some(body.len() as i64),
                ..Default::default()
            })
            .collect();
        let more = page.len() == most && rest.next().is_some_and(|(key, _)| key.starts_with(&prefix));
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: Some(page.len() as i32),
            is_truncated: Some(more),
            next_continuation_token: page.last().filter(|_| more).and_then(|o| o.key.clone()),
            contents: Some(page),
            name: Some(input.bucket),
            max_keys: Some(most as i32),
            prefix: Some(prefix),
            ..Default::default()
        }))
    }
}
