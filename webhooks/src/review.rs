//! What the API server asks: an `AdmissionReview` of `admission.k8s.io/v1`, as far as anyone looks at it.
//!
//! ```text
//! body ──▶ Review ──▶ Request ──▶ Object: name, namespace, and a spec that is not read yet
//! ```
//!
//! Most of a review is passed over and never built: who asks, by which options, and of objects everything
//! but a few words. A spec stays the text that it is until somebody has to judge it, so that one that did
//! not change costs nothing, and one that cannot be read is answered with the request's own uid.
mod head;

use std::{borrow::Cow, fmt, time::Duration};

use kube::Resource;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

pub use head::{Head, LONGEST as LONGEST_HEAD};

/// The version that is spoken.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// What is spoken.
pub const KIND: &str = "AdmissionReview";
/// Longest uid that is repeated; Kubernetes' own have 36 characters.
const LONGEST_UID: usize = 128;

/// A review, as it came.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Review<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    kind: GroupVersionKind<'a>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    /// What is to be done.
    pub operation: Operation,
    /// The object as it would be.
    #[serde(borrow, default)]
    pub object: Option<Object<'a>>,
    /// The object as it is.
    #[serde(borrow, default)]
    pub old_object: Option<Object<'a>>,
}

/// What is to be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is removed.
    Delete,
}

#[derive(Debug, PartialEq, Deserialize)]
struct GroupVersionKind<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// One object, as far as it is looked at.
#[derive(Debug, Deserialize)]
pub struct Object<'a> {
    /// What is known of it.
    #[serde(borrow, default)]
    pub metadata: Metadata<'a>,
    /// What it asks for, as it stands there.
    #[serde(borrow, default)]
    pub spec: Option<&'a RawValue>,
    /// What was seen of it, as it stands there.
    #[serde(borrow, default)]
    pub status: Option<&'a RawValue>,
}

/// What is looked at of an object's metadata.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    deletion_timestamp: Option<IgnoredAny>,
}

/// Why a body cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is larger than any that the API server sends.
    #[error("the body has more than the {most} bytes that are allowed")]
    TooLarge {
        /// How many are allowed.
        most: usize,
    },
    /// It did not come in time.
    #[error("the body did not come within {0:?}")]
    TooSlow(Duration),
    /// The connection broke.
    #[error("failed to read the body")]
    Broken(#[source] axum::Error),
    /// It is no review.
    #[error("the body is no {KIND} of {API_VERSION}")]
    NoReview(#[source] serde_json::Error),
    /// It is a review of another version, or something else.
    #[error("the body is {kind:?} of {api_version:?}, and must be {KIND:?} of {API_VERSION:?}")]
    OtherReview {
        /// What it says that it is.
        kind: String,
        /// Of which version.
        api_version: String,
    },
    /// It asks nothing.
    #[error("the review lacks its request")]
    NoRequest,
    /// It is about something else than what is judged here.
    #[error("the request is about {found}, and must be about {expected}")]
    OtherKind {
        /// What it is about.
        found: String,
        /// What is judged here.
        expected: String,
    },
    /// It lacks what is to be judged.
    #[error("the request lacks its object")]
    NoObject,
}

impl Malformed {
    /// The HTTP status that says the same.
    pub fn code(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::TooSlow(_) => 408,
            Self::Broken(_)
            | Self::NoReview(_)
            | Self::OtherReview { .. }
            | Self::NoRequest
            | Self::OtherKind { .. }
            | Self::NoObject => 400,
        }
    }

    /// Kubernetes' word for that.
    pub fn word(&self) -> &'static str {
        match self.code() {
            413 => "RequestEntityTooLarge",
            408 => "Timeout",
            _ => "BadRequest",
        }
    }
}

impl<'a> Review<'a> {
    /// Reads a body.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body).map_err(Malformed::NoReview)
    }

    /// What the answer must repeat; empty where that cannot be known.
    pub fn uid(&self) -> &str {
        let uid = self.request.as_ref().map_or("", |request| &*request.uid);
        if uid.len() <= LONGEST_UID { uid } else { "" }
    }

    /// What is asked of this kind.
    pub fn about<K: Resource<DynamicType = ()>>(&self) -> Result<&Request<'a>, Malformed> {
        if (&*self.kind, &*self.api_version) != (KIND, API_VERSION) {
            let (kind, api_version) = (self.kind.to_string(), self.api_version.to_string());
            return Err(Malformed::OtherReview { kind, api_version });
        }
        let request = self.request.as_ref().ok_or(Malformed::NoRequest)?;
        let expected =
            GroupVersionKind { group: K::group(&()), version: K::version(&()), kind: K::kind(&()) };
        if request.kind != expected {
            let (found, expected) = (request.kind.to_string(), expected.to_string());
            return Err(Malformed::OtherKind { found, expected });
        }
        Ok(request)
    }
}

impl Request<'_> {
    /// Name of the object; empty where the API server has yet to make one.
    pub fn name(&self) -> &str {
        let told = self.there().map_or("", |object| &*object.metadata.name);
        if self.name.is_empty() { told } else { &self.name }
    }

    /// Namespace of the object.
    pub fn namespace(&self) -> &str {
        let told = self.there().map_or("", |object| &*object.metadata.namespace);
        if self.namespace.is_empty() { told } else { &self.namespace }
    }

    /// The object, also where it goes. Of those that go together (`kubectl delete --all`) the request names none.
    fn there(&self) -> Option<&Object<'_>> {
        self.object.as_ref().or(self.old_object.as_ref())
    }
}

impl Object<'_> {
    /// Whether it is being deleted, and waits for its finalizers only.
    pub fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether it asks for the same, to the letter: the API server writes both sides alike.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.spec.map(RawValue::get) == other.spec.map(RawValue::get)
    }
}

impl fmt::Display for GroupVersionKind<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, version, kind } = self;
        write!(formatter, "{kind:?} of \"{group}/{version}\"")
    }
}
