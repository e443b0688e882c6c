//! YAML that a person can read and a machine always writes the same.
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use serde_saphyr::FoldStr;

/// Width of folded text, indentation aside.
const WIDTH: usize = 90;

/// A document of one or more objects under a comment.
pub fn document(comment: &str, objects: &[Value]) -> String {
    let objects: Vec<String> = objects.iter().map(block).collect();
    format!("{}{}", commented(comment), objects.join("---\n"))
}

/// One value in block style, ended by a line break.
pub fn block(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        compact_list_indent: true,
        folded_wrap_chars: WIDTH,
    };
    let folded = serde_saphyr::to_string_with_options(&Ordered(value), options).expect("JSON is YAML");
    // The serializer ends folded text with a line break, which was not there.
    folded.replace(": >\n", ": >-\n")
}

/// A text as comment lines, each of its lines on one.
pub fn commented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("# {line}").trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// A text broken at spaces into lines of at most `width` characters.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A value whose keys come in the order in which people write manifests.
///
/// Not left to `serde_json`: whether its maps keep their order depends on which other crates
/// are built beside this one.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(object) => {
                let mut keys: Vec<&String> = object.keys().collect();
                keys.sort_by_key(|key| (rank(key), *key));
                let mut map = serializer.serialize_map(Some(keys.len()))?;
                for key in keys {
                    map.serialize_entry(key, &Ordered(&object[key]))?;
                }
                map.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            Value::Number(number) => match whole(number) {
                Some(whole) => serializer.serialize_i64(whole),
                None => number.serialize(serializer),
            },
            // Said explicitly, or a colon in a sentence makes it one long quoted line.
            Value::String(text) if text.len() > WIDTH && is_prose(text) => {
                FoldStr(text).serialize(serializer)
            }
            other => other.serialize(serializer),
        }
    }
}

/// Whether folding gives the same text back: words with one space between.
fn is_prose(text: &str) -> bool {
    text.split(' ').all(|word| !word.is_empty() && !word.contains(char::is_whitespace))
}

fn rank(key: &str) -> usize {
    const FIRST: [&str; 5] = ["apiVersion", "kind", "metadata", "name", "namespace"];
    FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len())
}

/// The whole number that a limit in a schema is: typed as floating point, it would read `120.0`.
fn whole(number: &serde_json::Number) -> Option<i64> {
    number.to_string().strip_suffix(".0")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_come_as_people_write_them_and_numbers_without_a_fraction() {
        let value = json!({"spec": {"b": 1.0, "a": 0.5}, "kind": "K", "apiVersion": "v1", "metadata": {"labels": {}, "name": "one"}});
        let expected =
            "apiVersion: v1\nkind: K\nmetadata:\n  name: one\n  labels: {}\nspec:\n  a: 0.5\n  b: 1\n";
        assert_eq!(block(&value), expected);
    }

    #[test]
    fn words_that_older_parsers_take_for_something_else_are_quoted() {
        for word in
            ["yes", "on", "y", "null", "1e3", "0x10", "12:30", "*/10 * * * *", "-", "true", "2030-01-01", ""]
        {
            let rendered = block(&json!({"key": word}));
            assert!(rendered.contains('"') || rendered.contains('\''), "{rendered}");
            let read: Value = serde_saphyr::from_str(&rendered).expect("YAML");
            assert_eq!(read["key"], word);
        }
    }

    #[test]
    fn long_text_is_folded_and_read_as_it_was() {
        let text = "some words: and # more ".repeat(20).trim_end().to_owned();
        let rendered = block(&json!({"description": text}));
        assert!(rendered.lines().all(|line| line.len() <= WIDTH + 12), "{rendered}");
        let read: Value = serde_saphyr::from_str(&rendered).expect("YAML");
        assert_eq!(read["description"], text);
    }
}
