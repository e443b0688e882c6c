//! MetadataRestore: nothing but what is wrong with it by itself.
use api::MetadataRestore;
use model::Violation;

use crate::{Admission, judge::Kind};

impl Kind for MetadataRestore {
    fn flaws(&self, _by: &Admission) -> Vec<Violation> {
        self.validate()
    }
}
