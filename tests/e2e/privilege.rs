//! What the pod of a backup may do: nothing but read the folders that it is shown.
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::{
        linux::{fs::MetadataExt, net::SocketAddrExt},
        unix::{
            fs::FileTypeExt,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use file_handle::FileHandle;
use k8s_openapi::api::core::v1::{Pod, PodSpec, VolumeMount};
use kube::ResourceExt;
use kubedr_tests::{
    HostFolder, Installation, Program,
    escape::{Attempt, Plan, attempts},
    until, with_kubedr,
};
use model::environment::{CERTIFICATES_MOUNT, WORK_MOUNT};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_escape");

/// The one volume that a pod may write to.
const WORK: &str = "work";

/// Where runtimes and kubelets take orders or tell secrets.
const SOCKETS: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/run/docker.sock",
    "/var/lib/kubelet/device-plugins/kubelet.sock",
    "/var/lib/kubelet/pod-resources/kubelet.sock",
];

/// Where Kubernetes puts the token of an account.
const TOKENS: [&str; 2] = ["/var/run/secrets", "/run/secrets"];

/// All that is tried: one that is not tried any more must be missed.
const TRICKS: [&str; 26] = [
    "parent-folders",
    "roots-of-processes",
    "descriptors-of-processes",
    "symbolic-links",
    "hard-link",
    "new-files-in-mounts",
    "old-files-in-mounts",
    "new-file-in-root",
    "kernel-settings",
    "block-devices",
    "account-token",
    "sockets",
    "abstract-sockets",
    "known-file-handle",
    "guessed-file-handle",
    "bind-mount",
    "writable-remount",
    "own-mount-namespace",
    "own-user-namespace",
    "chroot",
    "device-node",
    "other-user",
    "host-process",
    "capabilities",
    "new-privileges",
    "all-system-calls",
];

/// What a pod is not permitted: another refusal would mean that the trick was not tried in earnest.
const NOT_PERMITTED: [&str; 9] = [
    "known-file-handle",
    "guessed-file-handle",
    "bind-mount",
    "writable-remount",
    "own-mount-namespace",
    "own-user-namespace",
    "chroot",
    "device-node",
    "other-user",
];

/// Something that not every machine has, without which nothing shows that a trick works.
struct Need {
    trick: &'static str,
    what: &'static str,
    is_there: fn(&Path) -> Result<bool>,
}

/// All other tricks succeed with all rights wherever these tests run.
const NEEDS: [Need; 5] = [
    Need { trick: "block-devices", what: "a disk under /dev", is_there: has_disk },
    Need {
        trick: "guessed-file-handle",
        what: "ext4 as the root file system, whose handle alone can be guessed",
        is_there: is_in_guessable_root,
    },
    Need {
        trick: "own-user-namespace",
        what: "a kernel that gives out more of them",
        is_there: |_| Ok(has_namespaces()),
    },
    Need {
        trick: "new-privileges",
        what: "tests that may still gain rights, which nobody can again who gave it up",
        is_there: |_| own_status("NoNewPrivs:\t0"),
    },
    Need {
        trick: "all-system-calls",
        what: "tests without a filter, which nobody gets rid of",
        is_there: |_| own_status("Seccomp:\t0"),
    },
];

/// Below it are the numbers of a pod's few processes, and the kernel gives none of them out twice.
const ABOVE_A_PODS: i32 = 300;

#[tokio::test]
async fn no_trick_leads_out_of_the_pod_of_a_backup() {
    with_kubedr("privilege", async |kubedr| {
        let host = HostFolder::make(&kubedr.cluster, "privilege")?;
        let plan = planned(host.path())?;
        // At a byte a second, etcd's snapshot lasts for longer than this test.
        kubedr.ready_policy(&json!({ "certsDir": host.on_node("shown"), "maxRate": 1 })).await?;
        let pod = working_pod(kubedr).await?;
        asks_for_nothing(pod.spec.as_ref().context("no spec")?)?;
        let victim = Victim::on_node(kubedr.cluster.node_process()?)?;
        ensure!(victim.number >= ABOVE_A_PODS, "a process of the pod may have the number {}", victim.number);
        let plan = Plan { process: victim.number, ..in_the_pod(plan, &host, &pod) };
        let attempts = tried_in(kubedr, &pod, &plan).await?;
        let tried: Vec<_> = attempts.iter().map(|attempt| attempt.trick.as_str()).collect();
        assert_eq!(tried, TRICKS);
        let reached: Vec<_> = attempts.iter().filter(|attempt| !attempt.refused).collect();
        assert!(reached.is_empty(), "the pod can be left: {reached:#?}");
        for attempt in attempts.iter().filter(|attempt| NOT_PERMITTED.contains(&&*attempt.trick)) {
            assert!(attempt.said.contains("Operation not permitted"), "{attempt:?}");
        }
        let process = attempts.iter().find(|attempt| attempt.trick == "host-process");
        assert!(process.is_some_and(|attempt| attempt.said.contains("No such process")), "{process:?}");
        Ok(())
    })
    .await;
}

/// Without it, the test above could not fail.
#[tokio::test]
async fn the_same_tricks_succeed_with_all_rights() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [socket, sealed] = ["socket", "sealed"].map(|name| folder.path().join(name));
    let (_listener, _descriptor) = (UnixListener::bind(&socket)?, File::open(folder.path())?);
    let nameless = format!("kubedr-escape-{}", std::process::id());
    let _nameless = UnixListener::bind_addr(&SocketAddr::from_abstract_name(nameless)?)?;
    fs::create_dir(&sealed)?;
    let (victim, plan) = (Victim::here()?, planned(folder.path())?);
    let plan = Plan {
        process: victim.number,
        sockets: vec![socket],
        tokens: vec![folder.path().to_owned()],
        read_only: vec![plan.shown.clone(), sealed.clone()],
        ..plan
    };
    for attempt in attempts(&with_all_rights(&plan, &sealed).await?)? {
        match NEEDS.iter().find(|need| need.trick == attempt.trick) {
            Some(need) if !(need.is_there)(folder.path())? => {
                eprintln!("nothing shows that {} works: it takes {}", need.trick, need.what);
            }
            _ => assert!(!attempt.refused, "{attempt:?}"),
        }
    }
    Ok(())
}

/// Runs all tricks on this machine, where one folder is mounted so that nothing can be written to it.
async fn with_all_rights(plan: &Plan, sealed: &Path) -> Result<String> {
    const SEAL: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" "$3""#;
    // What is mounted goes away with it.
    let unshare =
        Program::new("unshare").args(["--mount", "--propagation", "private", "--", "sh", "-c", SEAL]);
    unshare.arg("seal").arg(sealed).arg(PROGRAM).arg(serde_json::to_string(plan)?).succeed().await
}

fn has_disk(_: &Path) -> Result<bool> {
    let devices = fs::read_dir("/dev").context("no devices")?.flatten();
    Ok(devices
        .into_iter()
        .any(|device: fs::DirEntry| device.file_type().is_ok_and(|kind| kind.is_block_device())))
}

fn has_namespaces() -> bool {
    fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|most| most.trim() != "0")
}

fn is_in_guessable_root(folder: &Path) -> Result<bool> {
    let root = Path::new("/");
    let is_same = fs::metadata(root)?.st_dev() == fs::metadata(folder)?.st_dev();
    Ok(is_same && FileHandle::of(root).is_ok_and(|handle| handle == FileHandle::of_root_folder()))
}

fn own_status(line: &str) -> Result<bool> {
    Ok(fs::read_to_string("/proc/self/status")?.lines().any(|found| found == line))
}

/// A process that does nothing, and ends with this value.
struct Victim {
    child: Child,
    /// What its own PID namespace calls it.
    number: i32,
}

impl Victim {
    /// One among the tests.
    fn here() -> Result<Self> {
        Self::of(&mut Command::new("sh"))
    }

    /// One among the processes of a node.
    fn on_node(node: i32) -> Result<Self> {
        Self::of(Command::new("nsenter").args(["--target", &node.to_string(), "--pid", "--", "sh"]))
    }

    /// It says its number, and waits for an input that never comes.
    fn of(shell: &mut Command) -> Result<Self> {
        let shell = shell.args(["-c", "echo $$; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().context("failed to start a process")?;
        let mut number = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut number)?;
        Ok(Self { number: number.trim().parse().context("no number")?, child })
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Its input ends; whatever else goes wrong with it fails no test.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Makes a folder to be shown and a file beside it that is not, and a plan to reach it from this machine.
fn planned(folder: &Path) -> Result<Plan> {
    let [shown, work, outside] = ["shown", "work", "outside"].map(|name| folder.join(name));
    let content = "only who is outside reads this".to_owned();
    fs::create_dir(&shown)?;
    fs::create_dir(&work)?;
    fs::write(shown.join("ca.crt"), "whoever is inside may read this")?;
    fs::write(&outside, &content)?;
    let handle = FileHandle::of(&outside).context("this file system has no file handles")?;
    Ok(Plan {
        read_only: vec![shown.clone()],
        shown,
        work,
        outside,
        content,
        handle,
        process: std::process::id().try_into()?,
        sockets: SOCKETS.map(PathBuf::from).to_vec(),
        tokens: TOKENS.map(PathBuf::from).to_vec(),
    })
}

/// The same plan, with the names that things have in the pod and on its node.
fn in_the_pod(plan: Plan, host: &HostFolder, pod: &Pod) -> Plan {
    let mounts = pod.spec.as_ref().map(mounts).unwrap_or_default();
    let read_only = mounts.into_iter().filter(|mount| mount.name != WORK);
    Plan {
        shown: CERTIFICATES_MOUNT.into(),
        read_only: read_only.map(|mount| mount.mount_path.into()).collect(),
        work: WORK_MOUNT.into(),
        outside: host.on_node("outside").into(),
        ..plan
    }
}

/// Starts a backup, and returns its pod as soon as it runs.
async fn working_pod(kubedr: &Installation) -> Result<Pod> {
    let job = kubedr.start_backup("etcd").await?.name_any();
    until("the pod of the backup to run", async || {
        let pods = kubedr.pods_of(&job).await?;
        let status = |pod: &Pod| pod.status.clone().unwrap_or_default();
        let running = pods.iter().find(|pod| status(pod).phase.as_deref() == Some("Running"));
        Ok(running.cloned().ok_or_else(|| pods.iter().map(status).collect::<Vec<_>>()))
    })
    .await
}

/// Lays the program into the pod's own folder, for its image has nothing to copy with, and runs it with the pod's rights.
async fn tried_in(kubedr: &Installation, pod: &Pod, plan: &Plan) -> Result<Vec<Attempt>> {
    let folder = kubedr.cluster.empty_dir(pod, WORK)?;
    fs::copy(PROGRAM, folder.join("escape")).context("failed to lay the program into the pod's folder")?;
    let (name, program) = (pod.name_any(), format!("{WORK_MOUNT}/escape"));
    let exec = ["exec", "--namespace", &kubedr.namespace, &name, "--container", "agent", "--", &program];
    let exec = kubedr.cluster.program("kubectl").args(exec).arg(serde_json::to_string(plan)?);
    attempts(&exec.succeed().await.context("is it linked statically, as `cargo xtask test` has it?")?)
}

/// The pod as it was admitted has no token, no capability, and one folder to write to.
fn asks_for_nothing(spec: &PodSpec) -> Result<()> {
    assert_eq!(spec.automount_service_account_token, Some(false));
    assert!(![spec.host_pid, spec.host_ipc, spec.share_process_namespace].contains(&Some(true)), "{spec:?}");
    let is_token = |mount: &VolumeMount| mount.mount_path.contains("serviceaccount");
    let mounts = mounts(spec);
    assert!(!mounts.iter().any(is_token), "{mounts:?}");
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    assert!(volumes.iter().all(|volume| volume.projected.is_none()), "{volumes:?}");
    let is_known = |mount: &VolumeMount| mount.name == WORK || mount.read_only == Some(true);
    assert!(mounts.len() > 3 && mounts.iter().all(is_known), "{mounts:?}");
    let profile = spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    assert_eq!(profile.map(|profile| profile.type_.as_str()), Some("RuntimeDefault"));
    ensure!(spec.containers.len() == 1 && spec.init_containers.is_none(), "another container: {spec:?}");
    let rights = spec.containers[0].security_context.clone().context("no security context")?;
    assert_eq!((rights.privileged, rights.allow_privilege_escalation), (Some(false), Some(false)));
    assert_eq!(rights.read_only_root_filesystem, Some(true));
    let capabilities = rights.capabilities.unwrap_or_default();
    assert_eq!((capabilities.drop, capabilities.add), (Some(vec!["ALL".to_owned()]), None));
    Ok(())
}

fn mounts(spec: &PodSpec) -> Vec<VolumeMount> {
    spec.containers.iter().flat_map(|container| container.volume_mounts.clone().unwrap_or_default()).collect()
}
