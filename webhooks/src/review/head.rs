//! The first words of a review, for where the rest did not come or cannot be read.
//!
//! API servers write its fields in the order of Kubernetes' `admission/v1`: uid, kinds and names, what is to be done, and
//! only then the objects.
use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

use super::{LONGEST_UID, Operation};

/// How much is looked at, bytes: what comes before the objects is shorter.
pub const LONGEST: usize = 2 << 10;

/// What they say.
#[derive(Debug, Default)]
pub struct Head {
    uid: String,
    operation: Option<Operation>,
}

impl Head {
    /// Reads as far as there is something to read.
    pub fn of(body: &[u8]) -> Self {
        let mut head = Self::default();
        let mut words = serde_json::Deserializer::from_slice(&body[..body.len().min(LONGEST)]);
        // It breaks off somewhere; what was told before that counts.
        let _broken = words.deserialize_map(Around(&mut head));
        head
    }

    /// What the answer must repeat; empty where that cannot be known, or nobody waits to hear of it.
    ///
    /// An answer without it is none for an API server: it goes by what `config/webhook` says for that. For what is written
    /// that is an error in words that say nothing, and a removal goes on, as it should.
    pub fn uid(&self) -> &str {
        let is_written = matches!(self.operation, Some(Operation::Create | Operation::Update));
        if is_written && self.uid.len() <= LONGEST_UID { &self.uid } else { "" }
    }
}

/// A review.
struct Around<'h>(&'h mut Head);

impl<'de> Visitor<'de> for Around<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a review")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "request" => fields.next_value_seed(Inside(self.0))?,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Its request.
struct Inside<'h>(&'h mut Head);

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, request: D) -> Result<(), D::Error> {
        request.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "uid" => self.0.uid = fields.next_value()?,
                "operation" => self.0.operation = Some(fields.next_value()?),
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}
