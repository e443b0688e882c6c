//! What admission has to say of each kind of metadata backup, besides what is wrong with an object by itself:
//! that, `api` knows.
mod location;
mod policy;
mod record;
mod restore;
