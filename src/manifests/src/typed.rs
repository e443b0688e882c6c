//! Tells a misspelt field from one that Kubernetes knows: it would be left out without a word.
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Reads a value as its type and finds that nothing of it was lost.
pub fn is<Kind: DeserializeOwned + Serialize>(value: &Value) {
    let typed: Kind = serde_json::from_value(value.clone()).expect("the type");
    assert_eq!(json!(typed), *value);
}
