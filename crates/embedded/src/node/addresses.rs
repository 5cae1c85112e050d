//! An address of its own for every pod: one of 127.64.0.0/10, all of which are this machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

const FIRST: u32 = u32::from_be_bytes([127, 64, 0, 0]);
const HOSTS: u32 = 1 << 22;

/// The addresses that pods hold, by the pod's uid.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    taken: Mutex<BTreeMap<Ipv4Addr, String>>,
}

impl Addresses {
    /// The address of a pod: the wanted one if it is free, else one that follows from its uid. So
    /// a pod whose address was not written down before a crash gets the same one again, and two
    /// nodes on one machine hardly ever meet. `None` if none is free.
    pub(crate) fn take(&self, uid: &str, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let mut taken = self.taken.lock();
        if let Some((address, _)) = taken.iter().find(|(_, holder)| *holder == uid) {
            return Some(*address);
        }
        let digest = Sha256::digest(uid);
        let start = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let drawn = (0..HOSTS).map(|step| address(start.wrapping_add(step)));
        let wanted = wanted.filter(|address| is_ours(*address));
        let free = wanted.into_iter().chain(drawn).find(|address| {
            let last = address.octets()[3];
            last != 0 && last != 255 && !taken.contains_key(address)
        })?;
        taken.insert(free, uid.to_owned());
        Some(free)
    }

    /// Gives a pod's address back.
    pub(crate) fn release(&self, uid: &str) {
        self.taken.lock().retain(|_, holder| holder != uid);
    }
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + number % HOSTS)
}

fn is_ours(address: Ipv4Addr) -> bool {
    (FIRST..FIRST + HOSTS).contains(&u32::from(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_one_address_per_pod() {
        let addresses = Addresses::default();
        let wanted = Ipv4Addr::new(127, 64, 0, 9);
        assert_eq!(addresses.take("a", Some(wanted)), Some(wanted));
        assert_eq!(addresses.take("a", None), Some(wanted));
        let other = addresses.take("b", Some(wanted)).unwrap();
        assert!(other != wanted && is_ours(other));
        addresses.release("a");
        assert_eq!(addresses.take("c", Some(wanted)), Some(wanted));
    }

    #[test]
    fn a_pod_gets_the_same_address_after_a_crash() {
        let first = Addresses::default().take("a-uid", None);
        assert_eq!(Addresses::default().take("a-uid", None), first);
        assert_ne!(Addresses::default().take("another-uid", None), first);
    }

    #[test]
    fn takes_no_foreign_address() {
        let addresses = Addresses::default();
        let address = addresses.take("a", Some(Ipv4Addr::new(127, 0, 0, 1))).unwrap();
        assert!(is_ours(address));
    }
}
