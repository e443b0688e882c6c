//! A value that cannot be printed.
use std::fmt;

use zeroize::Zeroize;

/// A password or key.
///
/// # Guarantees
///
/// `Debug` and `Display` show no part of it, it does not serialise, and its
/// memory is overwritten when it is dropped. The one way out is [`Secret::expose`],
/// so that a reviewer finds every use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value read from a Secret's file.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, to be handed to the program or header that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_printing_shows_a_part_of_it() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "… Secret(…) Secret(…)");
    }
}
