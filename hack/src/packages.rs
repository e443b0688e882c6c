//! What the harness needs from Debian: found by its file, installed where that is allowed, named where it is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// Forbids dpkg to start services while the file is there.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A file that must be there, and the Debian package that brings it.
pub struct Need {
    file: &'static str,
    package: &'static str,
}

/// What clusters and images need.
pub const CLUSTERS: &[Need] = &[
    Need { file: "containerd", package: "containerd" },
    Need { file: "ctr", package: "containerd" },
    Need { file: "runc", package: "runc" },
    Need { file: "/usr/lib/cni/ptp", package: "containernetworking-plugins" },
    Need { file: "iptables", package: "iptables" },
    Need { file: "conntrack", package: "conntrack" },
    Need { file: "ip", package: "iproute2" },
    Need { file: "openssl", package: "openssl" },
    Need { file: "curl", package: "curl" },
    Need { file: "nsenter", package: "util-linux" },
    Need { file: "unshare", package: "util-linux" },
    Need { file: "setsid", package: "util-linux" },
    Need { file: "/etc/ssl/certs/ca-certificates.crt", package: "ca-certificates" },
];

/// What libFuzzer is compiled with.
pub const FUZZING: &[Need] = &[Need { file: "c++", package: "g++" }];

/// Makes sure that every needed file is there, and installs what lacks if this is root on Debian.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing = missing(&needs.iter().filter(|need| !is_there(need.file)).collect::<Vec<_>>());
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() || !is_there("apt-get") {
        bail!("these Debian packages are missing: {}\nas root: apt-get install {0}", missing.join(" "));
    }
    eprintln!("installing Debian packages: {}", missing.join(" "));
    install(&missing)?;
    match needs.iter().find(|need| !is_there(need.file)) {
        Some(need) => bail!("{} is still missing after package {} was installed", need.file, need.package),
        None => Ok(()),
    }
}

fn missing(needs: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = needs.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_there(file: &str) -> bool {
    find(file).is_some()
}

/// Finds a program where a shell or root's shell would.
pub fn find(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from));
    // An absolute path replaces the folder that it is joined to.
    folders.map(|folder| folder.join(file)).find(|path| path.exists())
}

fn install(packages: &[&str]) -> Result<()> {
    let _quiet = NoServices::begin()?;
    command::run(apt_get().args(["update", "-qq"]))?;
    command::run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))?;
    if packages.contains(&"containerd") && Path::new("/run/systemd/system").exists() {
        // The harness starts a containerd of its own; one more at each boot would serve nobody.
        command::run(Command::new("systemctl").args(["disable", "--quiet", "containerd"]))?;
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// While it lives, packages do not start their services.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours && fs::remove_file(POLICY).is_err() {
            eprintln!("remove {POLICY} by hand: it keeps services from starting");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_of_several_missing_files_is_named_once() {
        let needs: Vec<_> = CLUSTERS.iter().filter(|need| need.package != "iptables").collect();
        let packages = missing(&needs);
        assert_eq!(packages.iter().filter(|package| **package == "util-linux").count(), 1);
        assert!(!packages.contains(&"iptables"));
    }

    #[test]
    fn absolute_file_is_found_outside_the_path() {
        assert_eq!(find("/etc/passwd"), Some(PathBuf::from("/etc/passwd")));
        assert_eq!(find("kubedr-no-such-program"), None);
    }
}
