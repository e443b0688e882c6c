//! MetadataBackupRecord: what it is of stays what it is of.
use api::MetadataBackupRecord;
use model::Violation;

use crate::{Admission, judge::Kind};

impl Kind for MetadataBackupRecord {
    fn flaws(&self, _by: &Admission) -> Vec<Violation> {
        self.validate()
    }

    fn broken_pins(&self, old: &Self) -> Vec<Violation> {
        self.validate_change(old)
    }
}
