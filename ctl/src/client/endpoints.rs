//! The controllers that a client knows: those of its context, and what they tell of each other.
//!
//! Where the context names controllers by the addresses that the fleet itself tells, the fleet's
//! word replaces them, so that whoever uses `trictl` now and then never loses a fleet whose
//! controllers are replaced one by one. Addresses of another kind, such as the near end of a
//! tunnel, are left alone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use tonic::transport::Channel;
use trireme_proto::channel::{ChannelOptions, channel};
use trireme_proto::problem::Problem;
use trireme_proto::tls::{Credentials, Server};

use crate::error::failed;

/// A controller, and the way to it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) channel: Channel,
}

impl Endpoint {
    fn new(address: &str, credentials: &Credentials) -> Result<Self, Problem> {
        let options = ChannelOptions::default();
        let channel = channel(address, &Server::AnyController, credentials, &options)
            .map_err(|error| failed(format!("controller {address} cannot be used"), &error))?;
        Ok(Self { address: address.to_owned(), channel })
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Endpoints {
    list: RwLock<Vec<Endpoint>>,
    /// Position of the one that answered last.
    current: AtomicUsize,
    /// Index of the newest state that a list was taken from.
    learned: AtomicU64,
}

impl Endpoints {
    pub(super) fn new(addresses: &[String], credentials: &Credentials) -> Result<Self, Problem> {
        let endpoints = addresses.iter().map(|address| Endpoint::new(address, credentials));
        Ok(Self {
            list: RwLock::new(endpoints.collect::<Result<_, _>>()?),
            current: AtomicUsize::new(0),
            learned: AtomicU64::new(0),
        })
    }

    fn look<T>(&self, look: impl FnOnce(&[Endpoint]) -> T) -> T {
        look(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns them in the order in which they are asked: whoever answered last is the first.
    pub(super) fn in_order(&self) -> Vec<Endpoint> {
        self.look(|list| {
            let first = self.current.load(Ordering::Relaxed) % list.len().max(1);
            list[first..].iter().chain(&list[..first]).cloned().collect()
        })
    }

    /// Asks this one first from now on.
    pub(super) fn prefer(&self, address: &str) {
        self.step(address, 0);
    }

    /// Asks the one after this first from now on.
    pub(super) fn avoid(&self, address: &str) {
        self.step(address, 1);
    }

    fn step(&self, address: &str, by: usize) {
        self.look(|list| {
            let at = list.iter().position(|one| one.address == address).unwrap_or(0);
            self.current.store((at + by) % list.len().max(1), Ordering::Relaxed);
        });
    }

    /// Takes in where controllers say that they are, as of an index; returns whether that is news.
    pub(super) fn learn(&self, told: &[String], index: u64, credentials: &Credentials) -> bool {
        if self.look(|list| !is_news(list, told))
            || self.learned.fetch_max(index, Ordering::Relaxed) > index
        {
            return false;
        }
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let current = list.get(self.current.load(Ordering::Relaxed)).cloned();
        // Whoever is known keeps its connection and its place.
        list.retain(|one| told.contains(&one.address));
        for address in told {
            if list.iter().all(|one| one.address != *address) {
                list.extend(Endpoint::new(address, credentials));
            }
        }
        let stays = |one: &Endpoint| current.as_ref().is_some_and(|it| it.address == one.address);
        self.current.store(list.iter().position(stays).unwrap_or(0), Ordering::Relaxed);
        true
    }
}

/// Returns whether `told` is another list of addresses of the same kind.
fn is_news(list: &[Endpoint], told: &[String]) -> bool {
    let known = |address: &String| list.iter().any(|one| one.address == *address);
    let same = list.len() == told.len() && told.iter().all(known);
    !same && told.iter().any(known)
}
