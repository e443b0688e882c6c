//! `escape PLAN [TRICK]`: tries to leave the pod that it runs in, by one trick or by all, and says what came of it.
//!
//! ```text
//! escape PLAN ─▶ escape PLAN TRICK, once for each ─▶ one line of JSON
//! ```
//!
//! Each trick has a process of its own: one that succeeds changes what the next would find.
mod files;
mod kernel;
mod rights;

use std::{
    fmt::Display,
    io::Write,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};
use kubedr_tests::escape::{Attempt, Plan};

/// An error says that it could not be tried at all, which is no refusal.
type Trick = fn(&Plan) -> Result<Outcome>;

/// What came of a trick.
enum Outcome {
    /// It failed, with what was said.
    Refused(String),
    /// It succeeded, with what it reached.
    Reached(String),
}

impl Outcome {
    fn of<T>(result: Result<T, impl Display>) -> Self {
        match result {
            Ok(_) => Self::Reached("nothing is said against it".to_owned()),
            Err(error) => Self::Refused(error.to_string()),
        }
    }

    /// One of several that succeeds is enough.
    fn of_any<T, E: Display>(tries: impl IntoIterator<Item = (impl Display, Result<T, E>)>) -> Self {
        let mut said = Vec::new();
        for (what, result) in tries {
            match result {
                Ok(_) => return Self::Reached(what.to_string()),
                Err(error) => said.push(format!("{what}: {error}")),
            }
        }
        Self::Refused(if said.is_empty() { "there is none".to_owned() } else { said.join(", ") })
    }
}

const TRICKS: &[(&str, Trick)] = &[
    ("parent-folders", |plan| Ok(files::parent_folders(plan))),
    ("roots-of-processes", files::roots_of_processes),
    ("descriptors-of-processes", files::descriptors_of_processes),
    ("symbolic-links", files::symbolic_links),
    ("hard-link", files::hard_link),
    ("new-files-in-mounts", |plan| Ok(files::new_files_in_mounts(plan))),
    ("old-files-in-mounts", files::old_files_in_mounts),
    ("new-file-in-root", |_| Ok(files::new_file_in_root())),
    ("kernel-settings", |_| Ok(files::kernel_settings())),
    ("block-devices", |_| files::block_devices()),
    ("account-token", |plan| Ok(files::account_token(plan))),
    ("sockets", |plan| Ok(files::sockets(plan))),
    ("abstract-sockets", |_| files::abstract_sockets()),
    ("known-file-handle", kernel::known_file_handle),
    ("guessed-file-handle", kernel::guessed_file_handle),
    ("bind-mount", kernel::bind_mount),
    ("writable-remount", |plan| Ok(kernel::writable_remount(plan))),
    ("own-mount-namespace", |_| Ok(kernel::own_mount_namespace())),
    ("own-user-namespace", |_| Ok(kernel::own_user_namespace())),
    ("chroot", |plan| Ok(kernel::other_root(plan))),
    ("device-node", kernel::device_node),
    ("other-user", |_| Ok(kernel::other_user())),
    ("host-process", |plan| Ok(kernel::host_process(plan))),
    ("capabilities", |_| rights::capabilities()),
    ("new-privileges", |_| rights::new_privileges()),
    ("all-system-calls", |_| rights::all_system_calls()),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.as_slice() {
        [plan] => TRICKS.iter().try_for_each(|(name, _)| try_apart(plan, name)),
        [plan, name] => try_one(&serde_json::from_str(plan).context("the plan cannot be read")?, name),
        _ => bail!("usage: escape PLAN [TRICK]"),
    }
}

fn try_apart(plan: &str, name: &str) -> Result<()> {
    let status = Command::new("/proc/self/exe").args([plan, name]).status();
    let status = status.with_context(|| format!("failed to start {name}"))?;
    ensure!(status.success(), "{name} could not be tried");
    Ok(())
}

fn try_one(plan: &Plan, name: &str) -> Result<()> {
    let found = TRICKS.iter().find(|(known, _)| *known == name);
    let (_, trick) = found.with_context(|| format!("no trick is called {name:?}"))?;
    let (refused, said) = match trick(plan).with_context(|| name.to_owned())? {
        Outcome::Refused(said) => (true, said),
        Outcome::Reached(said) => (false, said),
    };
    let attempt = Attempt { trick: name.to_owned(), refused, said };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&attempt)?).context("failed to say it")
}
