//! One judgement for all kinds: what is wrong, what became wrong, and what a person should know.
//!
//! An update is refused for what it makes wrong, not for what was wrong before. An object may be stored that
//! admission would refuse: nobody asked it then, the list of allowed paths has become shorter, or upstream
//! stored it. Whoever suspends such a policy, or takes a finalizer from it, must get through; what stays
//! wrong is warned of, and the operator says it in the object's status. This is how Kubernetes judges its own
//! objects, and those of its definitions, too.
use std::collections::BTreeSet;

use api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::object::{HasSpec, HasStatus},
};
use model::Violation;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    Admission,
    answer::Verdict,
    review::{Malformed, Object, Operation, Request},
};

/// Longest spec that is read, bytes. What the schema lets through is far shorter, even with every character
/// escaped; reading a longer one would take many times its size in memory.
const LONGEST_SPEC: usize = 256 << 10;

/// What is asked of an object of one kind.
pub trait Kind:
    Resource<DynamicType = ()> + HasSpec<Spec: DeserializeOwned> + HasStatus<Status: DeserializeOwned> + Default
{
    /// Whether nobody can write one without an answer, as `config/webhook` has it.
    const IS_AWAITED: bool = false;

    /// Everything that is wrong with it by itself.
    fn flaws(&self, by: &Admission) -> Vec<Violation>;

    /// Everything that must not become of what it was.
    fn broken_pins(&self, _old: &Self) -> Vec<Violation> {
        Vec::new()
    }

    /// What may be as it was meant, and may not: a person is told.
    fn doubts(&self, _old: Option<&Self>, _by: &Admission) -> Vec<Violation> {
        Vec::new()
    }

    /// What a person is told who removes the object of that name.
    fn farewell(_name: &str, _by: &Admission) -> Vec<Violation> {
        Vec::new()
    }
}

/// Judges one request.
pub fn judge<K: Kind>(request: &Request, by: &Admission) -> Result<Verdict, Malformed> {
    if request.operation == Operation::Delete {
        // Nobody uses an object elsewhere, whatever its name is.
        let is_at_home = request.namespace() == by.namespace;
        let warnings = if is_at_home { K::farewell(request.name(), by) } else { Vec::new() };
        return Ok(Verdict { warnings, ..Verdict::default() });
    }
    let object = request.object.as_ref().ok_or(Malformed::NoObject)?;
    let old = request.old_object.as_ref().filter(|_| request.operation == Operation::Update);
    // Kubedr's configuration does not even ask then; those that others write, as upstream's, do.
    if old.is_some_and(|old| object.is_going() || object.asks_the_same(old)) {
        return Ok(Verdict::default());
    }
    let new = match read::<K>(request, object) {
        Ok(new) => new,
        Err(flaw) => return Ok(Verdict { refused: vec![flaw], ..Verdict::default() }),
    };
    let old = old.and_then(|old| read::<K>(request, old).ok());
    Ok(compare(&new, old.as_ref(), by))
}

/// Tells what an update made wrong from what was so before. Without the object as it was, all of it is new.
fn compare<K: Kind>(new: &K, old: Option<&K>, by: &Admission) -> Verdict {
    let before: Vec<_> = old.into_iter().flat_map(|old| flaws(old, by)).collect();
    // A set: whoever sends them may send ten thousand of each.
    let before: BTreeSet<_> = before.iter().map(wherever).collect();
    let (stays, mut refused): (Vec<_>, Vec<_>) =
        flaws(new, by).into_iter().partition(|flaw| before.contains(&wherever(flaw)));
    refused.extend(old.into_iter().flat_map(|old| new.broken_pins(old)));
    if !refused.is_empty() {
        return Verdict { refused, ..Verdict::default() };
    }
    let warnings = stays.into_iter().map(as_before).chain(new.doubts(old, by)).collect();
    Verdict { warnings, ..Verdict::default() }
}

fn flaws<K: Kind>(object: &K, by: &Admission) -> Vec<Violation> {
    let misplaced = names::namespace(object.meta(), &by.namespace);
    misplaced.into_iter().chain(object.flaws(by)).collect()
}

/// A flaw without its place in a list: an item that goes or comes moves all those behind it, and makes none of
/// them wrong. Its words name the item.
fn wherever(flaw: &Violation) -> (String, &str) {
    let around_indices = flaw.path.split(['[', ']']).step_by(2);
    (around_indices.collect(), &flaw.problem)
}

fn as_before(flaw: Violation) -> Violation {
    Violation { problem: format!("is as wrong as before: {}", flaw.problem), ..flaw }
}

/// Builds as much of an object as is judged.
fn read<K: Kind>(request: &Request, object: &Object) -> Result<K, Violation> {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut read = K::default();
    *read.meta_mut() = ObjectMeta {
        name: given(request.name()),
        namespace: given(request.namespace()),
        ..ObjectMeta::default()
    };
    *read.spec_mut() = spec::<K>(object)?;
    *read.status_mut() = object.status.filter(|status| fits(status)).and_then(|status| parsed(status).ok());
    Ok(read)
}

fn spec<K: Kind>(object: &Object) -> Result<K::Spec, Violation> {
    let spec = object.spec.ok_or_else(|| Violation::new("spec", "is missing"))?;
    if !fits(spec) {
        let problem = format!("has {} bytes, allowed are {LONGEST_SPEC}", spec.get().len());
        return Err(Violation::new("spec", problem));
    }
    parsed(spec).map_err(|error| Violation::new("spec", format!("cannot be read: {error}")))
}

fn fits(part: &RawValue) -> bool {
    part.get().len() <= LONGEST_SPEC
}

fn parsed<T: DeserializeOwned>(part: &RawValue) -> Result<T, serde_json::Error> {
    serde_json::from_str(part.get())
}
