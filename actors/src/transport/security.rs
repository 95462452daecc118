//! Whom a device talks to, and whether anyone else can listen.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::error::TransportError;
use super::key::{ClusterKey, KeyError};

/// Whom a device talks to.
#[derive(Debug, Clone)]
pub(crate) enum Security {
    /// Processes of this machine, in the clear.
    Local,
    /// Anyone whom it reaches or who reaches it, in the clear.
    Insecure,
    /// Whoever has the same key, encrypted.
    Keyed(ClusterKey),
}

impl Security {
    /// What the user asked for. With a key there is nothing insecure to allow.
    ///
    /// # Errors
    /// When the key file cannot be used.
    pub(crate) fn of(key_file: Option<&Path>, insecure: bool) -> Result<Security, KeyError> {
        Ok(match key_file {
            Some(path) => Security::Keyed(ClusterKey::read(path)?),
            None if insecure => Security::Insecure,
            None => Security::Local,
        })
    }

    /// Whether other machines may take part.
    pub(crate) fn leaves_machine(&self) -> bool {
        !matches!(self, Security::Local)
    }

    /// Checks that this device may listen at `address`.
    ///
    /// # Errors
    /// [`TransportError::Exposed`].
    pub(crate) fn check_listening(&self, address: SocketAddr) -> Result<(), TransportError> {
        match self.allows(address) {
            true => Ok(()),
            false => Err(TransportError::Exposed { address: address.to_string() }),
        }
    }

    /// Checks that this device may connect to `address`. Addresses that are not of the Internet
    /// belong to a transport that stays within the process.
    ///
    /// # Errors
    /// [`TransportError::Elsewhere`].
    pub(super) fn check_dialling(&self, address: &str) -> Result<(), TransportError> {
        match address.parse().is_ok_and(|address| !self.allows(address)) {
            true => Err(TransportError::Elsewhere { address: address.to_owned() }),
            false => Ok(()),
        }
    }

    /// The key to encrypt with.
    pub(super) fn key(&self) -> Option<&ClusterKey> {
        match self {
            Security::Keyed(key) => Some(key),
            Security::Local | Security::Insecure => None,
        }
    }

    fn allows(&self, address: SocketAddr) -> bool {
        let is_local = match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.to_canonical().is_loopback(),
        };
        is_local || self.leaves_machine()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_only_this_machine_unless_asked_for() {
        let open = [Security::Insecure, Security::Keyed(ClusterKey::generate().unwrap())];
        for local in ["127.0.0.1:7070", "127.9.9.9:0", "[::1]:7070", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(Security::Local.check_listening(local.parse().unwrap()), Ok(()));
            assert_eq!(Security::Local.check_dialling(local), Ok(()));
        }
        for exposed in ["0.0.0.0:7070", "192.168.1.4:7070", "[::]:7070", "[fe80::1%2]:7070"] {
            let address = exposed.parse().unwrap();
            let listening = Security::Local.check_listening(address).unwrap_err().to_string();
            let dialling = Security::Local.check_dialling(exposed).unwrap_err().to_string();
            for error in [listening, dialling] {
                assert!(error.contains("--key") && error.contains("--insecure"), "{error}");
                assert!(error.contains(exposed), "{error}");
            }
            for open in &open {
                assert_eq!(open.check_listening(address), Ok(()));
                assert_eq!(open.check_dialling(exposed), Ok(()));
            }
        }
    }

    #[test]
    fn a_key_makes_insecure_superfluous() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        ClusterKey::generate().unwrap().write(&path).unwrap();
        for insecure in [false, true] {
            assert!(Security::of(Some(&path), insecure).unwrap().key().is_some());
        }
        assert!(Security::of(None, true).unwrap().key().is_none());
    }
}
