//! What admission may know of objects other than the one that it judges.
use std::{fmt, sync::Arc};

/// Whether there is an object of that name; none while nobody knows.
type IsThere = Arc<dyn Fn(&str) -> Option<bool> + Send + Sync>;
/// Names of objects that use the one of that name.
type UsersOf = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// What is known of other objects in the operator's namespace.
///
/// It is asked in the middle of somebody's request, so both answer from memory. Nothing is refused for what they
/// say: it may be as old as a watch is late, and objects are made in any order.
#[derive(Clone)]
pub struct Others {
    has_location: IsThere,
    users_of: UsersOf,
}

impl Others {
    /// Those that `has_location` and `users_of` know: whether there is a BackupLocation of a name, and the
    /// policies whose backups go there.
    pub fn new(
        has_location: impl Fn(&str) -> Option<bool> + Send + Sync + 'static,
        users_of: impl Fn(&str) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        Self { has_location: Arc::new(has_location), users_of: Arc::new(users_of) }
    }

    /// Whether it is known that there is no BackupLocation of that name.
    pub fn lack_location(&self, name: &str) -> bool {
        (self.has_location)(name) == Some(false)
    }

    /// Names of the policies whose backups go to that BackupLocation, in order.
    pub fn users_of(&self, location: &str) -> Vec<String> {
        let mut users = (self.users_of)(location);
        users.sort_unstable();
        users
    }
}

impl Default for Others {
    /// Of whom nothing is known.
    fn default() -> Self {
        Self::new(|_| None, |_| Vec::new())
    }
}

impl fmt::Debug for Others {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Others").finish_non_exhaustive()
    }
}
