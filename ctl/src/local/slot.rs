//! Addresses for one fleet among several on one machine: claimed, and proved free.
//!
//! A claim is a lock on a file as long as the fleet's owner lives; fleets that were left running
//! hold their ports instead, and a slot whose ports are taken is passed over.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use trireme_proto::keyfile::create_private_dir;

use super::error::LocalError;
use super::layout::{SLOTS, Shape};

/// The addresses of one fleet.
#[derive(Debug)]
pub(super) struct Slot {
    /// Number that the addresses are made of.
    pub(super) number: u8,
    /// Held so that no other run takes the same addresses.
    _lock: File,
}

impl Slot {
    /// Claims the first slot that nobody holds and whose addresses are all free.
    pub(super) fn claim(shape: &Shape) -> Result<Self, LocalError> {
        let mut in_use = None;
        for number in 0..SLOTS {
            let Some(lock) = lock(number)? else { continue };
            match free(shape.needed(number)) {
                Ok(()) => return Ok(Self { number, _lock: lock }),
                // The first slot's holder is the likeliest to be an earlier fleet.
                Err(error @ LocalError::InUse { .. }) => in_use = in_use.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(in_use.unwrap_or_else(|| LocalError::TooLong {
            what: format!("one of {SLOTS} slots for local fleets"),
            seconds: 0,
            seen: "all are held by running commands".to_owned(),
        }))
    }

    /// Claims the slot that a fleet was made with.
    pub(super) fn reclaim(number: u8) -> Result<Option<Self>, LocalError> {
        Ok(lock(number)?.map(|lock| Self { number, _lock: lock }))
    }
}

/// Fails if an address is taken; what listens there for TCP or UDP is told apart from the rest.
pub(super) fn free(addresses: Vec<SocketAddr>) -> Result<(), LocalError> {
    for address in addresses {
        let taken = TcpListener::bind(address).err().or_else(|| UdpSocket::bind(address).err());
        if let Some(source) = taken {
            return Err(unusable(address, source));
        }
    }
    Ok(())
}

fn unusable(address: SocketAddr, source: io::Error) -> LocalError {
    if source.kind() == io::ErrorKind::AddrInUse {
        LocalError::InUse { address }
    } else {
        LocalError::Address { address, source }
    }
}

fn lock(number: u8) -> Result<Option<File>, LocalError> {
    let dir = super::state_dir().join("slots");
    create_private_dir(&dir)?;
    let path: PathBuf = dir.join(format!("{number}.lock"));
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    let file = file.map_err(LocalError::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(LocalError::io("lock", path)(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape { agents: 1, service_ports: vec![8080], ..Shape::new("dev".parse().unwrap()) }
    }

    #[test]
    fn two_claims_get_different_addresses() {
        let first = Slot::claim(&shape()).unwrap();
        let second = Slot::claim(&shape()).unwrap();
        assert_ne!(first.number, second.number);
        let number = first.number;
        assert!(Slot::reclaim(number).unwrap().is_none(), "it is held");
        drop(first);
        assert!(Slot::reclaim(number).unwrap().is_some());
    }

    #[test]
    fn an_address_in_use_is_named_and_its_slot_passed_over() {
        let held = Slot::claim(&shape()).unwrap();
        let address = shape().needed(held.number).pop().unwrap();
        let _listener = TcpListener::bind(address).unwrap();
        let error = free(shape().needed(held.number)).unwrap_err();
        assert_eq!(error.to_string(), format!("address {address} is in use"));
        let number = held.number;
        drop(held);
        assert_ne!(Slot::claim(&shape()).unwrap().number, number);
    }
}
