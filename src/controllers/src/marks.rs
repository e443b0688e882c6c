//! Annotations by which kubedr remembers on its own objects what was done with them.

/// On a Job: what it was made for. Another value means that it is out of date.
pub const MADE_FOR: &str = "kubedr.catalogicsoftware.com/made-for";
/// On an init Job: the agent's image that was wanted then.
pub const IMAGE: &str = "kubedr.catalogicsoftware.com/image";
/// On a backup Job: the record that was made of it. One that retention removed must not come back.
pub const RECORD: &str = "kubedr.catalogicsoftware.com/record";
/// On a policy: the last `run-now` that was answered. Its Job may be gone by then.
pub const RUN_NOW_SEEN: &str = "kubedr.catalogicsoftware.com/run-now-seen";
