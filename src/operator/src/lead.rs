//! Leadership: with a lease among several processes, or alone without one.
use runtime::lease::Elector;

/// How this process came to lead, and how it stays so.
pub enum Leadership {
    /// No lease was asked for.
    Alone,
    /// Under the lease.
    Elected(Box<Elector>),
}

impl Leadership {
    /// Waits until this process leads.
    pub async fn acquire(&mut self) {
        if let Self::Elected(elector) = self {
            elector.acquire().await;
        }
    }

    /// Stays leader; returns only when that was lost.
    pub async fn hold(&mut self) {
        match self {
            Self::Alone => std::future::pending().await,
            Self::Elected(elector) => elector.hold().await,
        }
    }

    /// Lets another process lead at once.
    pub async fn release(&mut self) {
        if let Self::Elected(elector) = self {
            elector.release().await;
        }
    }
}
