//! Which addresses may be a Service's, without asking anybody.
use std::net::IpAddr;

/// An API server takes no larger range for Services than one of so many bits.
const MOST_BITS: u32 = 20;

/// Every address that a Service may have, as far as the one of the API server's own Service tells.
///
/// That has the first address of the range, but nobody says how long the range is. So it is taken to be as long as one
/// may be that begins there: no Service is missed, and what else is in it is warned of for nothing. `10.96.0.1` is of
/// kubeadm's `10.96.0.0/12`; `10.43.0.1` can be of nothing longer than k3s' `10.43.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    begin: IpAddr,
    bits: u32,
}

impl Services {
    /// Those of a cluster whose API server has this address, `KUBERNETES_SERVICE_HOST`; none where it is a name.
    pub fn of(api_server: &str) -> Option<Self> {
        let (begin, zeros) = match api_server.parse::<IpAddr>().ok()? {
            IpAddr::V4(address) => {
                let begin = address.to_bits().checked_sub(1)?;
                (IpAddr::V4(begin.into()), begin.trailing_zeros())
            }
            IpAddr::V6(address) => {
                let begin = address.to_bits().checked_sub(1)?;
                (IpAddr::V6(begin.into()), begin.trailing_zeros())
            }
        };
        Some(Self { begin, bits: zeros.min(MOST_BITS) })
    }

    /// Whether a Service may be at this host.
    pub fn may_have(self, host: &str) -> bool {
        match (self.begin, host.parse::<IpAddr>()) {
            (IpAddr::V4(begin), Ok(IpAddr::V4(host))) => (begin.to_bits() ^ host.to_bits()) >> self.bits == 0,
            (IpAddr::V6(begin), Ok(IpAddr::V6(host))) => (begin.to_bits() ^ host.to_bits()) >> self.bits == 0,
            _ => false,
        }
    }
}
