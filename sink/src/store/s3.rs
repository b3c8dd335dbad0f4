//! A lake in a bucket of S3, or of a server that speaks its language.

use super::{Object, Put, Store, StoreError};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls;
use bytes::Bytes;
use serde::Deserialize;
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How to reach S3. What is left out comes from the environment, as AWS's own tools have it
/// (`AWS_REGION`, `AWS_ENDPOINT_URL_S3`, profiles, instance roles).
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Settings {
    /// The address of a server that is not AWS, such as `http://127.0.0.1:8333`.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket is the first part of the path and not of the host's name. By default where
    /// an endpoint is given here.
    pub path_style: Option<bool>,
    /// The access key.
    pub access_key: Option<String>,
    /// The secret key; never printed.
    pub secret_key: Option<String>,
    /// The most requests at a time; 32 by default.
    pub max_requests: Option<usize>,
    /// How long an answer may take to begin, in milliseconds, before the request is sent again; 30,000
    /// by default.
    pub answer_timeout_ms: Option<u64>,
}

impl S3Settings {
    /// What all clients of AWS's services share: region, credentials, and how HTTPS is spoken.
    pub(crate) async fn sdk_config(&self) -> SdkConfig {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let (Some(key), Some(secret)) = (&self.access_key, &self.secret_key) {
            loader = loader.credentials_provider(Credentials::new(key, secret, None, None, "settings"));
        }
        let shared = loader.load().await;
        match shared.region() {
            Some(_) => shared,
            None => shared.into_builder().region(Region::new("us-east-1")).build(),
        }
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .field("access_key", &self.access_key)
            .field("secret_key", &self.secret_key.as_ref().map(|_| "***"))
            .field("max_requests", &self.max_requests)
            .field("answer_timeout_ms", &self.answer_timeout_ms)
            .finish()
    }
}

/// See the module's documentation.
pub struct S3 {
    client: aws_sdk_s3::Client,
    bucket: String,
    prefix: String,
    slots: Semaphore,
}

impl S3 {
    /// Makes a client for `s3://bucket/prefix`. Nothing is sent yet.
    pub async fn open(bucket: &str, prefix: &str, settings: &S3Settings) -> Result<Self, StoreError> {
        if bucket.is_empty() {
            return Err(StoreError::Refused {
                key: format!("s3://{bucket}/{prefix}"),
                what: "opening",
                why: "the address names no bucket".into(),
            });
        }
        let shared = settings.sdk_config().await;
        // A put of a large object over a slow line takes as long as it takes; an attempt that stands
        // still is ended by the read timeout.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_millis(settings.answer_timeout_ms.unwrap_or(30_000).max(1)))
            .operation_attempt_timeout(Duration::from_secs(120))
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let elsewhere = settings.endpoint.is_some()
            || shared.endpoint_url().is_some()
            || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        if elsewhere {
            config = config
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        config = config.force_path_style(settings.path_style.unwrap_or(elsewhere));
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            p => format!("{p}/"),
        };
        Ok(Self {
            client: aws_sdk_s3::Client::from_conf(config.build()),
            bucket: bucket.into(),
            prefix,
            slots: Semaphore::new(settings.max_requests.unwrap_or(32).max(1)),
        })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Waits for a free request slot; the semaphore is never closed.
    async fn slot(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.slots.acquire().await.ok()
    }

    async fn read(&self, key: &str, range: Option<String>) -> Result<Option<Bytes>, StoreError> {
        let _slot = self.slot().await;
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(key)).set_range(range);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(e) if status(&e) == Some(404) && code(&e) != Some("NoSuchBucket") => return Ok(None),
            Err(e) if status(&e) == Some(416) => return Ok(Some(Bytes::new())),
            Err(e) => return Err(fault(key, "reading", &e)),
        };
        match answer.body.collect().await {
            Ok(body) => Ok(Some(body.into_bytes())),
            Err(e) => Err(StoreError::Transient { key: key.into(), what: "reading", why: e.to_string() }),
        }
    }
}

#[async_trait]
impl Store for S3 {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.read(key, None).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        if range.is_empty() {
            return Ok(self.head(key).await?.map(|_| Bytes::new()));
        }
        self.read(key, Some(format!("bytes={}-{}", range.start, range.end - 1))).await
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let _slot = self.slot().await;
        match self.client.head_object().bucket(&self.bucket).key(self.key(key)).send().await {
            Ok(answer) => Ok(Some(answer.content_length().unwrap_or(0).max(0) as u64)),
            Err(e) if status(&e) == Some(404) => Ok(None),
            Err(e) => Err(fault(key, "looking", &e)),
        }
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let _slot = self.slot().await;
        let request = self.client.put_object().bucket(&self.bucket).key(self.key(key));
        match request.body(ByteStream::from(body)).send().await {
            Ok(_) => Ok(()),
            Err(e) => Err(fault(key, "writing", &e)),
        }
    }

    async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<Put, StoreError> {
        let _slot = self.slot().await;
        let request = self.client.put_object().bucket(&self.bucket).key(self.key(key)).if_none_match("*");
        match request.body(ByteStream::from(body)).send().await {
            Ok(_) => Ok(Put::Created),
            Err(e) if status(&e) == Some(412) => Ok(Put::Exists),
            // 409 says that another conditional put of this key is under way: who wins is not settled.
            Err(e) => Err(fault(key, "writing", &e)),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<Object>, StoreError> {
        let _slot = self.slot().await;
        let mut found: Vec<Object> = Vec::new();
        let mut token = None;
        while found.len() < max {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(self.key(prefix))
                .max_keys((max - found.len()).min(1000) as i32)
                .set_start_after(after.map(|a| self.key(a)))
                .set_continuation_token(token);
            let answer = request.send().await.map_err(|e| fault(prefix, "listing", &e))?;
            for object in answer.contents() {
                let key = object.key().and_then(|k| k.strip_prefix(&self.prefix));
                let size = object.size().unwrap_or(0).max(0) as u64;
                found.extend(key.map(|key| Object { key: key.into(), size }));
            }
            token = answer.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let _slot = self.slot().await;
        match self.client.delete_object().bucket(&self.bucket).key(self.key(key)).send().await {
            Ok(_) => Ok(()),
            Err(e) if status(&e) == Some(404) => Ok(()),
            Err(e) => Err(fault(key, "deleting", &e)),
        }
    }

    fn uri(&self, key: &str) -> String {
        format!("s3://{}/{}{key}", self.bucket, self.prefix)
    }
}

type Failure<E> = SdkError<E, aws_sdk_s3::config::http::HttpResponse>;

fn status<E>(e: &Failure<E>) -> Option<u16> {
    e.raw_response().map(|r| r.status().as_u16())
}

fn code<E: ProvideErrorMetadata>(e: &Failure<E>) -> Option<&str> {
    e.as_service_error()?.code()
}

/// What the store says of a failure; where it has not answered, each cause in turn. The SDK's own text
/// is its whole response, many lines long.
fn in_words<E>(e: &Failure<E>) -> String
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let said = e.as_service_error().and_then(|said| Some((said.code()?, said.message().unwrap_or_default())));
    if let Some((code, message)) = said {
        return format!("{code}: {message}");
    }
    let mut words = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(because) = cause {
        words += &format!(": {because}");
        cause = because.source();
    }
    words
}

fn fault<E>(key: &str, what: &'static str, e: &Failure<E>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let (key, why) = (key.to_owned(), in_words(e));
    match status(e) {
        Some(408 | 409 | 429) => StoreError::Transient { key, what, why },
        Some(400..=499) => StoreError::Refused { key, what, why },
        _ => StoreError::Transient { key, what, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::config::http::HttpResponse;
    use aws_sdk_s3::error::ErrorMetadata;
    use aws_sdk_s3::operation::put_object::PutObjectError;
    use aws_sdk_s3::primitives::SdkBody;

    #[test]
    fn a_failure_is_said_in_the_stores_words_or_by_its_causes() {
        let said = ErrorMetadata::builder().code("SlowDown").message("Reduce your rate").build();
        let response = HttpResponse::new(503.try_into().unwrap(), SdkBody::from("<Error/>"));
        let error: Failure<PutObjectError> = SdkError::service_error(PutObjectError::generic(said), response);
        assert_eq!(in_words(&error), "SlowDown: Reduce your rate");
        let error: Failure<PutObjectError> = SdkError::timeout_error("no answer within 5 s");
        assert_eq!(in_words(&error), "request has timed out: no answer within 5 s");
    }
}
