//! The S3 client of one repository.
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef,
    },
    error::{ProvideErrorMetadata, SdkError},
    primitives::{DateTime, DateTimeFormat},
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use aws_smithy_runtime_api::{box_error::BoxError, client::orchestrator::HttpResponse};
use jiff::Timestamp;
use model::{Reason, Store, result::Failure};

use crate::{
    Access, Credentials, connection,
    refusal::{Refusal, hint, reason},
};

/// How much of a server's words is repeated, characters.
const LONGEST_CAUSE: usize = 600;
/// How far apart the clocks of a client and of a server may be, by S3's rules:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html>.
const LARGEST_SKEW: Duration = Duration::from_mins(15);

/// The bucket and folder of one repository.
///
/// # Guarantees
///
/// Every request has a deadline and is tried at most three times. Nothing is
/// deleted but what [`Bucket::delete`] names.
#[derive(Clone)]
pub struct Bucket {
    client: Client,
    store: Arc<Store>,
    credentials: Arc<Credentials>,
}

/// What of a repository is in the bucket's folder. Locks do not count: they are no part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are five findings that do not depend on each other")]
pub struct Contents {
    /// The file without which nothing can be read.
    pub config: bool,
    /// At least one password's key.
    pub keys: bool,
    /// At least one pack.
    pub data: bool,
    /// At least one index.
    pub index: bool,
    /// At least one snapshot.
    pub snapshots: bool,
}

/// One stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Name below the repository's folder, for example `locks/<id>`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was last written, by the server's clock.
    pub modified: Option<Timestamp>,
}

/// One answer to a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What is there.
    pub objects: Vec<Object>,
    /// The server's clock when it answered.
    pub answered: Option<Timestamp>,
}

impl Contents {
    /// Whether there is nothing of a repository.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether there are parts but no config: nothing can be read, and nothing may be made over it.
    pub fn is_half_made(self) -> bool {
        !self.config && !self.is_empty()
    }
}

impl Bucket {
    /// A client; nothing is asked yet.
    pub fn new(access: &Access) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::from_conf(connection::config(access)?),
            store: Arc::new(access.store.clone()),
            credentials: Arc::new(access.credentials.clone()),
        })
    }

    /// Makes the bucket if it is missing, and says whether it did.
    ///
    /// It is looked for by listing the repository's folder, not by `HeadBucket`:
    /// that answer has no error code, and keys may be limited to one folder.
    pub async fn ensure(&self) -> Result<bool, Failure> {
        let probe =
            self.client.list_objects_v2().bucket(&self.store.bucket).prefix(self.store.key("")).max_keys(1);
        let Err(error) = probe.send().await else { return Ok(false) };
        match error.code() {
            Some("NoSuchBucket") => self.create().await,
            _ => Err(self.failure("look into it", &error)),
        }
    }

    async fn create(&self) -> Result<bool, Failure> {
        let region = self.store.region.as_str();
        // us-east-1 is no constraint: AWS refuses its name here.
        let place = (region != "us-east-1").then(|| {
            let constraint = BucketLocationConstraint::from(region);
            CreateBucketConfiguration::builder().location_constraint(constraint).build()
        });
        let request = self.client.create_bucket().bucket(&self.store.bucket);
        let Err(error) = request.set_create_bucket_configuration(place).send().await else { return Ok(true) };
        match error.code() {
            // Another pod made it between our two requests.
            Some("BucketAlreadyOwnedByYou") => Ok(false),
            Some("AccessDenied") => {
                Err(self.blame(Reason::BucketMissing, "make the bucket, which does not exist", &error))
            }
            _ => Err(self.failure("make the bucket", &error)),
        }
    }

    /// Tells a bucket of someone else from one that the keys have no right to.
    async fn is_someone_elses(&self) -> bool {
        let Ok(answer) = self.client.list_buckets().send().await else { return false };
        !answer.buckets().iter().any(|bucket| bucket.name() == Some(&self.store.bucket))
    }

    /// Looks for the parts of a repository.
    pub async fn contents(&self) -> Result<Contents, Failure> {
        // First a listing: the answer to a look at one file does not say why it was refused.
        let keys = self.holds("keys/").await?;
        Ok(Contents {
            keys,
            config: self.size("config").await?.is_some(),
            data: self.holds("data/").await?,
            index: self.holds("index/").await?,
            snapshots: self.holds("snapshots/").await?,
        })
    }

    async fn holds(&self, folder: &str) -> Result<bool, Failure> {
        // More than one: consoles make an empty object that stands for the folder.
        let date = DateOfAnswer::default();
        let request = self.client.list_objects_v2().bucket(&self.store.bucket).prefix(self.store.key(folder));
        let answer = request.max_keys(5).customize().interceptor(date.clone()).send().await;
        let answer = match answer {
            Err(error) if error.code() == Some("AccessDenied") && self.is_someone_elses().await => {
                return Err(self.blame(Reason::BucketForbidden, &list(folder), &error));
            }
            answer => answer.map_err(|error| self.failure(&list(folder), &error))?,
        };
        if let Some(skew) = date.take().and_then(|answered| skew(answered, SystemTime::now())) {
            return Err(self.described(Reason::ClockSkew, &list(folder), &skew));
        }
        Ok(answer.contents().iter().any(|object| object.key().is_some_and(|key| !key.ends_with('/'))))
    }

    /// Lists a folder, page by page.
    pub async fn list(&self, folder: &str, mut each: impl FnMut(Page)) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let (page, next) = self.page(folder, after.as_deref()).await?;
            each(page);
            if next.is_none() {
                return Ok(());
            }
            if next == after {
                return Err(self.described(Reason::Unavailable, &list(folder), "its pages repeat"));
            }
            after = next;
        }
    }

    async fn page(&self, folder: &str, after: Option<&str>) -> Result<(Page, Option<String>), Failure> {
        let date = DateOfAnswer::default();
        let request = self.client.list_objects_v2().bucket(&self.store.bucket).prefix(self.store.key(folder));
        let request = request.set_continuation_token(after.map(str::to_owned));
        let answer = request.customize().interceptor(date.clone()).send().await;
        let answer = answer.map_err(|error| self.failure(&list(folder), &error))?;
        let objects = answer.contents().iter().filter_map(|object| self.object(object)).collect();
        // A server that says "there is more" without a token would be asked the same for ever.
        let next = answer.next_continuation_token().filter(|_| answer.is_truncated() == Some(true));
        if answer.is_truncated() == Some(true) && next.is_none() {
            return Err(self.described(Reason::Unavailable, &list(folder), "it ended early"));
        }
        Ok((Page { objects, answered: date.take() }, next.map(str::to_owned)))
    }

    fn object(&self, object: &aws_sdk_s3::types::Object) -> Option<Object> {
        let name = object.key()?.strip_prefix(&self.store.key(""))?.to_owned();
        let size = u64::try_from(object.size()?).ok()?;
        let modified = object.last_modified().and_then(timestamp);
        (!name.ends_with('/')).then_some(Object { name, size, modified })
    }

    /// Size of a file; none if it is not there.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, Failure> {
        let request = self.client.head_object().bucket(&self.store.bucket).key(self.store.key(name));
        match request.send().await {
            Ok(answer) => Ok(answer.content_length().and_then(|length| u64::try_from(length).ok())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failure(&format!("look at {name:?}"), &error)),
        }
    }

    /// Reads a whole file that is no larger than `most` bytes; none if it is not there.
    pub async fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.read(name, None, most).await
    }

    /// Reads `length` bytes of a file from `offset` on; none if the file is not there.
    pub async fn get_part(&self, name: &str, offset: u64, length: u64) -> Result<Option<Vec<u8>>, Failure> {
        let last = offset.saturating_add(length).saturating_sub(1);
        self.read(name, Some(format!("bytes={offset}-{last}")), length).await
    }

    async fn read(&self, name: &str, range: Option<String>, most: u64) -> Result<Option<Vec<u8>>, Failure> {
        let step = format!("read {name:?}");
        let request = self.client.get_object().bucket(&self.store.bucket).key(self.store.key(name));
        let answer = match request.set_range(range).send().await {
            Ok(answer) => answer,
            Err(error) if is_absent(&error) => return Ok(None),
            // The file is shorter than what it must hold.
            Err(error) if error.code() == Some("InvalidRange") => return Ok(Some(Vec::new())),
            Err(error) => return Err(self.failure(&step, &error)),
        };
        let reading = collect(answer.body, most);
        let read = tokio::time::timeout(connection::BODY_DEADLINE, reading).await;
        let read = read.unwrap_or_else(|_| Err((Reason::ConnectionRefused, "it took too long".to_owned())));
        read.map(Some).map_err(|(reason, what)| self.described(reason, &step, &what))
    }

    /// Deletes one file; it is no error if it is gone already.
    pub async fn delete(&self, name: &str) -> Result<(), Failure> {
        let request = self.client.delete_object().bucket(&self.store.bucket).key(self.store.key(name));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(self.failure(&format!("delete {name:?}"), &error)),
        }
    }

    fn failure<E>(&self, step: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let reason = match error.raw_response() {
            None => reason(Refusal::Unreached { chain: &model::chain(error) }),
            Some(answer) => {
                let (status, code) = (answer.status().as_u16(), error.code());
                reason(Refusal::Answered { status, code, message: error.message().unwrap_or_default() })
            }
        };
        let failure = self.blame(reason, step, error);
        if reason == Reason::InvalidSpec { failure.at(field(error.code())) } else { failure }
    }

    fn blame<E>(&self, reason: Reason, step: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let what = match error.raw_response() {
            None => {
                let chain = model::chain(error);
                format!("{chain}{}", hint(&chain))
            }
            Some(answer) => {
                let code = error.code().unwrap_or("no error code");
                format!("{code} ({}) {}", answer.status().as_u16(), error.message().unwrap_or_default())
            }
        };
        self.described(reason, step, &what)
    }

    /// What was found and what to do, without a secret.
    fn described(&self, reason: Reason, step: &str, what: &str) -> Failure {
        let Store { url, bucket, .. } = self.store.as_ref();
        let what = self.credentials.scrub(what.trim().trim_end_matches('.'));
        let what: String = what.chars().take(LONGEST_CAUSE).collect();
        Failure::new(
            reason,
            format!("bucket {bucket:?} at {url}: failed to {step}: {what}. {}", reason.advice()),
        )
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bucket").field("store", &self.store).finish_non_exhaustive()
    }
}

fn list(folder: &str) -> String {
    format!("list {folder:?}")
}

/// The field that a server's refusal of the request itself is about.
fn field(code: Option<&str>) -> &'static str {
    match code {
        Some("InvalidBucketName") => "spec.bucketName",
        Some(_) => "spec.region",
        None => "spec.url",
    }
}

fn is_absent<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata,
{
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    // The answer to HEAD has no body, so no code.
    status == Some(404) && error.code() != Some("NoSuchBucket")
}

async fn collect(
    mut body: aws_sdk_s3::primitives::ByteStream,
    most: u64,
) -> Result<Vec<u8>, (Reason, String)> {
    let mut read = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| (Reason::ConnectionRefused, model::chain(&error)))?;
        if (read.len() + chunk.len()) as u64 > most {
            return Err((Reason::RepositoryDamaged, format!("it is larger than {most} bytes")));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    let nanoseconds = i32::try_from(time.subsec_nanos()).ok()?;
    Timestamp::new(time.secs(), nanoseconds).ok()
}

/// What is wrong with the clocks of the server and of this node, if they are too far apart.
///
/// Our client corrects itself by the server's clock; restic does not, and to its first question, a `HEAD`, a server
/// answers no more than 403.
fn skew(server: Timestamp, node: SystemTime) -> Option<String> {
    let node = Timestamp::try_from(node).ok()?;
    let is_refused = server.duration_since(node).unsigned_abs() > LARGEST_SKEW;
    is_refused.then(|| {
        format!("the server's clock says {server:.0}, this node's {node:.0}, and S3 allows 15 minutes between them")
    })
}

/// Catches the `Date` of an answer: the server's clock, the only one that locks are judged by.
#[derive(Clone, Debug, Default)]
struct DateOfAnswer(Arc<Mutex<Option<Timestamp>>>);

impl DateOfAnswer {
    fn take(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for DateOfAnswer {
    fn name(&self) -> &'static str {
        "DateOfAnswer"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date.as_ref().and_then(timestamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::empty_server;

    #[tokio::test]
    async fn a_server_whose_clock_is_far_off_is_named_although_it_answers() {
        let bucket = Bucket::new(&empty_server::access().await).expect("a client");
        let failure = bucket.contents().await.expect_err("its clock stands still");
        assert_eq!(failure.reason, Reason::ClockSkew, "{failure}");
    }

    #[test]
    fn clocks_that_are_too_far_apart_are_both_told() {
        let node = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let at = |minute: i64| Timestamp::new(minute * 60, 0).expect("a time");
        assert_eq!([45, 60, 75].map(|minute| skew(at(minute), node)), [const { None }; 3]);
        let said = "the server's clock says 1970-01-01T00:40:00Z, this node's 1970-01-01T01:00:00Z, \
                    and S3 allows 15 minutes between them";
        assert_eq!(skew(at(40), node).as_deref(), Some(said));
        assert!(skew(at(76), node).is_some(), "whichever is late");
    }

    #[test]
    fn parts_without_a_config_are_a_half_made_repository() {
        let nothing = Contents::default();
        assert!(nothing.is_empty() && !nothing.is_half_made());
        let half = Contents { data: true, ..nothing };
        assert!(!half.is_empty() && half.is_half_made());
        let whole = Contents { config: true, ..half };
        assert!(!whole.is_empty() && !whole.is_half_made());
    }
}
