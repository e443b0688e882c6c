//! Objects in a wrong namespace.
use runtime::metrics::{Metric, Page};

use super::World;

/// Not by name: labels name no namespace, and two of them may have objects of one name.
pub const MISPLACED: Metric = Metric::gauge(
    "kubedr_wrong_namespace_objects",
    &["kind"],
    "Objects that say that they are in a wrong namespace; absent where there are none.",
);

/// Writes how many there are of each kind.
pub fn write(page: &mut Page, world: &World) {
    let some = world.misplaced.iter().filter(|(_, count)| *count > 0);
    page.numbers(&MISPLACED, some.map(|(kind, count)| ([kind.as_str()], *count)));
}
