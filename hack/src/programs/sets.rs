//! What is built: one set for each folder of `hack/programs`.

use super::ProgramSet;

/// The control plane, the node's programs and kubectl.
pub const KUBERNETES: ProgramSet = ProgramSet {
    name: "kubernetes",
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    // Without it the programs call themselves v0.0.0, and version checks of clients fail.
    link_flags: "-X k8s.io/component-base/version.gitVersion=v1.35.4",
    behind: None,
};

/// The oldest Kubernetes that is supported, as an API server only.
pub const KUBERNETES_1_33: ProgramSet = ProgramSet {
    name: "kubernetes-1.33",
    programs: API_SERVER,
    link_flags: "-X k8s.io/component-base/version.gitVersion=v1.33.13",
    behind: None,
};

/// The newest Kubernetes that could be had, as an API server only: its kubelet needs containerd 2.
pub const KUBERNETES_1_36: ProgramSet = ProgramSet {
    name: "kubernetes-1.36",
    programs: API_SERVER,
    link_flags: "-X k8s.io/component-base/version.gitVersion=v1.36.3",
    behind: None,
};

const API_SERVER: &[(&str, &str)] = &[("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver")];

/// The server, and the tools that users restore with.
pub const ETCD: ProgramSet = ProgramSet {
    name: "etcd",
    programs: &[
        ("etcd", "go.etcd.io/etcd/server/v3"),
        ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
        ("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
        ("bbolt", "go.etcd.io/bbolt/cmd/bbolt"),
    ],
    link_flags: "",
    behind: None,
};

/// The backup engine, as it goes into the agent's image.
pub const RESTIC: ProgramSet = ProgramSet {
    name: "restic",
    programs: &[("restic", "github.com/restic/restic/cmd/restic")],
    link_flags: "",
    behind: None,
};

/// The S3 server of a test cluster.
pub const VERSITYGW: ProgramSet = ProgramSet {
    name: "versitygw",
    programs: &[("versitygw", "github.com/versity/versitygw/cmd/versitygw")],
    link_flags: "",
    behind: None,
};

/// The same with a wrong clock: it refuses every request as too new.
pub const VERSITYGW_BEHIND: ProgramSet = ProgramSet {
    programs: &[("versitygw-behind", "github.com/versity/versitygw/cmd/versitygw")],
    behind: Some("20 * Minute"),
    ..VERSITYGW
};

/// A second S3 server, because servers differ. Its licence is AGPL: it is built to be run, never shipped.
///
/// `MINIO_UPDATE=off` keeps it from asking the internet for a newer one.
pub const MINIO: ProgramSet = ProgramSet {
    name: "minio",
    programs: &[("minio", "github.com/minio/minio")],
    link_flags: "",
    behind: None,
};

/// Issues certificates for webhooks; the programs of 1.12 and later cannot be had as Go modules.
///
/// Its resource definitions lie in `deploy/crds` of the module.
pub const CERT_MANAGER: ProgramSet = ProgramSet {
    name: "cert-manager",
    programs: &[
        ("cert-manager-controller", "github.com/cert-manager/cert-manager/cmd/controller"),
        ("cert-manager-cainjector", "github.com/cert-manager/cert-manager/cmd/cainjector"),
        ("cert-manager-webhook", "github.com/cert-manager/cert-manager/cmd/webhook"),
    ],
    link_flags: "-X github.com/cert-manager/cert-manager/pkg/util.AppVersion=v1.11.5",
    behind: None,
};

/// Installs charts as users do.
pub const HELM: ProgramSet = ProgramSet {
    name: "helm",
    programs: &[("helm", "helm.sh/helm/v3/cmd/helm")],
    // Without the last two, `helm template` takes the cluster for a Kubernetes 1.20 and refuses newer charts.
    link_flags: "-X helm.sh/helm/v3/internal/version.version=v3.22.0 \
                 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
                 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37",
    behind: None,
};

/// Reads the metrics and evaluates the alerts; promtool checks rules. It has no web pages.
pub const PROMETHEUS: ProgramSet = ProgramSet {
    name: "prometheus",
    programs: &[
        ("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
        ("promtool", "github.com/prometheus/prometheus/cmd/promtool"),
    ],
    link_flags: "-X github.com/prometheus/common/version.Version=3.15.0",
    behind: None,
};

/// Stands in for etcd where a cluster keeps its objects in a relational database.
///
/// An endpoint `sqlite://PATH` without kine's own default parameters answers "database is locked" under load.
pub const KINE: ProgramSet = ProgramSet {
    name: "kine",
    programs: &[("kine", "github.com/k3s-io/kine")],
    link_flags: "-X github.com/k3s-io/kine/pkg/version.Version=v0.17.5",
    behind: None,
};

/// Binds volume snapshots to their contents. Its resource definitions lie in `config/crd` of its client module.
///
/// It wants all six of them, those of group snapshots too, and ends without.
pub const SNAPSHOT_CONTROLLER: ProgramSet = ProgramSet {
    name: "snapshot-controller",
    programs: &[(
        "snapshot-controller",
        "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller",
    )],
    link_flags: "-X main.version=v8.7.0",
    behind: None,
};

/// What every cluster needs; the quick ones first, so that something is seen to work soon.
pub const OF_A_CLUSTER: &[&ProgramSet] = &[&ETCD, &RESTIC, &VERSITYGW, &KUBERNETES];

/// Every set that there is; those that no cluster needs are built when they are asked for.
pub const ALL: &[&ProgramSet] = &[
    &ETCD,
    &RESTIC,
    &VERSITYGW,
    &VERSITYGW_BEHIND,
    &KUBERNETES,
    &KUBERNETES_1_33,
    &KUBERNETES_1_36,
    &MINIO,
    &CERT_MANAGER,
    &HELM,
    &PROMETHEUS,
    &KINE,
    &SNAPSHOT_CONTROLLER,
];
