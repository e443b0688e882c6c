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
    page += &unproduced();
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

/// What no test of ours produces for real, and why; each is judged by pure tests.
const UNPRODUCED: &[(Reason, &str)] = &[
    (Reason::MountFailed, "a mount that fails although its source is there takes broken storage"),
    (
        Reason::Evicted,
        "backup pods are critical to the cluster, and a kubelet evicts no such pod; an admission may change that",
    ),
    (
        Reason::RepositoryLocked,
        "a backup waits five minutes for whoever holds the repository alone; of a pod that deletes, a test produces it",
    ),
    (Reason::Bug, "who knew how would mend it"),
];

fn unproduced() -> String {
    let lines: Vec<_> = UNPRODUCED.iter().map(|(reason, why)| format!("- `{reason}`: {why}.\n")).collect();
    let lines = lines.concat();
    format!(
        "\n## Not produced for real\n\nA test on a real cluster in `tests/e2e` produces each reason that a backup can meet, but for:\n\n{lines}"
    )
}

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

    /// Reasons that no backup of this version meets: nothing lists for the operator yet, and what deletes is no backup.
    const UNUSED: &[Reason] = &[Reason::SyncIncomplete, Reason::ObjectLocked, Reason::SurvivorMissing];

    #[test]
    fn every_reason_is_produced_by_a_test_on_a_real_cluster_or_said_not_to_be() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/e2e");
        let files = std::fs::read_dir(folder).expect("tests").flatten();
        let tests: String = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        // What keeps retention from its work is met by no backup.
        let tests: String = tests.lines().filter(|line| !line.contains("\"Retained\"")).collect();
        for reason in Reason::ALL.iter().filter(|reason| reason.group() != Group::Fine) {
            let is_produced = tests.contains(&format!("\"{reason}\""));
            let is_excused = UNUSED.contains(reason) || UNPRODUCED.iter().any(|(other, _)| other == reason);
            assert!(is_produced || is_excused, "{reason} is produced by no test");
        }
        assert!(UNPRODUCED.len() <= 5, "what is not shown must stay the exception");
    }

    #[test]
    fn every_reason_has_one_row() {
        let page = file().content;
        for reason in Reason::ALL {
            let rows = page.lines().filter(|line| line.starts_with(&format!("| `{reason}` |")));
            assert_eq!(rows.count(), 1, "{reason}");
        }
    }
}
