//! Which addresses deliveries may go to.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

/// Why an address is special.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// 127.0.0.0/8, ::1.
    Loopback,
}

impl AddressClass {
    /// The class's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
        }
    }
}

/// An address that deliveries must not go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("address refused")]
pub struct AddressRefused {
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub class: AddressClass,
}

/// What operators open beyond the public internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Ranges that are allowed although they are special.
    pub allow: Vec<IpNet>,
    /// Ports that are allowed although the default rule refuses them.
    pub allow_ports: Vec<u16>,
}

impl AddressPolicy {
    /// Whether deliveries may go to `address`.
    ///
    /// # Errors
    /// [`AddressRefused`] with the class.
    pub fn vet(&self, address: IpAddr) -> Result<(), AddressRefused> {
        if address.is_loopback() && !self.allow.iter().any(|range| range.contains(&address)) {
            return Err(AddressRefused { address, class: AddressClass::Loopback });
        }
        Ok(())
    }
}
