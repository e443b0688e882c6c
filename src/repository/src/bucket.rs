//! The S3 client of one repository.
use jiff::Timestamp;
use model::result::Failure;

use crate::Access;

/// The bucket and folder of one repository.
#[derive(Clone, Debug)]
pub struct Bucket {}

/// What of a repository is in the bucket's folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    pub fn new(_access: &Access) -> Result<Self, Failure> {
        todo!()
    }

    /// Makes the bucket if it is missing, and says whether it did.
    pub async fn ensure(&self) -> Result<bool, Failure> {
        todo!()
    }

    /// Looks for the parts of a repository.
    pub async fn contents(&self) -> Result<Contents, Failure> {
        todo!()
    }

    /// Lists a folder, page by page.
    pub async fn list(&self, _folder: &str, _each: impl FnMut(Page)) -> Result<(), Failure> {
        todo!()
    }

    /// Reads a whole file that is no larger than `most` bytes; none if it is not there.
    pub async fn get(&self, _name: &str, _most: u64) -> Result<Option<Vec<u8>>, Failure> {
        todo!()
    }

    /// Deletes one file; it is no error if it is gone already.
    pub async fn delete(&self, _name: &str) -> Result<(), Failure> {
        todo!()
    }
}
