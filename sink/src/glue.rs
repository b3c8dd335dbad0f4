//! The catalogue in AWS Glue: tables and partitions as [`crate::schema`] describes them, visible to
//! Athena, Redshift, Spark and EMR as soon as a file is committed.
//!
//! Every call may be made twice and by several sinks at once: what is there already is well, and a table
//! is changed only under the version that was read. [`describe`] turns descriptions into Glue's and back
//! into what has to change. Nothing here retries for long: who calls does (see [`crate::catalog`]).

mod describe;

use crate::catalog::{Catalog, CatalogError, News};
use crate::store::S3Settings;
use async_trait::async_trait;
use aws_sdk_glue::Client;
use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::config::timeout::TimeoutConfig;
use aws_sdk_glue::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_glue::types::{DatabaseInput, PartitionInput, Table as GlueTable};
use milepost_ops::check::Wrong;
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The most partitions that one call takes.
const BATCH: usize = 100;
/// Times that a table which others change meanwhile is read again.
const RACES: usize = 8;

/// Which Glue, and what in it. Region and credentials are those of `[s3]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlueSettings {
    /// The database, made where it is missing. Empty: nothing is registered.
    pub database: String,
    /// The id of the account whose catalogue it is, where that is not the credentials' own.
    pub catalog_id: Option<String>,
    /// The address of a server that is not AWS.
    pub endpoint: Option<String>,
    /// How long one attempt of a call may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for GlueSettings {
    fn default() -> Self {
        Self { database: String::new(), catalog_id: None, endpoint: None, timeout_ms: 20_000 }
    }
}

/// See the module's documentation.
pub struct Glue {
    client: Client,
    database: String,
    catalog_id: Option<String>,
    database_is_there: OnceCell<()>,
}

/// A call's failure, in words.
struct Failed(String);

impl Failed {
    fn of<E: std::error::Error + 'static>(call: &str, error: &SdkError<E>) -> Self {
        Self(format!("{call}: {}", DisplayErrorContext(error)))
    }
}

impl Glue {
    /// Makes a client. Nothing is sent yet.
    pub async fn open(settings: &GlueSettings, aws: &S3Settings) -> Self {
        let shared = aws.sdk_config().await;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(Duration::from_millis(settings.timeout_ms.max(1)))
            .build();
        let mut config = aws_sdk_glue::config::Builder::from(&shared)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(4));
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(config.build()),
            database: settings.database.clone(),
            catalog_id: settings.catalog_id.clone(),
            database_is_there: OnceCell::new(),
        }
    }

    /// Asks for the database and changes nothing; says whether it is there.
    pub async fn reach(&self) -> Result<String, Wrong> {
        let asked = self.client.get_database().set_catalog_id(self.catalog_id.clone()).name(&self.database);
        let name = &self.database;
        match asked.send().await {
            Ok(_) => Ok(format!("database {name} is there")),
            Err(e) if code(&e) == Some("EntityNotFoundException") => {
                Ok(format!("it answers; the sink will make the database {name}"))
            }
            Err(e) => Err(Wrong::new(
                Failed::of("GetDatabase", &e).0,
                "Correct `[glue]` and the region, or give the role glue:GetDatabase, CreateDatabase, GetTable, \
                 CreateTable, UpdateTable and BatchCreatePartition",
            )),
        }
    }

    async fn make_database(&self) -> Result<(), Failed> {
        let found = self
            .client
            .get_database()
            .set_catalog_id(self.catalog_id.clone())
            .name(&self.database)
            .send()
            .await;
        match found {
            Ok(_) => return Ok(()),
            Err(e) if code(&e) == Some("EntityNotFoundException") => {}
            Err(e) => return Err(Failed::of("GetDatabase", &e)),
        }
        let input = DatabaseInput::builder().name(&self.database).description("Readings of vehicles").build();
        let made = self
            .client
            .create_database()
            .set_catalog_id(self.catalog_id.clone())
            .database_input(input.map_err(incomplete)?)
            .send()
            .await;
        match made {
            Err(e) if code(&e) != Some("AlreadyExistsException") => Err(Failed::of("CreateDatabase", &e)),
            _ => Ok(()),
        }
    }

    async fn find_table(&self, name: &str) -> Result<Option<GlueTable>, Failed> {
        let found = self
            .client
            .get_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(&self.database)
            .name(name)
            .send()
            .await;
        match found {
            Ok(answer) => Ok(answer.table),
            Err(e) if code(&e) == Some("EntityNotFoundException") => Ok(None),
            Err(e) => Err(Failed::of("GetTable", &e)),
        }
    }

    /// Brings the table to its description, against others who change it at the same time.
    async fn bring_table(&self, news: &News) -> Result<(), Failed> {
        for _ in 0..RACES {
            let done = match self.find_table(&news.table.name).await? {
                None => self.create_table(news).await?,
                Some(found) => self.update_table(news, &found).await?,
            };
            if done {
                return Ok(());
            }
        }
        Err(Failed(format!("somebody else changed the table {RACES} times meanwhile")))
    }

    /// Whether the table was made; not where it is there by now.
    async fn create_table(&self, news: &News) -> Result<bool, Failed> {
        let made = self
            .client
            .create_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(&self.database)
            .table_input(describe::table(news).map_err(incomplete)?)
            .send()
            .await;
        match made {
            Ok(_) => Ok(true),
            Err(e) if code(&e) == Some("AlreadyExistsException") => Ok(false),
            Err(e) => Err(Failed::of("CreateTable", &e)),
        }
    }

    /// Whether the table is as it should be; not where it was changed since it was read.
    async fn update_table(&self, news: &News, found: &GlueTable) -> Result<bool, Failed> {
        let Some(input) = describe::changed(news, found).map_err(Failed)? else { return Ok(true) };
        let updated = self
            .client
            .update_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(&self.database)
            .table_input(input)
            .set_version_id(found.version_id.clone())
            .skip_archive(true)
            .send()
            .await;
        match updated {
            Ok(_) => Ok(true),
            Err(e) if is_race(code(&e)) => Ok(false),
            Err(e) => Err(Failed::of("UpdateTable", &e)),
        }
    }

    async fn create_partitions(&self, news: &News) -> Result<(), Failed> {
        let inputs: Result<Vec<PartitionInput>, _> =
            news.dates.iter().map(|dt| describe::partition(news, dt)).collect();
        for inputs in inputs.map_err(incomplete)?.chunks(BATCH) {
            let answer = self
                .client
                .batch_create_partition()
                .set_catalog_id(self.catalog_id.clone())
                .database_name(&self.database)
                .table_name(&news.table.name)
                .set_partition_input_list(Some(inputs.to_vec()))
                .send()
                .await
                .map_err(|e| Failed::of("BatchCreatePartition", &e))?;
            for error in answer.errors() {
                let detail = error.error_detail();
                let code = detail.and_then(|d| d.error_code()).unwrap_or_default();
                if code != "AlreadyExistsException" {
                    let why = detail.and_then(|d| d.error_message()).unwrap_or_default();
                    let dt = error.partition_values().join("/");
                    return Err(Failed(format!("BatchCreatePartition, dt={dt}: {code}: {why}")));
                }
            }
        }
        Ok(())
    }

    async fn try_register(&self, news: &News) -> Result<(), Failed> {
        self.database_is_there.get_or_try_init(|| self.make_database()).await?;
        self.bring_table(news).await?;
        self.create_partitions(news).await
    }
}

#[async_trait]
impl Catalog for Glue {
    async fn register(&self, news: &News) -> Result<(), CatalogError> {
        let named = |Failed(why)| CatalogError { table: news.table.name.clone(), why };
        self.try_register(news).await.map_err(named)
    }
}

fn code<E: ProvideErrorMetadata, R>(e: &SdkError<E, R>) -> Option<&str> {
    e.as_service_error()?.code()
}

/// Whether the table was changed since it was read.
fn is_race(code: Option<&str>) -> bool {
    matches!(code, Some("ConcurrentModificationException" | "VersionMismatchException"))
}

fn incomplete(e: aws_sdk_glue::error::BuildError) -> Failed {
    Failed(e.to_string())
}
