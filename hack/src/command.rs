//! Runs other programs: one that fails is named, together with what it said.

use std::io::IsTerminal;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often long work says that it is alive.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Runs a command without input and says nothing unless it fails.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a command without input and returns what it wrote to standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", name(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}: {}", name(command), output.status, said(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command on the caller's own terminal.
pub fn run_visibly(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", name(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", name(command));
    }
    Ok(())
}

/// Runs a long command on the caller's own terminal; where that is none, says every few seconds that it goes on.
///
/// On a terminal cargo draws a progress bar. Elsewhere it is silent while one large crate compiles.
pub fn run_at_length(what: &str, command: &mut Command) -> Result<()> {
    let begin = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {}", name(command)))?;
    let mut next = PROGRESS_INTERVAL;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() >= next {
            next += PROGRESS_INTERVAL;
            if !std::io::stderr().is_terminal() {
                eprintln!("  {what}: {} s", begin.elapsed().as_secs());
            }
        }
        thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        bail!("{} ended with {status}", name(command));
    }
    Ok(())
}

/// Program and arguments, as one would type them.
pub fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if errors.is_empty() { String::from_utf8_lossy(&output.stdout).trim().to_owned() } else { errors }
}

/// What a command sets a variable of the environment to.
#[cfg(test)]
pub fn variable<'command>(command: &'command Command, name: &str) -> Option<&'command std::ffi::OsStr> {
    command.get_envs().find(|(found, _)| *found == name).and_then(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_what_the_program_wrote() {
        assert_eq!(output(Command::new("echo").arg("hello")).unwrap(), "hello\n");
    }

    #[test]
    fn failure_names_the_command_and_what_it_said() {
        let error = run(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("no such luck") && text.contains('3'), "{text}");
    }

    #[test]
    fn missing_program_is_named() {
        let error = run(&mut Command::new("kubedr-no-such-program")).unwrap_err();
        assert!(error.to_string().contains("kubedr-no-such-program"));
    }
}
