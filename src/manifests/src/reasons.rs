//! `docs/reasons.md`: what each reason means and what to do.
use std::fmt::Write;

use model::{Group, Reason};

use crate::tree::{File, MARK};

/// The one file.
pub fn file() -> File {
    let mut page = format!(
        "<!-- {MARK} from src/model/src/reason.rs. Do not edit. -->\n\
         # Reasons\n\n\
         The word is the same in a condition's `reason`, at the beginning of an event's note, in a\n\
         metric's label and in the result of a pod. The set is closed.\n\n\
         The exit code is that of the agent's container: 0 done; 64 to 74 final, so that the Job fails\n\
         at once; 75 try again.\n"
    );
    for (group, title) in TITLES {
        page += &section(*group, title);
    }
    File::new("docs/reasons.md", page)
}

const TITLES: &[(Group, &str)] = &[
    (Group::Fine, "Nothing is wrong"),
    (Group::AskedWrongly, "Something was asked for that cannot be"),
    (Group::Store, "The S3 server"),
    (Group::Repository, "The repository"),
    (Group::Etcd, "etcd"),
    (Group::Host, "Files of the node"),
    (Group::Pod, "The pod"),
    (Group::Kubedr, "kubedr itself"),
];

fn section(group: Group, title: &str) -> String {
    let mut text =
        format!("\n## {title}\n\n| reason | what it means | what to do | exit code |\n|---|---|---|---|\n");
    for reason in Reason::ALL.iter().filter(|reason| reason.group() == group) {
        let cell = |words: &str| words.replace('|', "\\|");
        let (meaning, advice) = (cell(reason.meaning()), cell(reason.advice()));
        let row = writeln!(text, "| `{reason}` | {meaning} | {advice} | {} |", reason.exit_code());
        row.expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one_row() {
        let page = file().content;
        for reason in Reason::ALL {
            let rows = page.lines().filter(|line| line.starts_with(&format!("| `{reason}` |")));
            assert_eq!(rows.count(), 1, "{reason}");
        }
    }
}
