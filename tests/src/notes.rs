//! What is shown after a run, whether it succeeded or not: of a test that does, the rest is not printed.
use std::{fs::OpenOptions, io::Write, time::Duration};

/// Writes down how long a test took, where `cargo xtask test` wants to show it.
pub fn note_time(name: &str, took: Duration) {
    add("KUBEDR_TEST_TIMES", &format!("{:.1} {name}", took.as_secs_f32()));
}

/// Says something on standard error, and once more at the end of `cargo xtask test`.
pub fn note(line: &str) {
    eprintln!("{line}");
    add("KUBEDR_TEST_NOTES", line);
}

/// Adds a line to the file that a variable names.
fn add(variable: &str, line: &str) {
    let Ok(path) = std::env::var(variable) else { return };
    let file = OpenOptions::new().create(true).append(true).open(path);
    // What is not shown fails no test.
    let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
}
