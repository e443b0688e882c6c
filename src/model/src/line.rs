//! What others say, as it may stand in conditions, events and logs: one line, not long, and nothing in it that a
//! terminal obeys instead of showing it.
use serde::{Deserialize, Deserializer, de::Error};

/// Says that there was more.
const MORE: char = '…';

/// A text as such a line of at most `most` bytes, counted as JSON has them.
pub fn of(text: &str, most: usize) -> String {
    let shown: String =
        text.chars().map(|character| if is_obeyed(character) { ' ' } else { character }).collect();
    shortened(shown.trim(), most)
}

/// Reads a text that is such a line of at most `MOST` bytes, and no other: a name that was changed is none.
pub fn read<'de, const MOST: usize, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_line = of(&text, MOST) == text;
    is_line.then_some(text).ok_or_else(|| D::Error::custom(format!("no line of at most {MOST} bytes")))
}

/// Whether a character ends lines, moves cursors, or hides or turns around what is beside it.
fn is_obeyed(character: char) -> bool {
    let hides_or_turns = matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    character.is_control() || hides_or_turns
}

/// Cuts a text that is too long at a character's border and says so.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().map(escaped).sum::<usize>() <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(MORE.len_utf8());
    let fitting = text.chars().take_while(|character| {
        let rest = left.checked_sub(escaped(*character));
        left = rest.unwrap_or_default();
        rest.is_some()
    });
    fitting.chain([MORE]).collect()
}

/// How many bytes of JSON a character takes.
fn escaped(character: char) -> usize {
    character.len_utf8() + usize::from(matches!(character, '"' | '\\'))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::two_lines("one\r\ntwo\n", "one  two")]
    #[case::an_escape("\u{1b}[2J\u{1b}]0;title\u{7}gone", "[2J ]0;title gone")]
    #[case::an_escape_of_one_character("\u{9b}31mred", "31mred")]
    #[case::a_mark_of_arabic("ab\u{61c}dc", "ab dc")]
    #[case::a_tag_that_nobody_sees("ab\u{e0041}dc", "ab dc")]
    #[case::a_text_that_is_turned_around("ab\u{202e}dc", "ab dc")]
    #[case::what_is_not_seen("a\u{200b}b\u{feff}", "a b")]
    #[case::another_end_of_a_line("a\u{2028}b", "a b")]
    #[case::nothing("\0\u{7f}", "")]
    #[case::what_people_write("käse „\\\" 💥", "käse „\\\" 💥")]
    fn a_line_shows_of(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(of(text, 100), expected);
    }

    #[rstest]
    #[case::as_long("abcdef", "abcdef")]
    #[case::longer("abcdefg", "abc…")]
    #[case::within_a_character("abcä💥", "abc…")]
    #[case::escaped("a\"\"\"", "a\"…")]
    fn a_line_is_cut_that_is_longer_than_six_bytes(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(of(text, 6), expected);
        assert_eq!(of(expected, 6), expected, "cut again");
    }

    #[rstest]
    #[case::a_name("\"node1\"", true)]
    #[case::as_long_as_may_be("\"123456\"", true)]
    #[case::longer("\"1234567\"", false)]
    #[case::cut_and_then_longer("\"123456…\"", false)]
    #[case::with_an_escape("\"n\\u001b[m\"", false)]
    #[case::of_two_lines("\"a\\nb\"", false)]
    #[case::with_a_space_behind_it("\"node1 \"", false)]
    #[case::a_number("1", false)]
    fn a_name_is_believed_that_is_a_line(#[case] json: &str, #[case] is_believed: bool) {
        let read = read::<6, _>(&mut serde_json::Deserializer::from_str(json));
        assert_eq!(read.is_ok(), is_believed);
    }
}
