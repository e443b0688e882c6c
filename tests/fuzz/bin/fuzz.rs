//! The program that libFuzzer is linked with; `cargo xtask fuzz` builds and starts it.
//!
//! libFuzzer has its own `main` and takes all arguments, so the environment says what is tried.
#![no_main]

use std::sync::LazyLock;

use kubedr_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var(kubedr_fuzz::VARIABLE).unwrap_or_default();
    Target::called(&name).expect("the environment names a target")
});

fuzz_target!(|input: &[u8]| TARGET.check(input));
