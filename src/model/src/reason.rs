//! The closed set of reasons.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A word that is not in the set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a known reason")]
pub struct UnknownReason(String);

/// What a [`Reason`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Nothing is wrong.
    Fine,
    /// The user asked for something that cannot be.
    AskedWrongly,
    /// The S3 server.
    Store,
    /// The restic repository.
    Repository,
    /// The source.
    Etcd,
    /// Files of the node.
    Host,
    /// The pod that was to do the work.
    Pod,
    /// kubedr itself.
    Kubedr,
}

macro_rules! reasons {
    ($($group:ident { $($name:ident $exit:literal $meaning:literal => $advice:literal)+ })+) => {
        /// Why something is as it is: the same word in condition, event, metric, result and command line.
        ///
        /// The set is closed and part of the API. Each reason has one row in
        /// docs/reasons.md, made from [`Reason::meaning`] and [`Reason::advice`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[doc = $meaning] $name,)+)+
        }

        impl Reason {
            /// Every reason, in the order of the contract.
            pub const ALL: &[Self] = &[$($(Self::$name,)+)+];

            /// The word itself.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($(Self::$name => stringify!($name),)+)+
                }
            }

            /// What the reason is about.
            pub const fn group(self) -> Group {
                match self {
                    $($(Self::$name => Group::$group,)+)+
                }
            }

            /// Exit code of an agent that ends with it.
            ///
            /// 64 to 74 are final: the Job fails at once. 75 asks for another pod.
            pub const fn exit_code(self) -> u8 {
                match self {
                    $($(Self::$name => $exit,)+)+
                }
            }

            /// What it means, as one sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $($(Self::$name => $meaning,)+)+
                }
            }

            /// What to do about it, as one sentence; empty where nothing is to be done.
            pub const fn advice(self) -> &'static str {
                match self {
                    $($(Self::$name => $advice,)+)+
                }
            }
        }
    };
}

reasons! {
    Fine {
        Ready 0 "The object is accepted and in force." => ""
        Healthy 0 "The repository answered and is the pinned one." => ""
        Stored 0 "Every byte was seen in the bucket." => ""
        Complete 0 "Everything that a restore needs is there." => ""
        Fresh 0 "The newest run that ended made a backup." => ""
        Proven 0 "The backup was read back or restored." => ""
        Retained 0 "Retention did its work." => ""
        Accepted 0 "The lineage of the newest backup is the accepted one." => ""
        Maintained 0 "Prune and check succeeded." => ""
        Initialized 0 "The repository was made." => ""
        Attached 0 "An existing repository was attached." => ""
        Pending 0 "Not known yet." => "Wait; look again if it lasts longer than a schedule's interval (`Proven` and `Maintained` stay so in this version)."
        Suspended 0 "Suspended by `spec.suspend`." => "Set `spec.suspend` to false to go on."
    }
    AskedWrongly {
        InvalidSpec 65 "A field has a value that cannot be used." => "Correct the field that the message names."
        NameTooLong 65 "The object's name leaves no room for the names derived from it." => "Make the object again under a shorter name."
        HostPathNotAllowed 65 "A host path is outside the operator's allow-list." => "Use an allowed path, or have the administrator write a list of their own, which takes more than `--allowed-host-path`: docs/platforms.md, Own folders."
        WrongNamespace 65 "The object is outside the operator's namespace, where it does nothing." => "Make it in the operator's namespace."
        DestinationMissing 65 "The BackupLocation that `spec.destination` names does not exist." => "Create it, or correct the name."
        DestinationNotReady 65 "The BackupLocation exists but its repository is not attached." => "Look at the BackupLocation's own conditions."
        SecretMissing 65 "A Secret that the spec names does not exist or is empty." => "Create the Secret with the keys that the message names."
        SecretKeyMissing 65 "A Secret lacks a key." => "Add the key that the message names."
        Unsupported 65 "This version of kubedr cannot do it." => "Use another field or a newer version."
    }
    Store {
        HostNotFound 75 "The S3 server's name cannot be resolved." => "Check `spec.url` and the node's DNS."
        ConnectionRefused 75 "Nothing answers at the S3 server's address." => "Check `spec.url`, the server and the network between."
        TlsUntrusted 69 "The S3 server's certificate is not trusted." => "Put its authority into `spec.caBundle`, or correct the certificate."
        AccessDenied 69 "The S3 server does not accept the keys, or they may not do this." => "Correct the Secret's `access_key` and `secret_key`, or the bucket's policy."
        ClockSkew 75 "The clocks of node and S3 server differ too much." => "Correct the node's clock."
        BucketMissing 75 "The bucket does not exist." => "Create it, or allow the keys to."
        BucketForbidden 69 "The bucket exists but belongs to someone else." => "Choose another `spec.bucketName`."
        Throttled 75 "The S3 server asks for fewer requests." => "Wait, or raise the server's limits."
        Unavailable 75 "The S3 server answers with an error of its own." => "Look at the server's log; it is tried again."
        ObjectLocked 75 "Object lock forbids the deletion for now." => "Nothing: it is deleted when the lock ends."
        QuotaExceeded 75 "The bucket or server is full." => "Raise the quota or free space."
    }
    Repository {
        WrongPassword 67 "The repository does not open with the Secret's password." => "Put the password with which the repository was made into `restic_repo_password`."
        RepositoryHalfMade 68 "The folder holds parts of a repository that cannot be used: its config is missing, or several inits made it at once." => "Bring back the file `config` if there was one; else empty the folder, or choose another bucket or `spec.prefix`."
        RepositoryGone 68 "The pinned repository is not there any more." => "Bring it back (was `spec.bucketName` or `spec.prefix` changed?), or allow another one: annotate the location with `kubedr.catalogicsoftware.com/replace-repository` and all of `status.repositoryId`."
        RepositoryReplaced 68 "Another repository is in the place of the pinned one." => "Bring the old one back (was `spec.bucketName` or `spec.prefix` changed?), or allow this one: annotate the location with `kubedr.catalogicsoftware.com/replace-repository` and all of `status.repositoryId`."
        RepositoryLocked 75 "Another restic holds the repository's lock." => "Wait; a lock that died is removed after 45 minutes."
        RepositoryDamaged 70 "The repository has contents that cannot be read." => "Run `restic check`; see docs/restore.md."
        PackMissing 75 "The bucket lacks a pack that a snapshot refers to, or it has the wrong size." => "Look for who deletes from the bucket; run `restic check`, and `restic repair index` if only an index is wrong."
        SnapshotMissing 75 "A snapshot is not in the repository." => "Look for who deletes from the bucket."
        SurvivorMissing 75 "A backup that must stay is not in the repository, so nothing was deleted." => "Look for who deletes from the bucket."
        SyncIncomplete 75 "The listing of the repository ended early." => "Nothing: it is listed again."
    }
    Etcd {
        NotEtcd 65 "What answers at the endpoint is not etcd." => "Correct `spec.etcdEndpoint`: it takes the client URL of etcd itself."
        NoEtcdNode 65 "No node carries an etcd, control-plane or master label." => "Label the node, or set `spec.options.master-node-label-name`."
        EtcdUnreachable 75 "No etcd endpoint answers." => "Check `spec.etcdEndpoint` and etcd itself."
        EtcdCertificateInvalid 65 "etcd and the client certificate do not accept each other." => "Check that `spec.etcdEndpoint` is etcd, and renew the Secret that `spec.etcdCreds` names: its `ca.crt` signs etcd, its client certificate is signed for etcd."
        NoQuorum 75 "etcd has no leader." => "Mend etcd; the snapshot is stored all the same and marked."
        CorruptAlarm 75 "etcd raised its corruption alarm." => "Mend etcd before anything else."
        HashMismatch 75 "etcd's members differ at the same revision." => "Mend etcd before anything else."
        SnapshotTruncated 75 "The snapshot is not whole: its stream ended before its end, or a file is not in it." => "Nothing: it is taken again."
        SnapshotDamaged 75 "The snapshot is not what etcd hashed, or etcd's database itself is damaged." => "Check memory, disk and network of the node if it happens again, and take the backup from another member."
        RevisionWentBack 75 "etcd's revision is below one that it had before." => "See whether the cluster was restored, and then accept the lineage; or whether one address leads to several members."
        LineageChanged 75 "The cluster's history is not the one that was backed up so far." => "Accept it with the annotation `kubedr.catalogicsoftware.com/accept-lineage`."
        Shrunk 75 "There are far fewer objects than in the backup before." => "See whether that was meant; then annotate the policy with `kubedr.catalogicsoftware.com/accept-shrink` and the record's name: the next backup is measured by it."
    }
    Host {
        FileUnreadable 66 "A file of the node cannot be read, or changed while it was." => "Correct its owner or mode: the agent reads as root without capabilities."
        HostPathMissing 66 "A host path does not exist on the node or is of another type." => "Correct `spec.certsDir` or `spec.extraHostPaths`."
        NoSpace 75 "The pod's working folder is full." => "Free space on the node."
        EncryptionKeyMissing 75 "Objects are encrypted at rest and their keys are not in the backup." => "Add the encryption configuration to `spec.extraHostPaths`."
        NeedsKms 75 "Objects are encrypted by a key management service that a restore will need." => "Keep access to that service outside of this cluster."
    }
    Pod {
        Unschedulable 75 "No node can take the pod." => "Look at the message for what is lacking."
        ImagePull 75 "The image cannot be pulled." => "Correct `--agent-image` or the access to its registry."
        MountFailed 75 "A volume of the pod cannot be mounted." => "Look at the message and the node."
        Evicted 75 "The node evicted the pod." => "Free resources on the node."
        OutOfMemory 75 "The pod was killed for want of memory." => "Raise the memory limit."
        DeadlineExceeded 75 "The work took longer than `spec.deadlineSeconds`." => "Raise it, or look for what is slow."
        NoResult 75 "The pod ended without leaving a result." => "Look at its log."
        Killed 75 "The pod was ended from outside." => "Nothing if it was meant."
        MissedRun 75 "A scheduled run did not start." => "Look at the controller-manager and with `kubectl describe` at the CronJob; what was missed is not made up for: annotate the policy with `kubedr.catalogicsoftware.com/run-now`."
    }
    Kubedr {
        Unknown 70 "The result is not one that this version knows." => "Use the same version of operator and agent."
        NameTaken 75 "An object of someone else has the name that kubedr needs." => "Rename or delete that object."
        ApiReadFailed 75 "The API server did not answer a read." => "Look at the API server and the operator's RBAC."
        ApiWriteFailed 75 "The API server refused or did not answer a write." => "Look at the message."
        Bug 70 "Something happened that must not." => "Report it with the log."
        ImageBroken 70 "The agent's image lacks a program or holds the wrong version." => "Use the released image."
    }
}

impl Reason {
    /// Whether only a person can end it, so that trying again is no progress.
    pub fn needs_a_person(self) -> bool {
        let by_group = self.group() == Group::AskedWrongly
            && !matches!(self, Self::DestinationMissing | Self::DestinationNotReady);
        by_group
            || matches!(
                self,
                Self::WrongPassword | Self::AccessDenied | Self::RepositoryGone | Self::RepositoryReplaced
            )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| UnknownReason(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_again_by_its_word() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
    }

    #[test]
    fn what_goes_wrong_has_an_exit_code_and_says_what_to_do() {
        for reason in Reason::ALL {
            let fine = reason.group() == Group::Fine;
            assert_eq!(reason.exit_code() == 0, fine, "{reason}");
            assert!(fine || !reason.advice().is_empty(), "{reason}");
        }
    }

    /// Whoever runs the agent by hand, and the Job, go by these.
    #[test]
    fn what_no_other_try_mends_is_final() {
        let codes = [Reason::InvalidSpec, Reason::Bug, Reason::ConnectionRefused].map(Reason::exit_code);
        assert_eq!(codes, [65, 70, 75]);
        for reason in Reason::ALL {
            assert!(matches!(reason.exit_code(), 0 | 64..=75), "{reason}");
        }
    }

    #[test]
    fn an_unknown_word_is_refused_and_only_its_beginning_repeated() {
        let error = "x".repeat(5000).parse::<Reason>().expect_err("unknown");
        assert!(error.to_string().len() < 120);
    }
}
